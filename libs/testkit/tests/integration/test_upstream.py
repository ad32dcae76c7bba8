"""The scripted upstream speaks its dialects, does what the model's name says, and notes how each attempt ended."""

from collections.abc import AsyncIterator, Callable

import aiohttp
import pytest
from plimsoll_runtime.json_types import JsonObject, parse_object
from plimsoll_testkit.upstream import ANSWER, Outcome, ScriptedUpstream, script, serving
from plimsoll_testkit.waiting import eventually

Asked = tuple[str, JsonObject]


def anthropic(model: str, stream: bool) -> Asked:
    said: JsonObject = {"role": "user", "content": [{"type": "text", "text": "?"}]}
    return "/v1/messages", {"model": model, "max_tokens": 9, "messages": [said], "stream": stream}


def chat(model: str, stream: bool) -> Asked:
    return "/v1/chat/completions", {"model": model, "messages": [{"role": "user", "content": "?"}], "stream": stream}


def responses(model: str, stream: bool) -> Asked:
    return "/v1/responses", {"model": model, "input": [{"role": "user", "content": "?"}], "stream": stream}


def gemini(model: str, stream: bool) -> Asked:
    verb = "streamGenerateContent?alt=sse" if stream else "generateContent"
    return f"/v1beta/models/{model}:{verb}", {"contents": [{"role": "user", "parts": [{"text": "?"}]}]}


DIALECTS = pytest.mark.parametrize("dialect", [anthropic, chat, responses, gemini])
Dialect = Callable[[str, bool], Asked]


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with serving() as served:
        yield served


@pytest.fixture
async def session(upstream: ScriptedUpstream) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(upstream.url) as opened:
        yield opened


async def ask(session: aiohttp.ClientSession, asked: Asked) -> tuple[int, str]:
    path, body = asked
    async with session.post(path, json=body, headers={"authorization": "Bearer sk"}) as response:
        return response.status, await response.text()


@DIALECTS
async def test_it_answers_whole_and_in_pieces(dialect: Dialect, session: aiohttp.ClientSession, upstream: ScriptedUpstream) -> None:
    status, whole = await ask(session, dialect("fine", False))
    assert (status, ANSWER in whole) == (200, True)
    status, stream = await ask(session, dialect("fine", True))
    assert status == 200
    assert all(word.rstrip(".") in stream for word in ANSWER.split(" "))
    assert upstream.outcomes() == [("fine", Outcome.ANSWERED)] * 2
    assert [attempt.streaming for attempt in upstream.attempts] == [False, True]
    assert upstream.attempts[0].key == "sk"


@DIALECTS
@pytest.mark.parametrize("fault", sorted(script.ERRORS))
async def test_errors_come_as_the_dialect_tells_them(
    dialect: Dialect, session: aiohttp.ClientSession, upstream: ScriptedUpstream, fault: str
) -> None:
    status, body = await ask(session, dialect(fault, True))
    assert status == script.ERRORS[fault].status
    assert "error" in parse_object(body)
    assert upstream.outcomes() == [(fault, Outcome.REFUSED)]


@DIALECTS
async def test_a_fault_may_pass_after_some_tries(dialect: Dialect, session: aiohttp.ClientSession) -> None:
    assert [(await ask(session, dialect("broken-twice", False)))[0] for _ in range(3)] == [500, 500, 200]


@DIALECTS
@pytest.mark.parametrize("fault", ["cut", "hang-up"])
async def test_a_connection_may_break(dialect: Dialect, session: aiohttp.ClientSession, upstream: ScriptedUpstream, fault: str) -> None:
    with pytest.raises(aiohttp.ClientError):
        await ask(session, dialect(fault, True))
    assert upstream.outcomes() == [(fault, Outcome.FAILED)]


@DIALECTS
@pytest.mark.parametrize("fault", ["silent", "stall", "slow-start", "chatter"])
async def test_what_hangs_is_let_go_by_the_gate_and_notes_who_left(
    dialect: Dialect, session: aiohttp.ClientSession, upstream: ScriptedUpstream, fault: str
) -> None:
    path, body = dialect(fault, True)
    with pytest.raises(TimeoutError):
        async with session.post(path, json=body, timeout=aiohttp.ClientTimeout(total=0.1)) as response:
            await response.read()
    await eventually(lambda: upstream.outcomes() == [(fault, Outcome.ABANDONED)])
    upstream.gate.set()
    if fault == "slow-start":
        assert (await ask(session, dialect(fault, True)))[0] == 200


@DIALECTS
async def test_a_provider_may_be_down_for_a_while(dialect: Dialect, session: aiohttp.ClientSession, upstream: ScriptedUpstream) -> None:
    upstream.down = True
    assert (await ask(session, dialect("flap", False)))[0] == 503
    upstream.down = False
    assert (await ask(session, dialect("flap", False)))[0] == 200


async def test_a_name_that_is_no_script_is_refused_with_those_that_are(session: aiohttp.ClientSession) -> None:
    status, body = await ask(session, chat("fnie", False))
    assert status == 404
    assert "fine" in body


async def test_a_request_that_the_api_would_refuse_is_refused(session: aiohttp.ClientSession) -> None:
    prefilled: JsonObject = {"model": "fine", "max_tokens": 9, "messages": [{"role": "assistant", "content": []}]}
    assert (await ask(session, ("/v1/messages", prefilled)))[0] == 400
    unanswered: JsonObject = {"role": "assistant", "tool_calls": [{"id": "a"}]}
    assert (await ask(session, ("/v1/chat/completions", {"model": "fine", "messages": [unanswered, {"role": "user"}]})))[0] == 400


async def test_keys_may_be_refused_by_name(session: aiohttp.ClientSession) -> None:
    path, body = chat("fine", False)
    for key, status in (("sk-revoked", 401), ("sk-limited", 429), ("sk-empty", 429), ("sk-fine", 200)):
        async with session.post(path, json=body, headers={"authorization": f"Bearer {key}"}) as response:
            assert response.status == status
