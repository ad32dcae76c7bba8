"""The same agents on another provider: configuration changes, nothing else does."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web
from plimsoll_client import connect
from plimsoll_client.models import RunStatus
from plimsoll_devstack.mesh import Mesh
from plimsoll_devstack.plan import Wanted
from plimsoll_runtime.json_types import JsonObject

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.e2e, pytest.mark.xdist_group("provider")]
AGENT = Path(__file__).parent / "agents" / "canary"


class Upstream:
    """A server that speaks the Chat Completions dialect and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[JsonObject] = []
        self.keys: set[str] = set()

    async def answer(self, request: web.Request) -> web.Response:
        body = json.loads(await request.read())
        self.asked.append(body)
        self.keys.add(request.headers.get("Authorization", ""))
        text = f"The upstream read: {body['messages'][-1]['content']}"
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
        usage = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
        return web.json_response({"id": "1", "object": "chat.completion", "model": "local-1", "choices": [choice], "usage": usage})


@pytest_asyncio.fixture(loop_scope="session")
async def upstream() -> AsyncIterator[tuple[Upstream, str]]:
    served = Upstream()
    app = web.Application()
    app.router.add_post("/v1/chat/completions", served.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    yield served, f"http://127.0.0.1:{port}/v1"
    await runner.cleanup()


async def test_with_a_providers_address_the_same_agent_answers_through_it(upstream: tuple[Upstream, str], tmp_path: Path) -> None:
    served, url = upstream
    environ = {"OPENAI_BASE_URL": url, "OPENAI_MODEL": "local-1", "OPENAI_API_KEY": "sk-test", "PATH": "/usr/bin:/bin"}
    async with (
        Mesh(Wanted(data=tmp_path / "mesh", agents=AGENT, environ=environ)) as mesh,
        connect(address=mesh.grpc_address, api_key=mesh.api_key) as client,
    ):
        submitted = await client.runs.submit("canary", {"canary": "canary-up"})
        run = await client.runs.wait(submitted.id)
        assert run.status is RunStatus.SUCCEEDED, run.failure
        assert isinstance(run.output, dict)
        assert str(run.output["said"]).startswith("The upstream read:")
        assert not run.rehearsal
        assert run.usage.tokens == 18
        assert (await client.models.list())[0].provider == "openai"
        assert served.keys == {"Bearer sk-test"}
        logs = "".join(path.read_text() for path in (tmp_path / "mesh" / "logs").iterdir())
        assert "sk-test" not in logs
