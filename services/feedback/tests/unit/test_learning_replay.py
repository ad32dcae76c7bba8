"""Replays: recorded questions come back as they were, tools answer from the recording, and a model's rewriting is taken only when it fits."""

from dataclasses import replace

import pytest
from feedback_learning_fakes import FakeModelRouter
from feedback_learning_samples import NOON, body
from google.protobuf import json_format
from plimsoll.common.v1 import json_pb2
from plimsoll.model_router.v1 import message_pb2
from plimsoll.model_router.v1 import model_router_service_pb2 as pb
from plimsoll_feedback.adapters.model_router_messages import asked_from_proto, asked_to_proto, message_to_json, recorded_in, tool_results
from plimsoll_feedback.domain.learning.datasets import DatasetName, Example, Recorded
from plimsoll_feedback.domain.learning.improvements import Improvement, ImprovementId, Plan, Progress
from plimsoll_feedback.domain.learning.proposing import PromptVersion
from plimsoll_feedback.ports.learning import Answered, ModelName, Replay, ToolAsked
from plimsoll_feedback.service.evaluating import EvaluationRunner, expected_tools
from plimsoll_feedback.service.improving import Proposer
from plimsoll_runtime import logs
from plimsoll_runtime.clock import SystemClock
from plimsoll_runtime.errors import Invalid
from plimsoll_runtime.failures import Category, Failure
from plimsoll_runtime.json_types import dump_json

PROMPT = PromptVersion(
    name="sort", digest="", version=1, description="", variables=("tone",), system="Be {{tone}}.", examples=(), user="{{question}}"
)


def generation() -> pb.Generation:
    """A turn of a tool loop, with everything that holds JSON."""
    call = message_pb2.ToolCallPart(call_id="c1", tool="find", arguments=json_pb2.JsonValue(text='{"text":"x","n":1}'))
    result = message_pb2.ToolResultPart(call_id="c1", tool="find", content=json_pb2.JsonValue(text='{"content":{"text":"7"}}'))
    said = message_pb2.Message(role=message_pb2.ROLE_ASSISTANT, parts=[message_pb2.Part(tool_call=call)])
    told = message_pb2.Message(role=message_pb2.ROLE_TOOL, parts=[message_pb2.Part(tool_result=result)])
    spoken = message_pb2.Message(role=message_pb2.ROLE_USER, parts=[message_pb2.Part(text=message_pb2.TextPart(text='{"arguments":1}'))])
    tool = message_pb2.ToolDefinition(name="find", arguments_schema=json_pb2.JsonValue(text='{"type":"object"}'))
    return pb.Generation(
        messages=[spoken, said, told],
        tools=[tool],
        tool_choice=message_pb2.TOOL_CHOICE_AUTO,
        output_schema=json_pb2.JsonValue(text='{"type":"string"}'),
        max_output_tokens=60,
        sampling=message_pb2.Sampling(temperature=0.5),
    )


def test_a_recorded_question_comes_back_as_it_was() -> None:
    assert asked_to_proto(asked_from_proto(generation())) == generation()


def test_what_is_json_on_the_wire_is_json_in_the_recording() -> None:
    asked = asked_from_proto(generation())
    assert asked["output_schema"] == {"type": "string"}
    assert recorded_in(asked) == (Recorded(tool="find", arguments={"text": "x", "n": 1}, result={"content": {"text": "7"}}),)


def test_answers_of_tools_become_a_message_that_the_router_reads() -> None:
    message = tool_results([("c9", Recorded(tool="find", arguments={}, result={"text": 1}, is_error=True))])
    built = asked_to_proto({}, [message]).messages[0]
    assert json_format.MessageToDict(built)["parts"][0]["toolResult"] == {
        "callId": "c9",
        "tool": "find",
        "content": {"text": '{"text":1}'},
        "isError": True,
    }
    assert message_to_json(built) == message


