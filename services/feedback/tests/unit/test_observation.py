"""Events become operations."""

from datetime import timedelta

import pytest
from feedback_samples import NOON, at, failure, journal, model_call, search, stamped, tool_call
from hypothesis import given
from hypothesis import strategies as st
from plimsoll.orchestrator.v1 import run_events_pb2, run_pb2
from plimsoll_feedback.domain.events import JournalEntry, RunEnd, RunFinished, StepFailed, StepFinished, happened_at
from plimsoll_feedback.domain.labels import STATED
from plimsoll_feedback.domain.observation import FACTS_CAP_CHARACTERS, observe
from plimsoll_feedback.domain.operation import Operation, OperationKind
from plimsoll_feedback.transport.event_codec import model_call_completed, run_advanced, search_completed, tool_call_completed
from plimsoll_runtime.failures import Category
from plimsoll_runtime.usage import Usage


def entry(what: StepFinished | StepFailed | RunFinished, seq: int = 3) -> JournalEntry:
    return JournalEntry(tenant="acme", run_id="run_1", seq=seq, at=at(5), agent="support", agent_version="d1", entry=what)


def step(facts: dict[str, object]) -> StepFinished:
    return StepFinished(node="lookup", node_kind="tool", next="end", duration_s=2, usage=Usage(), facts=facts)


def told(event: JournalEntry) -> Operation:
    operation = observe(event).operation
    assert operation is not None
    return operation


def decided(status: run_pb2.ApprovalStatus) -> JournalEntry:
    approval = run_events_pb2.ApprovalDecided(approval_id="apr_1", node="refund", status=status, decided_by="ada")
    return run_advanced(stamped(run_events_pb2.RunEvent(approval_decided=approval), 4).SerializeToString())


class TestJournal:
    def test_a_whole_run_is_told_by_its_transitions_approvals_and_its_end(self) -> None:
        seen = [observe(run_advanced(message.SerializeToString())) for message in journal()]
        assert [one.operation.kind if one.operation else None for one in seen] == [
            None,
            None,
            OperationKind.TRANSITION,
            OperationKind.TRANSITION,
            OperationKind.APPROVAL,
            OperationKind.RUN,
        ]

    def test_every_entry_shows_that_its_run_exists(self) -> None:
        runs = [observe(run_advanced(message.SerializeToString())).run for message in journal()]
        assert {(one.tenant, one.id, one.agent) for one in runs if one} == {("acme", "run_1", "support")}
        assert min(one.started_at for one in runs if one) == NOON

    def test_run_and_position_identify_the_operation(self) -> None:
        assert told(entry(step({}), seq=7)).id == "run_1.7"
        assert told(entry(step({}), seq=7)).step == 7

    def test_an_operation_began_its_duration_before_its_entry(self) -> None:
        assert told(entry(step({}))).started_at == at(3)

    def test_the_facts_of_a_step_keep_what_the_orchestrator_says(self) -> None:
        assert told(entry(step({"model": "m", "next": "lies"}))).facts == {"model": "m", "node_kind": "tool", "next": "end"}

    def test_facts_that_are_no_figures_are_left_out_and_say_so(self) -> None:
        facts = told(entry(step({"document": "x" * FACTS_CAP_CHARACTERS}))).facts
        assert list(facts) == ["omitted_characters"]

    def test_a_failed_step_keeps_its_failure_and_says_whether_it_is_tried_again(self) -> None:
        what = StepFailed(
            node="lookup", node_kind="tool", next="", attempt=2, retried=True, failure=failure(), duration_s=1, usage=Usage(input_tokens=3)
        )
        operation = told(entry(what))
        assert (operation.failure, operation.evidence, operation.usage.input_tokens) == (failure(), STATED, 3)
        assert operation.facts == {"node_kind": "tool", "next": "", "attempt": 2, "retried": True}

    def test_a_run_began_its_duration_before_its_end(self) -> None:
        operation = told(run_advanced(journal()[-1].SerializeToString()))
        assert (operation.started_at, operation.name, operation.facts) == (NOON, "support", {"status": "succeeded", "steps": 3})


