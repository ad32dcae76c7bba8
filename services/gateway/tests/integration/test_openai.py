"""The official client of OpenAI, unchanged, on the router: whole, streamed, with tools, and told its errors in its own form."""

import base64
import struct

import openai
import orjson
import pytest
from gateway_door import Door, Wish, open_door
from openai import AsyncOpenAI
from plimsoll.common.v1 import failure_pb2
from plimsoll.model_router.v1 import message_pb2 as message
from plimsoll.model_router.v1 import model_router_service_pb2 as pb
from plimsoll_gateway.config import LimitSettings
from plimsoll_runtime.errors import Exhausted, Invalid

ASK = [{"role": "user", "content": "Where is my order?"}]
TOOL = {
    "type": "function",
    "function": {"name": "find_order", "description": "Finds", "parameters": {"type": "object", "properties": {"id": {"type": "integer"}}}},
}
USAGE = {"input_tokens": 7, "output_tokens": 3, "cached_input_tokens": 2, "reasoning_tokens": 1, "cost_micros": 9}


def said(*parts: dict, stop: int = message.STOP_REASON_END_TURN, **more: object) -> pb.Answer:
    spoken = {"role": message.ROLE_ASSISTANT, "parts": list(parts)}
    return pb.Answer(message=spoken, stop_reason=stop, usage=USAGE, provider="acme", model="fine", call_id="c1", **more)


FINE = said({"text": {"text": "On its way."}})
CALLS = said({"tool_call": {"call_id": "t1", "tool": "find_order", "arguments": {"text": '{"id":7}'}}}, stop=message.STOP_REASON_TOOL_CALLS)
FAILED = pb.GenerationFailure(
    failure=failure_pb2.Failure(category=failure_pb2.FAILURE_CATEGORY_UPSTREAM_UNAVAILABLE, reason="NO_PROVIDER", message="none answers")
)


@pytest.fixture
async def door(postgres_dsn: str):
    async with open_door(postgres_dsn) as opened:
        yield opened


@pytest.fixture
async def client(door: Door):
    async with AsyncOpenAI(base_url=f"{door.url}/openai/v1", api_key=door.key, max_retries=0) as client:
        yield client


def router(door: Door, **answers: object) -> list:
    peer = door.peers["model_router"]
    peer.answers.update(answers)
    return peer.heard


def streaming(door: Door, *events: dict) -> None:
    door.peers["model_router"].journal = [pb.GenerateStreamResponse(attempt=1, **event) for event in events]


async def test_a_question_and_its_answer(door: Door, client: AsyncOpenAI):
    heard = router(door, Generate=pb.GenerateResponse(answer=FINE))
    answer = await client.chat.completions.create(
        model="fine", messages=[{"role": "system", "content": "Be kind."}, *ASK], max_tokens=50, temperature=0.5, stop="END", seed=3
    )
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("On its way.", "stop")
    assert (answer.model, answer.usage.prompt_tokens, answer.usage.total_tokens) == ("fine", 7, 10)
    asked = heard[0].request.generation
    assert heard[0].caller.tenant == "acme"
    assert (asked.model, asked.max_output_tokens, asked.sampling.temperature, list(asked.sampling.stop)) == ("fine", 50, 0.5, ["END"])
    assert [(one.role, one.parts[0].text.text) for one in asked.messages] == [
        (message.ROLE_SYSTEM, "Be kind."),
        (message.ROLE_USER, "Where is my order?"),
    ]


async def test_tools_are_offered_called_and_answered(door: Door, client: AsyncOpenAI):
    heard = router(door, Generate=pb.GenerateResponse(answer=CALLS))
    choice = {"type": "function", "function": {"name": "find_order"}}
    first = await client.chat.completions.create(model="fine", messages=ASK, tools=[TOOL], tool_choice=choice, parallel_tool_calls=False)
    call = first.choices[0].message.tool_calls[0]
    assert (call.id, call.function.name, call.function.arguments, first.choices[0].finish_reason) == (
        "t1",
        "find_order",
        '{"id":7}',
        "tool_calls",
    )
    asked = heard[0].request.generation
    assert (asked.tools[0].name, asked.tool_choice_name, asked.single_tool_call) == ("find_order", "find_order", True)
    router(door, Generate=pb.GenerateResponse(answer=FINE))
    result = {"role": "tool", "tool_call_id": "t1", "content": '{"state":"sent"}'}
    await client.chat.completions.create(model="fine", messages=[*ASK, first.choices[0].message, result], tools=[TOOL])
    turns = heard[1].request.generation.messages
    assert turns[1].parts[0].tool_call.arguments.text == '{"id":7}'
    assert (turns[2].parts[0].tool_result.tool, turns[2].parts[0].tool_result.content.text) == ("find_order", '{"state":"sent"}')


