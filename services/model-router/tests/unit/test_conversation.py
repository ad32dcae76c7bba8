"""Conversations as every provider accepts them: calls and results that match, and a reply kept to what was asked."""

from dataclasses import replace

from hypothesis import given
from model_router_asks import ask
from model_router_conversations import ANY_CONVERSATION, conversations, question
from plimsoll_model_router.adapters.providers.conversation import call_id, conform, is_own, mended, provenance
from plimsoll_model_router.domain.conversion import ConversionKind, Report
from plimsoll_model_router.domain.generation import Reply
from plimsoll_model_router.domain.messages import Message, Role, StopReason, Text, ToolCall, ToolResult, assistant, results, user
from plimsoll_runtime.usage import Usage


def ids(messages: tuple[Message, ...]) -> list[str]:
    return [call.call_id for message in messages for call in message.tool_calls]


@given(conversations())
def test_a_conversation_that_is_fine_stays_as_it_is(messages: tuple[Message, ...]) -> None:
    once = mended(messages, Report())
    if len(set(ids(messages))) == len(ids(messages)):
        assert once == messages
    report = Report()
    assert mended(once, report) == once
    assert report.conversions == ()


@given(ANY_CONVERSATION)
def test_every_call_is_answered_once_right_behind_it(messages: tuple[Message, ...]) -> None:
    waiting: list[str] = []
    for message in mended(messages, Report()):
        for result in message.tool_results:
            waiting.remove(result.call_id)
        if any(not isinstance(part, ToolResult) for part in message.parts):
            assert not waiting or message.tool_results
        waiting += [call.call_id for call in message.tool_calls]
    assert not waiting


def test_the_same_id_in_two_turns_and_odd_ids_are_told_apart() -> None:
    def turn(call: str) -> tuple[Message, Message]:
        return (
            assistant(ToolCall(call_id=call, tool="t", arguments={})),
            results(ToolResult(call_id=call, tool="t", content=1)),
        )

    wired = mended((user("?"), *turn("call_1"), *turn("call_1"), *turn("call:1/é")), Report())
    assert ids(wired) == ["call_1", "call_1_2", "call_1__"]
    assert [result.call_id for message in wired for result in message.tool_results] == ids(wired)


def test_a_result_takes_the_name_of_its_calls_tool() -> None:
    told = results(ToolResult(call_id="c", tool="", content=1))
    wired = mended((user("?"), assistant(ToolCall(call_id="c", tool="look", arguments={})), told), Report())
    assert wired[-1].tool_results[0].tool == "look"


def test_a_call_without_a_result_is_answered_with_an_error_before_anything_else_is_said() -> None:
    report = Report()
    wired = mended((assistant(ToolCall(call_id="c", tool="look", arguments={})), user("Never mind.")), report)
    assert [message.role for message in wired] == [Role.ASSISTANT, Role.TOOL, Role.USER]
    assert wired[1].tool_results[0].is_error
    assert [told.kind for told in report.conversions] == [ConversionKind.EMULATED]


def test_a_result_without_a_call_is_sent_as_text() -> None:
    wired = mended((results(ToolResult(call_id="c", tool="look", content={"a": 1})),), Report())
    assert wired[0].parts == (Text(text='Result of look: {"a":1}'),)


def test_missing_and_repeated_ids_of_a_reply_are_replaced_and_told() -> None:
    taken, report = {"a"}, Report()
    assert [call_id(given, taken, report) for given in ("", "b", "a")] == ["call_2", "b", "a_2"]
    assert taken == {"a", "call_2", "b", "a_2"}
    assert [told.subject for told in report.conversions] == ["call_id", "call_id"]


def test_thinking_is_ones_own_only_under_the_same_model_and_where_it_matters_the_same_scope() -> None:
    asked = ask(question())
    assert provenance(asked) == "openai-chat/m-1"
    assert provenance(asked, bound=True) == "openai-chat/m-1#org-1"
    assert is_own("openai-chat/m-1#org-1", asked, bound=True)
    assert not is_own("openai-chat/m-1", asked, bound=True)
    assert not is_own("openai-chat/m-2", asked)
    assert not is_own("openai-chat/m-1", replace(asked, question=replace(asked.question, replay_reasoning=False)))


def test_of_more_calls_than_were_asked_for_the_first_is_kept_and_the_rest_told() -> None:
    calls = [ToolCall(call_id=name, tool="t", arguments={}) for name in "abc"]
    reply = Reply(
        message=assistant("Well.", *calls), stop_reason=StopReason.TOOL_CALLS, usage=Usage(input_tokens=5, output_tokens=3), model="m"
    )
    one = conform(reply, ask(replace(question(), single_call=True)), Report())
    assert one.message.parts == (Text(text="Well."), calls[0])
    assert [told.kind for told in one.report] == [ConversionKind.DROPPED]
    assert conform(reply, ask(question()), Report()) == reply
