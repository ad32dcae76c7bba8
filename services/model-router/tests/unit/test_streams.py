"""Streams of all dialects: what is complete, what is not, and pieces put together again."""

import itertools
from collections.abc import Sequence

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_router_asks import ALL, ask, endpoint
from model_router_conversations import OBJECTS, question
from plimsoll_model_router.adapters.providers.dialects import codecs
from plimsoll_model_router.adapters.providers.sse import SseEvent
from plimsoll_model_router.domain.conversion import Report
from plimsoll_model_router.domain.endpoints import Dialect
from plimsoll_model_router.domain.generation import Chunk, Finished, Reply, ToolCallDelta
from plimsoll_model_router.domain.messages import Opaque, Reasoning, Text, ToolCall
from plimsoll_model_router.errors import ProviderError
from plimsoll_runtime.failures import Category
from plimsoll_runtime.json_types import JsonObject
from plimsoll_runtime.usage import Usage

CLAUDE, CHAT, RESPONSES, GEMINI = Dialect.ANTHROPIC, Dialect.OPENAI_CHAT, Dialect.OPENAI_RESPONSES, Dialect.GEMINI


def fed(dialect: Dialect, events: Sequence[JsonObject | str]) -> list[Chunk]:
    decoder = codecs()[dialect].decoder(ask(question(), endpoint(dialect, features=ALL), streaming=True), Report())
    chunks: list[Chunk] = []
    for event in events:
        data = event if isinstance(event, str) else orjson.dumps(event).decode()
        chunks += decoder.feed(SseEvent(name="", data=data))
    return [*chunks, *decoder.end()]


def reply_of(chunks: list[Chunk]) -> Reply:
    [finished] = [chunk for chunk in chunks if isinstance(chunk, Finished)]
    assert chunks[-1] is finished
    return finished.reply


def start(index: int, block: JsonObject) -> JsonObject:
    return {"type": "content_block_start", "index": index, "content_block": block}


def delta(index: int, kind: str, key: str, text: str) -> JsonObject:
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, key: text}}


def stop(index: int) -> JsonObject:
    return {"type": "content_block_stop", "index": index}


def ending(reason: str = "end_turn") -> tuple[JsonObject, JsonObject]:
    return {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 9}}, {"type": "message_stop"}


def piece(content: JsonObject, finish: str | None = None) -> JsonObject:
    return {"choices": [{"index": 0, "delta": content, "finish_reason": finish}]}


def partial(*parts: JsonObject, finish: str = "") -> JsonObject:
    return {"candidates": [{"content": {"role": "model", "parts": [*parts]}, **({"finishReason": finish} if finish else {})}]}


def completed(*items: JsonObject, status: str = "completed") -> JsonObject:
    return {"type": f"response.{status}", "response": {"status": status, "output": [*items]}}


def said(text: str) -> JsonObject:
    return {"type": "message", "content": [{"type": "output_text", "text": text}]}


def test_anthropic_blocks_of_every_kind_are_put_together() -> None:
    chunks = fed(
        CLAUDE,
        [
            {"type": "message_start", "message": {"model": "m-1-2026", "usage": {"input_tokens": 30, "output_tokens": 1}}},
            start(0, {"type": "thinking", "thinking": "", "signature": ""}),
            delta(0, "thinking_delta", "thinking", "let me "),
            delta(0, "thinking_delta", "thinking", "see"),
            delta(0, "signature_delta", "signature", "sig"),
            stop(0),
            start(1, {"type": "redacted_thinking", "data": "xyz"}),
            stop(1),
            start(2, {"type": "text", "text": ""}),
            delta(2, "text_delta", "text", "Hello "),
            {"type": "ping"},
            delta(2, "text_delta", "text", "there."),
            stop(2),
            start(3, {"type": "tool_use", "id": "t1", "name": "look", "input": {}}),
            delta(3, "input_json_delta", "partial_json", ""),
            stop(3),
            *ending("tool_use"),
        ],
    )
    reply = reply_of(chunks)
    assert reply.message.parts == (
        Reasoning(text="let me see", signature="sig", provenance="anthropic/m-1"),
        Opaque(provenance="anthropic/m-1", content={"type": "redacted_thinking", "data": "xyz"}),
        Text(text="Hello there."),
        ToolCall(call_id="t1", tool="look", arguments={}),
    )
    assert (reply.usage.input_tokens, reply.usage.output_tokens, reply.model) == (30, 9, "m-1-2026")