async def test_an_answer_by_a_schema(door: Door, client: AsyncOpenAI):
    heard = router(door, Generate=pb.GenerateResponse(answer=said({"text": {"text": '{"n":1}'}})))
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    form = {"type": "json_schema", "json_schema": {"name": "number", "schema": schema, "strict": True}}
    answer = await client.chat.completions.create(model="task:extraction", messages=ASK, response_format=form)
    assert answer.choices[0].message.content == '{"n":1}'
    asked = heard[0].request.generation
    assert (asked.task, asked.model, orjson.loads(asked.output_schema.text)) == ("extraction", "", schema)


async def test_a_stream_brings_pieces_usage_and_an_end(door: Door, client: AsyncOpenAI):
    streaming(door, {"began": {"model": "fine"}}, {"text": "On its "}, {"text": "way."}, {"answer": FINE})
    stream = await client.chat.completions.create(model="auto", messages=ASK, stream=True, stream_options={"include_usage": True})
    chunks = [chunk async for chunk in stream]
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    assert "".join(delta.content or "" for delta in deltas) == "On its way."
    assert (deltas[0].role, chunks[-2].choices[0].finish_reason) == ("assistant", "stop")
    assert chunks[-1].usage.completion_tokens == 3
    assert len({chunk.id for chunk in chunks}) == 1
    asked = door.peers["model_router"].heard[0].request
    assert (asked.delivery, asked.generation.model) == (pb.DELIVERY_STRICT, "")


async def test_a_stream_of_tool_calls(door: Door, client: AsyncOpenAI):
    streaming(
        door,
        {"began": {"model": "fine"}},
        {"tool_call": {"index": 0, "call_id": "t1", "tool": "find_order"}},
        {"tool_call": {"index": 0, "arguments": '{"id":'}},
        {"tool_call": {"index": 0, "arguments": "7}"}},
        {"answer": CALLS},
    )
    chunks = [chunk async for chunk in await client.chat.completions.create(model="fine", messages=ASK, tools=[TOOL], stream=True)]
    calls = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or ()]
    assert (calls[0].id, calls[0].function.name) == ("t1", "find_order")
    assert "".join(call.function.arguments or "" for call in calls) == '{"id":7}'
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


async def test_an_answer_that_came_in_no_pieces_is_told_whole_at_the_end_of_the_stream(door: Door, client: AsyncOpenAI):
    streaming(door, {"answer": CALLS})
    chunks = [chunk async for chunk in await client.chat.completions.create(model="fine", messages=ASK, stream=True)]
    assert chunks[0].choices[0].delta.tool_calls[0].function.arguments == '{"id":7}'


@pytest.mark.parametrize("events", [({"text": "On its "}, {"failure": FAILED}), ({"text": "On its "},)], ids=["failed", "cut"])
async def test_a_stream_that_breaks_is_an_error_and_never_complete(door: Door, client: AsyncOpenAI, events: tuple[dict, ...]):
    streaming(door, {"began": {"model": "fine"}}, *events)
    got: list[str] = []

    async def listen() -> None:
        async for chunk in await client.chat.completions.create(model="fine", messages=ASK, stream=True):
            got.append(chunk.choices[0].delta.content or "")  # noqa: PERF401 - what came before the break counts

    with pytest.raises(openai.APIError):
        await listen()
    assert "".join(got) == "On its "
    async with door.rest.post("/openai/v1/chat/completions", json={"model": "fine", "messages": ASK, "stream": True}) as response:
        assert b"[DONE]" not in await response.read()


async def test_a_stream_that_fails_before_its_first_piece_is_an_error_with_a_status(door: Door, client: AsyncOpenAI):
    streaming(door, {"began": {"model": "fine"}}, {"failure": FAILED})
    with pytest.raises(openai.InternalServerError) as caught:
        await client.chat.completions.create(model="fine", messages=ASK, stream=True)
    assert (caught.value.status_code, caught.value.code) == (503, "NO_PROVIDER")


