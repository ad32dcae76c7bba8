"""Streams of both dialects: what is complete, what is not, and pieces put together again."""

import itertools
from collections.abc import Callable

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_router_samples import OBJECTS, question
from plimsoll_model_router.adapters.providers import anthropic_stream, openai_stream
from plimsoll_model_router.adapters.providers.http_provider import Decoder
from plimsoll_model_router.adapters.providers.sse import SseEvent
from plimsoll_model_router.domain.generation import Chunk, Finished
from plimsoll_model_router.domain.messages import Opaque, Reasoning, Text, ToolCall
from plimsoll_model_router.errors import ProviderError
from plimsoll_runtime.failures import Category
from plimsoll_runtime.json_types import JsonObject

Make = Callable[[], Decoder]


def anthropic() -> Decoder:
    return anthropic_stream.StreamDecoder(question(), "anthropic/m-1")


def openai() -> Decoder:
    return openai_stream.StreamDecoder(question(), "openai/m-1")


def fed(decoder: Decoder, *events: JsonObject | str) -> list[Chunk]:
    chunks: list[Chunk] = []
    for event in events:
        data = event if isinstance(event, str) else orjson.dumps(event).decode()
        chunks += decoder.feed(SseEvent(name="", data=data))
    return [*chunks, *decoder.end()]


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


def reply_of(chunks: list[Chunk]) -> Finished:
    [finished] = [chunk for chunk in chunks if isinstance(chunk, Finished)]
    assert chunks[-1] is finished
    return finished


def test_anthropic_blocks_of_every_kind_are_put_together() -> None:
    chunks = fed(
        anthropic(),
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
    )
    reply = reply_of(chunks).reply
    assert reply.message.parts == (
        Reasoning(text="let me see", signature="sig", provenance="anthropic/m-1"),
        Opaque(provenance="anthropic/m-1", content={"type": "redacted_thinking", "data": "xyz"}),
        Text(text="Hello there."),
        ToolCall(call_id="t1", tool="look", arguments={}),
    )
    assert (reply.usage.input_tokens, reply.usage.output_tokens, reply.model) == (30, 9, "m-1-2026")


@given(arguments=OBJECTS, cuts=st.lists(st.integers(0, 60), max_size=5))
def test_arguments_are_the_same_however_the_stream_cuts_them(arguments: JsonObject, cuts: list[int]) -> None:
    raw = orjson.dumps(arguments).decode()
    places = sorted({0, len(raw), *(cut for cut in cuts if cut < len(raw))})
    parts = [raw[at:end] for at, end in itertools.pairwise(places)]
    told = [delta(0, "input_json_delta", "partial_json", part) for part in parts]
    begin = start(0, {"type": "tool_use", "id": "t1", "name": "look", "input": {}})
    [call] = reply_of(fed(anthropic(), begin, *told, stop(0), *ending("tool_use"))).reply.message.tool_calls
    assert call.arguments == arguments
    first = piece({"tool_calls": [{"index": 0, "id": "c1", "function": {"name": "look", "arguments": ""}}]})
    rest = [piece({"tool_calls": [{"index": 0, "function": {"arguments": part}}]}) for part in parts]
    [call] = reply_of(fed(openai(), first, *rest, piece({}, "tool_calls"), "[DONE]")).reply.message.tool_calls
    assert call.arguments == arguments


def test_openai_calls_side_by_side_are_told_apart_also_without_an_index() -> None:
    def call(call_id: str, arguments: str, index: int | None) -> JsonObject:
        function: JsonObject = {"name": "look" if call_id else "", "arguments": arguments}
        found: JsonObject = {"id": call_id, "function": function} if call_id else {"function": function}
        return piece({"tool_calls": [found if index is None else {**found, "index": index}]})

    for indexes in ((0, 1), (None, None)):
        chunks = fed(
            openai(),
            call("a", '{"n":', indexes[0]),
            call("", "1}", indexes[0]),
            call("b", '{"n":2}', indexes[1]),
            piece({}, "tool_calls"),
            "[DONE]",
        )
        assert reply_of(chunks).reply.message.tool_calls == (
            ToolCall(call_id="a", tool="look", arguments={"n": 1}),
            ToolCall(call_id="b", tool="look", arguments={"n": 2}),
        )


def test_openai_usage_comes_in_its_last_chunk() -> None:
    usage: JsonObject = {"choices": [], "usage": {"prompt_tokens": 30, "completion_tokens": 9}}
    reply = reply_of(fed(openai(), piece({"content": "Hi."}), piece({}, "stop"), usage, "[DONE]")).reply
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (30, 9)


ANTHROPIC_BEGUN: tuple[JsonObject, ...] = (start(0, {"type": "text", "text": ""}), delta(0, "text_delta", "text", "Hel"))


@pytest.mark.parametrize(
    ("make", "events"),
    [
        (anthropic, ()),
        (anthropic, ANTHROPIC_BEGUN),
        (anthropic, (*ANTHROPIC_BEGUN, stop(0), ending()[0])),
        (anthropic, (*ANTHROPIC_BEGUN, *ending())),
        (anthropic, (*ANTHROPIC_BEGUN, stop(0), {"type": "message_stop"})),
        (anthropic, (delta(7, "text_delta", "text", "x"),)),
        (anthropic, ("{not json",)),
        (openai, ()),
        (openai, (piece({"content": "Hel"}),)),
        (openai, (piece({"content": "Hel"}), "[DONE]")),
        (openai, (piece({"content": "Hel"}, "stop"), "[DONE]", "[DONE]")),
        (openai, (piece({"content": "Hel"}, "invented"), "[DONE]")),
        (openai, ("[1, 2]",)),
    ],
)
def test_a_stream_without_its_verified_end_is_never_complete(make: Make, events: tuple[JsonObject | str, ...]) -> None:
    with pytest.raises(ProviderError) as caught:
        fed(make(), *events)
    assert caught.value.failure.category in {Category.UPSTREAM_UNAVAILABLE, Category.MODEL_MALFORMED}


def test_what_a_broken_stream_consumed_is_told() -> None:
    begun: JsonObject = {"type": "message_start", "message": {"usage": {"input_tokens": 30, "output_tokens": 1}}}
    with pytest.raises(ProviderError) as caught:
        fed(anthropic(), begun, *ANTHROPIC_BEGUN)
    assert caught.value.usage.input_tokens == 30
    with pytest.raises(ProviderError) as caught:
        fed(openai(), piece({"content": "Some words of an answer."}))
    assert caught.value.usage.output_tokens > 0


@given(st.lists(OBJECTS, max_size=4))
def test_no_stream_however_odd_is_anything_but_chunks_or_a_provider_error(odd: list[JsonObject]) -> None:
    kinds = ("message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta", "error")
    for make in (anthropic, openai):
        try:
            fed(make(), *odd, *({**event, "type": kind, "choices": [event]} for event in odd for kind in kinds))
        except ProviderError:
            continue