class TestConversation:
    def runner(self, router: FakeModelRouter) -> EvaluationRunner:
        nothing: object = None
        return EvaluationRunner(nothing, nothing, router, tool_results, SystemClock(), logs.get("test"))  # type: ignore[arg-type]  # unused

    async def test_tools_are_answered_from_the_recording_until_something_is_said(self) -> None:
        recorded = (Recorded(tool="find", arguments={"n": 1}, result="one"), Recorded(tool="find", arguments={"n": 2}, result="two"))

        def answers(replay: Replay) -> Answered:
            if not replay.more:
                return Answered(
                    value="", message={"role": "ROLE_ASSISTANT"}, tools=(ToolAsked(call_id="c", tool="find", arguments={"n": 2}),)
                )
            return Answered(value=dump_json(replay.more[-1]), cost_micros=2, latency_s=0.5)

        router = FakeModelRouter(answers=answers)
        asked = Replay(key="k", body=replace(body("q"), recorded=recorded), prompt="sort")
        answered, given = await self.runner(router)._converse("acme", asked)
        assert given.tools == ("find",)
        assert '"two"' in str(given.value)
        assert '"one"' not in str(given.value)
        assert answered.cost_micros == 2
        assert len({one.key for one in router.asked}) == 2

    async def test_a_call_that_was_never_recorded_ends_it_there(self) -> None:
        def answers(_: Replay) -> Answered:
            return Answered(value="", tools=(ToolAsked(call_id="c", tool="pay", arguments={}),))

        router = FakeModelRouter(answers=answers)
        _, given = await self.runner(router)._converse("acme", Replay(key="k", body=body("q"), prompt="sort"))
        assert (given.tools, len(router.asked)) == (("pay",), 1)

    async def test_a_model_that_never_stops_calling_is_stopped(self) -> None:
        def answers(_: Replay) -> Answered:
            return Answered(value="", message={"role": "ROLE_ASSISTANT"}, tools=(ToolAsked(call_id="c", tool="find", arguments={}),))

        router = FakeModelRouter(answers=answers)
        asked = Replay(key="k", body=replace(body("q"), recorded=(Recorded(tool="find", arguments={}, result=1),)), prompt="sort")
        _, given = await self.runner(router)._converse("acme", asked)
        assert len(given.tools) == 6

    def test_the_right_tools_are_those_of_the_right_answer(self) -> None:
        assert expected_tools({"tool_calls": [{"tool": "find"}, {"tool": "pay"}]}) == ["find", "pay"]
        assert expected_tools("refund") == []


REAL = ModelName(provider="p", name="m", rehearsal=False, available=True)


class _NoExamples:
    async def page(self, *_: object) -> list[Example]:
        return []


class TestReflection:
    async def drafted(self, router: FakeModelRouter) -> tuple[str, str]:
        plan = Plan(prompt="sort", dataset=DatasetName("sorting"), reflection="reflect@production")
        improvement = Improvement(
            id=ImprovementId("imp"), tenant="acme", plan=plan, state=Progress.DRAFTING, created_at=NOON, changed_at=NOON
        )
        present = router.add(PROMPT, "production")
        draft = await Proposer(_NoExamples(), router).draft(improvement, present, 1)
        return router.prompts[draft.digest].system, draft.note

    async def test_only_a_real_model_rewrites_instructions(self) -> None:
        rehearsal = [ModelName(provider="rehearsal", name="rehearsal", rehearsal=True, available=True)]
        told = await self.drafted(FakeModelRouter(known_models=rehearsal, written="Be {{tone}} and brief."))
        assert told == (PROMPT.system, "nothing was rewritten: no real model answers")

    @pytest.mark.parametrize(
        ("written", "note"),
        [
            (" ", "nothing was rewritten: the model gave an empty answer"),
            ("Be brief.", "rewritten instructions are not used: they lose {{tone}}"),
            ("Be {{tone}} to {{name}}.", "rewritten instructions are not used: they make up {{name}}"),
            ("Be {{name}}.", "rewritten instructions are not used: they lose {{tone}} and make up {{name}}"),
            (Failure(category=Category.TIMEOUT, reason="TOO_SLOW", message="no answer"), "nothing was rewritten: TOO_SLOW: no answer"),
        ],
    )
    async def test_what_cannot_be_used_is_told_and_the_present_instructions_stay(self, written: str | Failure, note: str) -> None:
        assert await self.drafted(FakeModelRouter(known_models=[REAL], written=written)) == (PROMPT.system, note)

    async def test_what_it_writes_is_drafted_when_it_keeps_the_variables(self) -> None:
        told = await self.drafted(FakeModelRouter(known_models=[REAL], written="Be {{tone}} and brief."))
        assert told == ("Be {{tone}} and brief.", "with instructions that a model rewrote")

    async def test_instructions_that_the_registry_refuses_are_told_and_left_out(self) -> None:
        class _Strict(FakeModelRouter):
            async def register_prompt(self, *told: object) -> str:
                raise Invalid("system is too long", reason="INVALID_PROMPT")

        told = await self.drafted(_Strict(known_models=[REAL], written="Be {{tone}} and brief."))
        assert told == (PROMPT.system, "rewritten instructions are not used: the registry refuses them: system is too long")