async def test_errors_are_told_in_its_form(door: Door, client: AsyncOpenAI, postgres_dsn: str):
    router(door, Generate=Invalid("no such model", reason="MODEL_UNKNOWN"))
    with pytest.raises(openai.BadRequestError) as bad:
        await client.chat.completions.create(model="none", messages=ASK)
    assert (bad.value.code, bad.value.type) == ("MODEL_UNKNOWN", "invalid_request_error")
    router(door, Generate=Exhausted("spent", reason="BUDGET_EXCEEDED"))
    with pytest.raises(openai.RateLimitError, match="spent"):
        await client.chat.completions.create(model="fine", messages=ASK)
    with pytest.raises(openai.AuthenticationError):
        await client.with_options(api_key="plk_nobody").models.list()
    with pytest.raises(openai.PermissionDeniedError) as denied:
        await client.with_options(api_key=await door.make_key(role="viewer")).chat.completions.create(model="fine", messages=ASK)
    assert denied.value.code == "SCOPE_MISSING"
    with pytest.raises(openai.NotFoundError):
        await client.models.retrieve("none")
    async with open_door(postgres_dsn, Wish(limit=LimitSettings(key_requests=1, window_s=60.0))) as narrow:
        tight = AsyncOpenAI(base_url=f"{narrow.url}/openai/v1", api_key=narrow.key, max_retries=0)
        await tight.models.list()
        with pytest.raises(openai.RateLimitError) as limited:
            await tight.models.list()
        assert limited.value.response.headers["retry-after"] == "60"
        await tight.close()


REFUSED = [
    ({"messages": []}, "messages"),
    ({"messages": [{"role": "boss", "content": "x"}]}, "messages[0].role"),
    ({"messages": [{"role": "tool", "tool_call_id": "t9", "content": "x"}]}, "messages[0].tool_call_id"),
    ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "messages[0].content[0].type"),
    ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content"),
    ({"messages": "hello"}, "messages"),
    ({"n": 2}, "n"),
    ({"logprobs": True}, "logprobs"),
    ({"frequency_penalty": 1}, "frequency_penalty"),
    ({"made_up": 1}, "made_up"),
    ({"temperature": 9}, "temperature"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"stop": ["a"] * 5}, "stop"),
    ({"tool_choice": "maybe"}, "tool_choice"),
    ({"reasoning_effort": "wild"}, "reasoning_effort"),
    ({"response_format": {"type": "xml"}}, "response_format.type"),
    ({"model": ""}, "model"),
]


async def test_what_would_change_the_answer_and_is_not_served_is_refused(door: Door):
    for change, param in REFUSED:
        async with door.rest.post("/openai/v1/chat/completions", json={"model": "fine", "messages": ASK, **change}) as response:
            problem = (await response.json(content_type=None))["error"]
        assert (response.status, problem["param"]) == (400, param)
    assert door.peers["model_router"].heard == []


async def test_what_changes_nothing_is_taken(door: Door, client: AsyncOpenAI):
    router(door, Generate=pb.GenerateResponse(answer=FINE))
    await client.chat.completions.create(model="fine", messages=ASK, n=1, user="u", store=False, metadata={"a": "b"}, presence_penalty=0)


async def test_vectors_as_numbers_and_packed(door: Door, client: AsyncOpenAI):
    vectors = pb.Embeddings(vectors=[{"values": [0.5, -1.0]}, {"values": [0.25, 2.0]}], model="vec", usage={"input_tokens": 4})
    heard = router(door, Embed=pb.EmbedResponse(embeddings=vectors))
    answer = await client.embeddings.create(model="vec", input=["a", "b"], dimensions=2)
    assert [one.embedding for one in answer.data] == [[0.5, -1.0], [0.25, 2.0]]
    assert (answer.usage.prompt_tokens, list(heard[0].request.texts), heard[0].request.dimensions) == (4, ["a", "b"], 2)
    packed = await client.embeddings.create(model="vec", input="a", encoding_format="base64")
    assert struct.unpack("<2f", base64.b64decode(packed.data[0].embedding)) == (0.5, -1.0)
    with pytest.raises(openai.BadRequestError):
        await client.embeddings.create(model="vec", input=[[1, 2]])


async def test_models_are_listed(door: Door, client: AsyncOpenAI):
    router(door, ListModels=pb.ListModelsResponse(models=[{"name": "fine", "provider": "acme"}]))
    assert [one.id async for one in client.models.list()] == ["auto", "fine"]
    assert (await client.models.retrieve("fine")).owned_by == "acme"


NOWHERE = [
    ("GET", "/openai/v1/chat/completions", 405),
    ("POST", "/openai/v1/files", 404),
    ("GET", "/openai/v1/models/a/b", 404),
    ("GET", "/openai/v1/", 404),
    ("GET", "/openai/v2/models", 404),
]


async def test_other_paths_are_none(door: Door):
    for http, path, status in NOWHERE:
        async with door.rest.request(http, path) as response:
            assert response.status == status, path


async def test_a_body_that_is_no_object_is_refused(door: Door):
    for body in (b"", b"{", b"[]", b'"x"', b"\xff\xfe", b'{"model":NaN}', b"[" * 5000):
        async with door.rest.post("/openai/v1/chat/completions", data=body, headers={"Content-Type": "application/json"}) as response:
            assert response.status == 400, await response.text()