class TestFirstLabels:
    def test_a_failed_run_that_does_not_say_why_is_our_fault(self) -> None:
        operation = told(entry(RunFinished(end=RunEnd.FAILED, failure=None, usage=Usage(), steps=1, duration_s=1)))
        assert operation.failure is not None
        assert (operation.failure.category, operation.failure.reason) == (Category.INTERNAL, "FAILURE_NOT_STATED")

    def test_a_failed_run_keeps_its_failure(self) -> None:
        assert told(entry(RunFinished(end=RunEnd.FAILED, failure=failure(), usage=Usage(), steps=1, duration_s=1))).failure == failure()

    def test_a_cancelled_run_did_not_fail(self) -> None:
        operation = told(entry(RunFinished(end=RunEnd.CANCELLED, failure=failure(reason="ASKED"), usage=Usage(), steps=1, duration_s=1)))
        assert (operation.failure, operation.facts["status"], operation.facts["reason"]) == (None, "cancelled", "ASKED")

    @pytest.mark.parametrize(
        ("status", "category"),
        [
            (run_pb2.APPROVAL_STATUS_APPROVED, None),
            (run_pb2.APPROVAL_STATUS_WITHDRAWN, None),
            (run_pb2.APPROVAL_STATUS_REJECTED, Category.APPROVAL_REJECTED),
            (run_pb2.APPROVAL_STATUS_EXPIRED, Category.TIMEOUT),
        ],
    )
    def test_a_decision_is_labelled_by_what_was_decided(self, status: run_pb2.ApprovalStatus, category: Category | None) -> None:
        operation = told(decided(status))
        assert (operation.failure.category if operation.failure else None) == category
        assert bool(operation.evidence) == bool(category)

    def test_a_search_that_returned_nothing_is_empty_retrieval(self) -> None:
        operation = observe(search_completed(search(returned=0).SerializeToString())).operation
        assert operation is not None
        assert operation.failure is not None
        assert (operation.failure.category, operation.failure.where) == (Category.RETRIEVAL_EMPTY, "handbook")
        assert operation.evidence == "the receipt says 0 of 5 passages"

    def test_a_search_that_returned_something_worked(self) -> None:
        operation = observe(search_completed(search(returned=1).SerializeToString())).operation
        assert operation is not None
        assert (operation.failure, operation.evidence) == (None, "")


class TestCalls:
    def test_a_tool_call_becomes_an_operation(self) -> None:
        operation = observe(tool_call_completed(tool_call(failed=True).SerializeToString())).operation
        assert operation is not None
        assert (operation.id, operation.kind, operation.name, operation.node) == (
            "evt_1",
            OperationKind.TOOL_CALL,
            "find_account",
            "lookup",
        )
        assert (operation.started_at, operation.duration_s, operation.step) == (at(1), 0.5, 2)
        assert operation.failure is not None
        assert operation.facts == {"call_id": "call_1", "call_key": "key_1", "tool_digest": "abc", "attempts": 2, "grant_id": "grant_1"}

    def test_a_model_call_becomes_an_operation_with_what_it_used(self) -> None:
        operation = observe(model_call_completed(model_call().SerializeToString())).operation
        assert operation is not None
        assert (operation.kind, operation.name) == (OperationKind.MODEL_CALL, "rehearsal-1")
        assert operation.usage == Usage(input_tokens=100, output_tokens=10, cost_micros=5)
        assert (operation.facts["rehearsal"], operation.facts["confidence"]) == (True, 0.8)

    def test_a_confidence_that_was_not_given_is_absent(self) -> None:
        operation = observe(model_call_completed(model_call(confidence=-1).SerializeToString())).operation
        assert operation is not None
        assert "confidence" not in operation.facts

    def test_a_call_tells_nothing_about_which_runs_exist(self) -> None:
        assert observe(tool_call_completed(tool_call().SerializeToString())).run is None

    def test_a_call_happened_when_it_was_over(self) -> None:
        assert happened_at(tool_call_completed(tool_call().SerializeToString())) == at(1.5)


@given(
    seq=st.integers(1, 10**9),
    duration_s=st.floats(0, 1e6),
    facts=st.dictionaries(st.text(max_size=5), st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20), max_size=5),
)
def test_the_same_event_always_makes_the_same_operation(seq: int, duration_s: float, facts: dict[str, object]) -> None:
    what = StepFinished(node="n", node_kind="set", next="end", duration_s=duration_s, usage=Usage(), facts=facts)
    first, second = told(entry(what, seq)), told(entry(what, seq))
    assert first == second
    assert first.started_at + timedelta(seconds=first.duration_s) == at(5)
