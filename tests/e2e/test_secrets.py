"""Secrets are planted wherever a mesh holds one, everything is made to fail, and then all that it wrote, traced and answered is searched."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import asyncpg
import grpc
import pytest
from aiohttp import web
from plimsoll_client import connect
from plimsoll_client.models import RunStatus
from plimsoll_devstack.mesh import Mesh
from plimsoll_devstack.plan import Wanted
from plimsoll_runtime.errors import PlimsollError, Unauthenticated
from plimsoll_testkit.waiting import eventually

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.e2e, pytest.mark.xdist_group("provider")]
AGENT = Path(__file__).parent / "agents" / "canary"
PROVIDER_KEY = "sk-planted-5f0c2a9be417"
MISTYPED_KEY = "plim_planted_1b7d40c6e893"
_KEEPERS = ("api-key", "credentials.json", "tls", "tool-credentials", "nats/nats.json", "redis/redis.conf")
"""What is there to hold secrets, for its owner alone."""


@asynccontextmanager
async def quoting_provider() -> AsyncIterator[str]:
    """A provider that refuses, and quotes the key that it was shown, as some do."""

    async def refuse(request: web.Request) -> web.Response:
        shown = request.headers.get("Authorization", "").removeprefix("Bearer ")
        return web.json_response(
            {"error": {"type": "invalid_request_error", "message": f"Incorrect API key provided: {shown}"}}, status=401
        )

    app = web.Application()
    app.router.add_post("/v1/chat/completions", refuse)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def collecting_traces() -> AsyncIterator[tuple[str, list[bytes]]]:
    """Where traces may be sent, and what came, as it came."""
    came: list[bytes] = []

    async def export(request: bytes, _: object) -> bytes:
        came.append(request)
        return b""

    handlers = {"Export": grpc.unary_unary_rpc_method_handler(export)}
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("opentelemetry.proto.collector.trace.v1.TraceService", handlers),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"http://127.0.0.1:{port}", came
    finally:
        await server.stop(0)


def secrets_of(mesh: Mesh) -> set[str]:
    """Everything that only its owner may know: keys, and the passwords of all users of all servers."""
    kept = json.loads((mesh.wanted.data / "credentials.json").read_text())
    tools = {path.read_text().strip() for path in mesh.files.tool_credentials.rglob("*") if path.is_file()}
    return {PROVIDER_KEY, MISTYPED_KEY, mesh.api_key, *tools, *(word for users in kept.values() for word in users.values())}


async def provoked(mesh: Mesh) -> str:
    """Errors at every edge that a client can reach; all that was answered."""
    answers = []
    broken = '{"source": "agent: ' + mesh.api_key  # the body is cut off in the middle of a secret
    async with aiohttp.ClientSession(mesh.http_url) as http:
        for headers in (
            {"Authorization": f"Basic {mesh.api_key}"},
            {"Authorization": f"Bearer {MISTYPED_KEY}"},
            {"X-Api-Key": mesh.api_key},
        ):
            async with http.get("/v1/runs", params={"key": mesh.api_key}, headers=headers) as response:
                answers.append(f"{response.status} {dict(response.headers)} {await response.text()}")
        own = {"Authorization": f"Bearer {mesh.api_key}", "Content-Type": "application/json"}
        async with http.post("/v1/agents", data=broken, headers=own) as response:
            assert response.status == 400
            answers.append(f"{dict(response.headers)} {await response.text()}")
    with pytest.raises(Unauthenticated) as refused:
        async with connect(address=mesh.grpc_address, api_key=MISTYPED_KEY) as stranger:
            await stranger.agents.list()
    return "\n".join([*answers, repr(refused.value)])


async def cut_off(mesh: Mesh) -> None:
    """All sessions of all services end at once, in the middle of whatever they are at."""
    connection = await asyncpg.connect(mesh.servers.postgres.dsn("postgres", database="postgres"))
    try:
        await connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and usename is not null"
        )
    finally:
        await connection.close()


def written(mesh: Mesh) -> Iterator[Path]:
    """Every file of the mesh: logs, journals, streams, tables, indexes; but for those that hold secrets."""
    for path in mesh.wanted.data.rglob("*"):
        if path.is_file() and not str(path.relative_to(mesh.wanted.data)).startswith(_KEEPERS):
            yield path


def search(paths: list[Path], secrets: set[str]) -> set[str]:
    """Where a secret stands, as `file: which`."""
    words = [(word, word.encode()) for word in secrets]
    return {f"{path}: {word[:6]}…" for path in paths for content in [path.read_bytes()] for word, raw in words if raw in content}


async def test_no_secret_is_in_anything_that_a_mesh_writes_traces_or_answers(tmp_path: Path) -> None:
    async with quoting_provider() as url, collecting_traces() as (endpoint, traces):
        environ = {"OPENAI_BASE_URL": url, "OPENAI_MODEL": "local-1", "OPENAI_API_KEY": PROVIDER_KEY, "PATH": "/usr/bin:/bin"}
        wanted = Wanted(data=tmp_path / "mesh", agents=AGENT, otlp_endpoint=endpoint, log_level="DEBUG", environ=environ)
        async with Mesh(wanted) as mesh, connect(address=mesh.grpc_address, api_key=mesh.api_key) as client:
            secrets = secrets_of(mesh)
            run = await client.runs.wait((await client.runs.submit("canary", {"canary": "canary-secret"})).id)
            assert run.status is RunStatus.FAILED
            answers = [repr(run), await provoked(mesh)]
            await cut_off(mesh)

            async def told() -> bool:
                try:
                    answers.append(repr(await client.feedback.operations(run_id=run.id, failed_only=True)))
                    answers.append(repr(await client.runs.explain(run.id)))
                except PlimsollError as error:
                    answers.append(repr(error))
                    return False
                return True

            await eventually(told, within_s=60)
            async with aiohttp.ClientSession() as http:
                for port in json.loads(mesh.files.ports.read_text()).items():
                    if port[0].endswith("-admin"):
                        async with http.get(f"http://127.0.0.1:{port[1]}/metrics") as response:
                            answers.append(await response.text())
            await eventually(lambda: traces, within_s=60)
        found = await asyncio.to_thread(search, list(written(mesh)), secrets)
    told_of = {word[:6] for word in secrets for text in (*answers, *(trace.decode(errors="replace") for trace in traces)) if word in text}
    assert (found, told_of) == (set(), set())