def test_gemini_pieces_are_put_together_and_every_signature_stays_where_it_was() -> None:
    chunks = fed(
        GEMINI,
        [
            partial({"text": "let me ", "thought": True}),
            partial({"text": "see", "thought": True}),
            partial({"text": "Hello "}),
            partial({"text": "there."}, {"functionCall": {"name": "look", "args": {"n": 1}}, "thoughtSignature": "s"}),
            {**partial(finish="STOP"), "usageMetadata": {"promptTokenCount": 30, "candidatesTokenCount": 9}, "modelVersion": "m-1-001"},
        ],
    )
    reply = reply_of(chunks)
    made_by = "gemini/m-1#org-1"
    assert reply.message.parts == (
        Reasoning(text="let me see", provenance=made_by),
        Text(text="Hello there."),
        Reasoning(text="", signature="s", provenance=made_by),
        ToolCall(call_id="call_1", tool="look", arguments={"n": 1}),
    )
    assert (reply.usage.input_tokens, reply.usage.output_tokens, reply.model) == (30, 9, "m-1-001")


def test_responses_are_believed_at_their_end() -> None:
    chunks = fed(RESPONSES, [{"type": "response.output_text.delta", "delta": "Hel"}, completed(said("Hello there."))])
    assert reply_of(chunks).message.text == "Hello there."


def test_a_response_that_ends_without_its_items_is_put_together_from_those_that_were_done() -> None:
    done: JsonObject = {"type": "response.output_item.done", "output_index": 0, "item": said("Hello.")}
    assert reply_of(fed(RESPONSES, [done, completed()])).message.text == "Hello."


@given(arguments=OBJECTS, cuts=st.lists(st.integers(0, 60), max_size=5))
def test_arguments_are_the_same_however_the_stream_cuts_them(arguments: JsonObject, cuts: list[int]) -> None:
    raw = orjson.dumps(arguments).decode()
    places = sorted({0, len(raw), *(cut for cut in cuts if cut < len(raw))})
    parts = [raw[at:end] for at, end in itertools.pairwise(places)]
    item: JsonObject = {"type": "function_call", "call_id": "c1", "name": "look", "arguments": raw}
    streams: dict[Dialect, list[JsonObject | str]] = {
        CLAUDE: [
            start(0, {"type": "tool_use", "id": "c1", "name": "look", "input": {}}),
            *(delta(0, "input_json_delta", "partial_json", part) for part in parts),
            stop(0),
            *ending("tool_use"),
        ],
        CHAT: [
            piece({"tool_calls": [{"index": 0, "id": "c1", "function": {"name": "look", "arguments": ""}}]}),
            *(piece({"tool_calls": [{"index": 0, "function": {"arguments": part}}]}) for part in parts),
            piece({}, "tool_calls"),
            "[DONE]",
        ],
        RESPONSES: [
            {"type": "response.output_item.added", "output_index": 0, "item": {**item, "arguments": ""}},
            *({"type": "response.function_call_arguments.delta", "output_index": 0, "delta": part} for part in parts),
            completed(item),
        ],
    }
    for dialect, events in streams.items():
        chunks = fed(dialect, events)
        [call] = reply_of(chunks).message.tool_calls
        assert (call.call_id, call.arguments) == ("c1", arguments)
        told = [chunk for chunk in chunks if isinstance(chunk, ToolCallDelta)]
        assert [(one.call_id, one.tool) for one in told if one.call_id] == [("c1", "look")]
        assert "".join(one.arguments for one in told) == raw


def test_openai_calls_side_by_side_are_told_apart_also_without_an_index() -> None:
    def call(call_id: str, arguments: str, index: int | None) -> JsonObject:
        function: JsonObject = {"name": "look" if call_id else "", "arguments": arguments}
        found: JsonObject = {"id": call_id, "function": function} if call_id else {"function": function}
        return piece({"tool_calls": [found if index is None else {**found, "index": index}]})

    for indexes in ((0, 1), (None, None)):
        events = [call("a", '{"n":', indexes[0]), call("", "1}", indexes[0]), call("b", '{"n":2}', indexes[1]), piece({}, "tool_calls")]
        assert reply_of(fed(CHAT, [*events, "[DONE]"])).message.tool_calls == (
            ToolCall(call_id="a", tool="look", arguments={"n": 1}),
            ToolCall(call_id="b", tool="look", arguments={"n": 2}),
        )


