"""Operations become spans whose ids follow from what they name and whose attributes are those that each receiver reads."""

from dataclasses import replace

import pytest
from feedback_samples import ACME, UMBRELLA, failure, model_call, operation, search, tool_call
from plimsoll_feedback.domain.observation import observe
from plimsoll_feedback.domain.operation import Operation, OperationKind
from plimsoll_feedback.domain.spans import Profile, Span, Surroundings, root_id, span_id, span_of, trace_id
from plimsoll_feedback.transport.event_codec import model_call_completed, search_completed, tool_call_completed

AROUND = Surroundings(parent="run_1.3", thread_id="thr_1", tags=("vip",))


def model() -> Operation:
    message = model_call()
    message.prompt_version = 7
    seen = observe(model_call_completed(message.SerializeToString())).operation
    assert seen is not None
    return seen


def span(one: Operation, profile: Profile, around: Surroundings = AROUND) -> Span:
    return span_of(one, around, profile)


def test_ids_follow_from_tenant_run_and_operation_alone() -> None:
    one = operation(1)
    first, again = span(one, Profile.OTEL), span(replace(one, duration_s=9, facts={}), Profile.LANGFUSE)
    assert (first.trace_id, first.span_id) == (again.trace_id, again.span_id)
    assert (len(first.trace_id), len(first.span_id)) == (32, 16)
    foreign = span(replace(one, tenant=UMBRELLA), Profile.OTEL)
    assert first.trace_id != foreign.trace_id
    assert first.span_id != foreign.span_id


def test_a_run_is_the_root_its_steps_stand_below_it_and_calls_below_their_step() -> None:
    run = span(operation(9, kind=OperationKind.RUN), Profile.OTEL, Surroundings())
    step = span(operation(3, kind=OperationKind.TRANSITION), Profile.OTEL, Surroundings())
    call = span(operation(2), Profile.OTEL)
    assert (run.parent, run.span_id) == ("", root_id(ACME, "run_1"))
    assert step.parent == run.span_id
    assert call.parent == span_id(ACME, "run_1.3")
    assert {run.trace_id, step.trace_id, call.trace_id} == {trace_id(ACME, "run_1")}


def test_a_child_run_has_a_trace_of_its_own_that_is_linked_to_its_parents() -> None:
    child = span(operation(9, kind=OperationKind.RUN), Profile.OTEL, Surroundings(parent_run_id="run_0"))
    assert child.linked == (trace_id(ACME, "run_0"), root_id(ACME, "run_0"))


def test_work_outside_of_runs_has_a_trace_of_its_own() -> None:
    one, two = span(operation(1, run=""), Profile.OTEL, Surroundings()), span(operation(2, run=""), Profile.OTEL, Surroundings())
    assert one.parent == ""
    assert one.trace_id != two.trace_id


def test_times_are_exact_to_the_microsecond() -> None:
    one = span(operation(1), Profile.OTEL)
    assert one.start_ns == 1767268801_000_000_000
    assert one.end_ns - one.start_ns == 250_000_000


def test_a_failure_is_an_error_with_its_category() -> None:
    one = span(operation(1, failed=failure()), Profile.OTEL)
    assert (one.error_type, one.error) == ("timeout", "TOO_SLOW: it took too long")
    assert one.attributes["error.type"] == "timeout"
    assert one.attributes["plimsoll.failure.reason"] == "TOO_SLOW"


GENAI = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "rehearsal",
    "gen_ai.request.model": "rehearsal-1",
    "gen_ai.response.model": "rehearsal-1",
    "gen_ai.usage.input_tokens": 100,
    "gen_ai.usage.output_tokens": 10,
    "gen_ai.prompt.name": "support-classify",
    "gen_ai.prompt.version": 7,
    "gen_ai.agent.name": "support",
    "gen_ai.conversation.id": "thr_1",
}
LANGFUSE = {
    "langfuse.observation.type": "generation",
    "langfuse.observation.model.name": "rehearsal-1",
    "langfuse.observation.usage_details": '{"input":100,"output":10}',
    "langfuse.observation.cost_details": '{"total":5e-6}',
    "langfuse.observation.prompt.name": "support-classify",
    "langfuse.observation.prompt.version": 7,
    "langfuse.session.id": "thr_1",
    "session.id": "thr_1",
    "langfuse.trace.name": "support",
    "langfuse.trace.tags": ("vip",),
    "langfuse.version": "d1",
    "langfuse.trace.metadata.run_id": "run_1",
    "langfuse.observation.metadata.node": "lookup",
}
LANGSMITH = {
    "langsmith.span.kind": "llm",
    "langsmith.trace.session_id": "thr_1",
    "langsmith.trace.name": "support",
    "langsmith.span.tags": "vip",
    "langsmith.metadata.run_id": "run_1",
    "langsmith.metadata.prompt": "support-classify",
    "gen_ai.system": "rehearsal",
    "gen_ai.usage.total_tokens": 110,
}


@pytest.mark.parametrize(
    ("profile", "expected", "absent"),
    [
        (Profile.OTEL, GENAI, ("langfuse", "langsmith")),
        (Profile.LANGFUSE, GENAI | LANGFUSE, ("langsmith",)),
        (Profile.LANGSMITH, GENAI | LANGSMITH, ("langfuse",)),
    ],
)
def test_a_model_call_has_the_attributes_that_each_receiver_reads(
    profile: Profile, expected: dict[str, object], absent: tuple[str, ...]
) -> None:
    one = span(model(), profile)
    assert {name: one.attributes.get(name) for name in expected} == expected
    assert not [name for name in one.attributes if name.startswith(absent)]
    assert (one.name, one.kind) == ("chat rehearsal-1", "client")


@pytest.mark.parametrize(
    ("kind", "name", "langfuse", "langsmith"),
    [
        (OperationKind.RUN, "invoke_agent support", "agent", "chain"),
        (OperationKind.TRANSITION, "step lookup", "span", "chain"),
        (OperationKind.TOOL_CALL, "execute_tool find_account", "tool", "tool"),
        (OperationKind.RETRIEVAL, "retrieval find_account", "retriever", "retriever"),
        (OperationKind.APPROVAL, "approval lookup", "span", "chain"),
    ],
)
def test_each_kind_has_its_name_and_type(kind: OperationKind, name: str, langfuse: str, langsmith: str) -> None:
    one = operation(1, kind=kind)
    assert span(one, Profile.OTEL).name == name
    assert span(one, Profile.LANGFUSE).attributes["langfuse.observation.type"] == langfuse
    assert span(one, Profile.LANGSMITH).attributes["langsmith.span.kind"] == langsmith


@pytest.mark.parametrize("profile", Profile)
def test_everything_that_is_stored_is_exported(profile: Profile) -> None:
    events = [tool_call_completed(tool_call().SerializeToString()), search_completed(search().SerializeToString())]
    for one in [observe(event).operation for event in events]:
        assert one is not None
        attributes = span(one, profile).attributes
        assert {name for name in attributes if name.startswith("plimsoll.fact.")} == {f"plimsoll.fact.{name}" for name in one.facts}
        assert attributes["plimsoll.operation.id"] == one.id


def test_langfuse_is_told_of_errors_in_its_own_words() -> None:
    attributes = span(operation(1, failed=failure()), Profile.LANGFUSE).attributes
    assert attributes["langfuse.observation.level"] == "ERROR"
    assert attributes["langfuse.observation.status_message"] == "TOO_SLOW: it took too long"
