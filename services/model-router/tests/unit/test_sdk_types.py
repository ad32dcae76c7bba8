"""What we send, and what the scripted upstream answers, has the shape of the official SDKs' own types."""

from collections.abc import Iterator
from dataclasses import replace
from typing import cast

import anthropic.types as claude
import google.genai.types as genai
import openai.types.chat as openai_chat
import openai.types.responses as openai_responses
import orjson
import pytest
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming, MessageCreateParamsStreaming
from hypothesis import given
from hypothesis import strategies as st
from model_router_asks import ALL, HTTP_DIALECTS, KEY, endpoint
from model_router_conversations import ANY_CONVERSATION, CLOSE, INTENTS, LOOKUP
from model_router_sdk_types import mismatch
from openai.types import CreateEmbeddingResponse
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming, CompletionCreateParamsStreaming
from openai.types.embedding_create_params import EmbeddingCreateParams
from openai.types.responses.response_create_params import ResponseCreateParamsNonStreaming, ResponseCreateParamsStreaming
from plimsoll_model_router.adapters.providers.dialects import codecs
from plimsoll_model_router.domain.conversion import Report
from plimsoll_model_router.domain.endpoints import Ask, Dialect, EmbeddingAsk, ReasoningStyle
from plimsoll_model_router.domain.generation import Question
from plimsoll_model_router.domain.messages import Effort, Message, Role, Sampling, Text, ToolChoice
from plimsoll_runtime.json_types import JsonObject, JsonValue
from plimsoll_testkit.upstream import anthropic, chat, gemini, responses
from plimsoll_testkit.upstream import script as scripts

SAMPLINGS = st.builds(
    Sampling,
    temperature=st.none() | st.floats(0, 2),
    top_p=st.none() | st.floats(0.1, 1),
    seed=st.none() | st.integers(0, 2**31),
    stop=st.sampled_from([(), ("END",), ("a", "b")]),
)
QUESTIONS = st.builds(
    Question,
    messages=ANY_CONVERSATION.map(lambda told: (*told, Message(role=Role.USER, parts=(Text(text="And?"),)))),
    tools=st.sampled_from([(LOOKUP,), (LOOKUP, CLOSE)]),
    tool_choice=st.sampled_from(ToolChoice),
    tool_name=st.just("find_account"),
    single_call=st.booleans(),
    output_schema=st.sampled_from([None, INTENTS, {"type": "object"}]),
    max_output_tokens=st.sampled_from([0, 500, 100_000]),
    sampling=SAMPLINGS,
    effort=st.none() | st.sampled_from(Effort),
    cache_prefix=st.booleans(),
)


@st.composite
def asks(draw: st.DrawFn) -> Ask:
    where = endpoint(draw(st.sampled_from(HTTP_DIALECTS)), features=ALL)
    style = draw(st.sampled_from(ReasoningStyle))
    return Ask(question=draw(QUESTIONS), endpoint=replace(where, reasoning_style=style), credential=KEY, streaming=draw(st.booleans()))


@given(asks())
def test_every_request_has_the_shape_that_the_sdk_would_send(ask: Ask) -> None:
    body = codecs()[ask.endpoint.dialect].request(ask, Report()).body
    assert _problem(ask, cast("JsonObject", orjson.loads(orjson.dumps(body)))) == ""


def _problem(ask: Ask, body: JsonObject) -> str:
    match ask.endpoint.dialect:
        case Dialect.ANTHROPIC:
            return mismatch(body, MessageCreateParamsStreaming if ask.streaming else MessageCreateParamsNonStreaming)
        case Dialect.OPENAI_RESPONSES:
            return mismatch(body, ResponseCreateParamsStreaming if ask.streaming else ResponseCreateParamsNonStreaming)
        case Dialect.GEMINI:
            return _gemini_problem(body)
        case _:
            return mismatch(body, CompletionCreateParamsStreaming if ask.streaming else CompletionCreateParamsNonStreaming)


