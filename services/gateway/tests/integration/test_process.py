"""The gateway as a process: it starts, serves both protocols, says what is wrong, and drains."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

import aiohttp
import grpc
import orjson
import pytest
from gateway_peers import SERVICES, Peer
from plimsoll.gateway.v1 import gateway_service_pb2_grpc, tools_pb2
from plimsoll_runtime.status import error_from_rpc
from plimsoll_testkit.ports import free_ports
from plimsoll_testkit.waiting import eventually

PREFIX = "PLIMSOLL_GATEWAY_"
ONE_OF_EACH = {
    "orchestrator": "runs",
    "tool_dispatcher": "tools",
    "model_router": "models",
    "memory": "collections",
    "feedback": "operations",
}


@pytest.fixture
def settings(postgres_dsn: str, tmp_path: Path) -> dict[str, str]:
    http, rpc, admin = free_ports(3)
    return {
        "INSECURE": "true",
        "POSTGRES_DSN": postgres_dsn,
        "REDIS_URL": "redis://127.0.0.1:9/0",  # nothing listens there: limits are the process's own
        "HTTP_LISTEN": f"127.0.0.1:{http}",
        "PUBLIC_GRPC_LISTEN": f"127.0.0.1:{rpc}",
        "ADMIN_LISTEN": f"127.0.0.1:{admin}",
        "BOOTSTRAP_KEY_FILE": str(tmp_path / "key"),
        **{f"{name.upper()}_ADDRESS": "127.0.0.1:1" for name in SERVICES},
    }


@contextmanager
def running(settings: Mapping[str, str], log: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    environ = {"PATH": os.environ["PATH"], **{PREFIX + name: value for name, value in settings.items()}}
    with log.open("wb") as output:
        command = [sys.executable, "-m", "plimsoll_gateway", *arguments]
        process = subprocess.Popen(command, env=environ, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(120)


async def ready(session: aiohttp.ClientSession, settings: Mapping[str, str]) -> bool:
    try:
        async with session.get(f"http://{settings['ADMIN_LISTEN']}/readyz") as response:
            return response.status == 200
    except aiohttp.ClientConnectionError:
        return False


async def test_it_serves_both_protocols_with_the_first_key_and_drains_on_sigterm(settings: dict[str, str], tmp_path: Path):
    async with aiohttp.ClientSession() as session:
        with running(settings, tmp_path / "log") as process:
            await eventually(lambda: ready(session, settings))
            authorization = f"Bearer {(tmp_path / 'key').read_text().strip()}"
            async with session.get(f"http://{settings['HTTP_LISTEN']}/v1/tools", headers={"Authorization": authorization}) as response:
                assert (response.status, (await response.json(content_type=None))["reason"]) == (503, "DEPENDENCY_UNAVAILABLE")
            async with grpc.aio.insecure_channel(settings["PUBLIC_GRPC_LISTEN"]) as channel:
                stub = gateway_service_pb2_grpc.GatewayServiceStub(channel)
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await stub.ListTools(tools_pb2.ListToolsRequest(), metadata=(("authorization", authorization),))
                assert error_from_rpc(caught.value, "gateway").reason == "DEPENDENCY_UNAVAILABLE"
            process.send_signal(signal.SIGTERM)
            assert process.wait(120) == 0
    log = (tmp_path / "log").read_text()
    events = [orjson.loads(line)["event"] for line in log.splitlines()]
    assert events[0] == "key.first_made"
    assert events[-1] == "service.stopped"
    assert authorization.removeprefix("Bearer ") not in log


async def test_with_everything_behind_it_stopped_it_refuses_clearly_and_serves_when_they_are_there(
    settings: dict[str, str], tmp_path: Path
):
    addresses = {name: f"127.0.0.1:{port}" for name, port in zip(SERVICES, free_ports(len(SERVICES)), strict=True)}
    settings |= {f"{name.upper()}_ADDRESS": address for name, address in addresses.items()}
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())
        stack.enter_context(running(settings, tmp_path / "log"))
        await eventually(lambda: ready(session, settings))
        headers = {"Authorization": f"Bearer {(tmp_path / 'key').read_text().strip()}"}

        async def ask(what: str) -> tuple[int, str]:
            async with session.get(f"http://{settings['HTTP_LISTEN']}/v1/{what}", headers=headers) as response:
                return response.status, (await response.json(content_type=None)).get("reason", "")

        for name, what in ONE_OF_EACH.items():
            assert (name, await ask(what)) == (name, (503, "DEPENDENCY_UNAVAILABLE"))
        for name, address in addresses.items():
            await stack.enter_async_context(Peer(SERVICES[name]).served(address))
        for what in ONE_OF_EACH.values():

            async def served(what: str = what) -> bool:
                return (await ask(what))[0] == 200

            await eventually(served)


def test_a_port_that_is_taken_is_named(settings: dict[str, str], tmp_path: Path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        settings["HTTP_LISTEN"] = f"127.0.0.1:{taken.getsockname()[1]}"
        with running(settings, tmp_path / "log") as process:
            assert process.wait(120) == 1
    assert f"cannot listen on {settings['HTTP_LISTEN']}: is the port taken?" in (tmp_path / "log").read_text()


def test_settings_are_checked_without_starting_and_every_problem_is_listed(settings: dict[str, str], tmp_path: Path):
    with running(settings, tmp_path / "log", "--check") as process:
        assert process.wait(120) == 0
    with running(settings | {"HTTP_BODY_MIB": "many", "BODY": "1"}, tmp_path / "log", "--check") as process:
        assert process.wait(120) == 2
    log = (tmp_path / "log").read_text()
    assert "PLIMSOLL_GATEWAY_HTTP_BODY_MIB: is 'many'" in log
    assert "PLIMSOLL_GATEWAY_BODY: is not a setting" in log