def test_openai_usage_comes_in_its_last_chunk() -> None:
    usage: JsonObject = {"choices": [], "usage": {"prompt_tokens": 30, "completion_tokens": 9}}
    reply = reply_of(fed(CHAT, [piece({"content": "Hi."}), piece({}, "stop"), usage, "[DONE]"]))
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (30, 9)


def test_a_missing_end_mark_is_forgiven_only_behind_a_finish_reason() -> None:
    assert reply_of(fed(CHAT, [piece({"content": "Hi."}), piece({}, "stop")])).message.text == "Hi."


BEGUN: tuple[JsonObject, ...] = (start(0, {"type": "text", "text": ""}), delta(0, "text_delta", "text", "Hel"))
WRITING: JsonObject = {"type": "response.output_text.delta", "delta": "Hel"}


@pytest.mark.parametrize(
    ("dialect", "events"),
    [
        (CLAUDE, ()),
        (CLAUDE, BEGUN),
        (CLAUDE, (*BEGUN, stop(0), ending()[0])),
        (CLAUDE, (*BEGUN, *ending())),
        (CLAUDE, (*BEGUN, stop(0), {"type": "message_stop"})),
        (CLAUDE, (*BEGUN, stop(0), *ending(), *ending())),
        (CLAUDE, (*BEGUN, *BEGUN)),
        (CLAUDE, (*BEGUN, stop(0), BEGUN[1])),
        (CLAUDE, (delta(7, "text_delta", "text", "x"),)),
        (CLAUDE, ("{not json",)),
        (CHAT, ()),
        (CHAT, (piece({"content": "Hel"}),)),
        (CHAT, (piece({"content": "Hel"}), "[DONE]")),
        (CHAT, (piece({"content": "Hel"}, "stop"), "[DONE]", "[DONE]")),
        (CHAT, (piece({"content": "Hel"}, "invented"), "[DONE]")),
        (CHAT, ("[1, 2]",)),
        (RESPONSES, ()),
        (RESPONSES, (WRITING,)),
        (RESPONSES, (WRITING, completed(said("Hello."), status="in_progress"))),
        (RESPONSES, (WRITING, {"type": "response.completed"})),
        (RESPONSES, (completed(said("Hello.")), completed(said("Hello.")))),
        (RESPONSES, ({"type": "response.function_call_arguments.delta", "output_index": 3, "delta": "{"},)),
        (RESPONSES, ("nonsense",)),
        (GEMINI, ()),
        (GEMINI, (partial({"text": "Hel"}),)),
        (GEMINI, (partial({"text": "Hel"}, finish="OTHER"),)),
        (GEMINI, ("{",)),
    ],
)
def test_a_stream_without_its_verified_end_is_never_complete(dialect: Dialect, events: tuple[JsonObject | str, ...]) -> None:
    with pytest.raises(ProviderError) as caught:
        fed(dialect, events)
    assert caught.value.failure.category in {Category.UPSTREAM_UNAVAILABLE, Category.MODEL_MALFORMED}


def test_what_a_broken_stream_consumed_is_told() -> None:
    begun: JsonObject = {"type": "message_start", "message": {"usage": {"input_tokens": 30, "output_tokens": 1}}}
    words = "Some words of an answer, which take more than one token."
    with pytest.raises(ProviderError) as caught:
        fed(CLAUDE, [begun, BEGUN[0], delta(0, "text_delta", "text", words)])
    assert caught.value.usage.input_tokens == 30
    assert caught.value.usage.output_tokens > 1
    for dialect, events in (
        (CHAT, [piece({"content": words})]),
        (RESPONSES, [{"type": "response.output_text.delta", "delta": words}]),
        (GEMINI, [partial({"text": words})]),
    ):
        with pytest.raises(ProviderError) as caught:
            fed(dialect, events)  # type: ignore[arg-type]
        assert min(caught.value.usage.input_tokens, caught.value.usage.output_tokens) > 0


@pytest.mark.parametrize("dialect", [CLAUDE, CHAT, RESPONSES, GEMINI])
def test_a_stream_that_broke_before_its_first_word_consumed_nothing(dialect: Dialect) -> None:
    with pytest.raises(ProviderError) as caught:
        fed(dialect, [])
    assert caught.value.usage == Usage()