def _gemini_problem(body: JsonObject) -> str:
    known = {
        "contents": list[genai.Content],
        "systemInstruction": genai.Content,
        "tools": list[genai.Tool],
        "toolConfig": genai.ToolConfig,
        "generationConfig": genai.GenerationConfig,
    }
    unknown = body.keys() - known.keys()
    return str(unknown) if unknown else "".join(mismatch(value, known[key], key) for key, value in body.items())


def test_what_the_sdk_would_not_send_is_found() -> None:
    ask = Ask(question=Question(messages=(Message(role=Role.USER, parts=(Text(text="?"),)),)), endpoint=endpoint(Dialect.ANTHROPIC))
    for dialect, wrong in (
        (Dialect.ANTHROPIC, {"temperature": 0.5}),
        (Dialect.ANTHROPIC, {"max_tokens": "many"}),
        (Dialect.OPENAI_CHAT, {"messages": [{"role": "user"}]}),
        (Dialect.OPENAI_RESPONSES, {"tools": [{"type": "function", "name": "x"}]}),
        (Dialect.GEMINI, {"generationConfig": {"responsJsonSchema": {}}}),
        (Dialect.GEMINI, {"unheard_of": 1}),
    ):
        asked = replace(ask, endpoint=endpoint(dialect))
        body = codecs()[dialect].request(asked, Report()).body
        assert _problem(asked, body) == ""
        assert _problem(asked, cast("JsonObject", {**body, **wrong})) != ""


ANSWERS = sorted(scripts.ANSWERS - {"no-choices", "no-finish"})


@pytest.mark.parametrize("name", ANSWERS)
def test_the_scripted_upstream_answers_in_the_sdks_own_types(name: str) -> None:
    script = scripts.read(name)
    claude.Message.model_validate(anthropic.body(script))
    openai_chat.ChatCompletion.model_validate(chat.body(script))
    openai_responses.Response.model_validate(responses.body(script))
    genai.GenerateContentResponse.model_validate(gemini.body(script))


@pytest.mark.parametrize("name", ANSWERS)
def test_the_scripted_upstream_streams_in_the_sdks_own_types(name: str) -> None:
    script = scripts.read(name)
    for event in _events(anthropic.frames(script)):
        if event["type"] != "ping":
            assert mismatch(event, claude.RawMessageStreamEvent) == ""
    for event in _events(chat.frames(script)):
        openai_chat.ChatCompletionChunk.model_validate(event)
    for event in _events(responses.frames(script)):
        assert mismatch(event, openai_responses.ResponseStreamEvent) == ""
    for event in _events(gemini.frames(script)):
        genai.GenerateContentResponse.model_validate(event)


def _events(frames: Iterator[bytes]) -> list[JsonObject]:
    lines = b"".join(frames).decode().split("\n")
    data = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
    return [cast("JsonObject", orjson.loads(one)) for one in data if one != "[DONE]"]


def test_embeddings_are_asked_for_and_answered_in_the_sdks_own_types() -> None:
    ask = EmbeddingAsk(texts=("a", "b"), endpoint=endpoint(Dialect.OPENAI_CHAT, features=ALL), credential=KEY, dimensions=4)
    body = codecs()[Dialect.OPENAI_CHAT].embedding_request(ask).body
    assert mismatch(body, EmbeddingCreateParams) == ""
    CreateEmbeddingResponse.model_validate(chat.embeddings(body))
    asked = codecs()[Dialect.GEMINI].embedding_request(EmbeddingAsk(texts=("a",), endpoint=endpoint(Dialect.GEMINI))).body
    [one] = cast("list[JsonObject]", asked["requests"])
    genai.Content.model_validate(one["content"])
    for vector in cast("list[JsonValue]", gemini.embeddings(asked)["embeddings"]):
        genai.ContentEmbedding.model_validate(vector)
