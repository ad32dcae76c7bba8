"""What a model says reaches followers while it says it, between the entries of the journal, and never moves their cursor."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from plimsoll_client import connect
from plimsoll_client.events import StepFinished, TokensReceived
from plimsoll_client.options import RunOptions
from plimsoll_devstack.mesh import Mesh
from plimsoll_devstack.plan import Wanted

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.e2e, pytest.mark.xdist_group("provider")]
AGENT = Path(__file__).parent / "agents" / "canary"


class Speaker:
    """A server that speaks the Chat Completions dialect slowly: the rest of its answer waits until both followers heard the beginning."""

    def __init__(self) -> None:
        self.heard_by_grpc, self.heard_by_rest = asyncio.Event(), asyncio.Event()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.read())
        usage = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
        if not body.get("stream"):
            message = {"role": "assistant", "content": "Good day."}
            choice = {"index": 0, "finish_reason": "stop", "message": message}
            return web.json_response({"id": "1", "object": "chat.completion", "model": "local-1", "choices": [choice], "usage": usage})
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await self._say(response, {"role": "assistant", "content": "Good "}, None)
        async with asyncio.timeout(30):
            await self.heard_by_grpc.wait()
            await self.heard_by_rest.wait()
        await self._say(response, {"content": "day."}, "stop")
        final = {"id": "1", "object": "chat.completion.chunk", "model": "local-1", "choices": [], "usage": usage}
        await response.write(f"data: {json.dumps(final)}\n\ndata: [DONE]\n\n".encode())
        await response.write_eof()
        return response

    async def _say(self, response: web.StreamResponse, delta: dict[str, str], finish: str | None) -> None:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        chunk = {"id": "1", "object": "chat.completion.chunk", "model": "local-1", "choices": [choice]}
        await response.write(f"data: {json.dumps(chunk)}\n\n".encode())


@pytest_asyncio.fixture(loop_scope="session")
async def speaker() -> AsyncIterator[tuple[Speaker, str]]:
    spoken = Speaker()
    app = web.Application()
    app.router.add_post("/v1/chat/completions", spoken.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    yield spoken, f"http://127.0.0.1:{port}/v1"
    await runner.cleanup()


async def test_text_is_heard_before_its_step_ends_over_grpc_and_over_rest(speaker: tuple[Speaker, str], tmp_path: Path) -> None:
    spoken, url = speaker
    environ = {"OPENAI_BASE_URL": url, "OPENAI_MODEL": "local-1", "OPENAI_API_KEY": "sk-test", "PATH": "/usr/bin:/bin"}
    async with (
        Mesh(Wanted(data=tmp_path / "mesh", agents=AGENT, environ=environ)) as mesh,
        connect(address=mesh.grpc_address, api_key=mesh.api_key) as client,
        aiohttp.ClientSession(mesh.http_url, headers={"Authorization": f"Bearer {mesh.api_key}"}) as http,
        asyncio.timeout(60),
    ):
        run = await client.runs.submit("canary", {"canary": "canary-1"}, options=RunOptions(stream_tokens=True))
        async with asyncio.TaskGroup() as group:
            over_rest = group.create_task(blocks(http, run.id, spoken.heard_by_rest))
            text, finished_at = "", 0
            async with aclosing(client.runs.follow(run.id, tokens=True)) as entries:
                async for entry in entries:
                    match entry.event:
                        case TokensReceived(text=piece, offset=offset, node="say"):
                            assert (offset, finished_at) == (len(text), 0)
                            text += piece
                            spoken.heard_by_grpc.set()
                        case StepFinished(node="say"):
                            finished_at = entry.seq
        assert text
        assert "Good day.".startswith(text)
        assert finished_at
        events = over_rest.result()
        said = [block for block in events if "event: tokensReceived" in block]
        assert said
        assert not any(block.startswith("id:") for block in said)
        ids = [int(block.split("\n")[0].removeprefix("id: ")) for block in events if block.startswith("id: ")]
        assert ids == list(range(1, len(ids) + 1))
        journal = [entry.seq async for entry in client.runs.follow(run.id)]
        assert journal == ids


async def blocks(http: aiohttp.ClientSession, run_id: str, heard: asyncio.Event) -> list[str]:
    """The events of a run as they came, with the text of its steps."""
    lines: list[str] = []
    async with http.get(f"/v1/runs/{run_id}/events?tokens=true") as response:
        assert response.status == 200
        async for line in response.content:
            lines.append(line.decode())
            if line == b"event: tokensReceived\n":
                heard.set()
    return "".join(lines).strip().split("\n\n")
