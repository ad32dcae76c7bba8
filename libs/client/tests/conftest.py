"""Makes the fakes importable as `client_…`, names that no other package's tests use, and runs the fake gateway."""

import importlib.util
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

for _name in (
    "control",
    "knowledge",
    "learning",
    "registry",
    "toolbox",
    "fakes",
    "shell",
):  # in this order: the fakes import those before them
    _spec = importlib.util.spec_from_file_location(f"client_{_name}", Path(__file__).with_name(f"{_name}.py"))
    assert _spec is not None
    assert _spec.loader is not None
    _module = importlib.util.module_from_spec(_spec)
    sys.modules[_spec.name] = _module
    _spec.loader.exec_module(_module)

from client_fakes import KEY, FakeGateway  # noqa: E402 - importable from here on
from client_shell import Shell  # noqa: E402
from plimsoll.gateway.v1 import gateway_service_pb2_grpc as rpc  # noqa: E402
from plimsoll_client import connect  # noqa: E402
from plimsoll_client.mesh import Mesh  # noqa: E402


@pytest.fixture
async def gateway(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeGateway]:
    """A gateway on a free loopback port, to which the environment points."""
    server, fake = grpc.aio.server(), FakeGateway()
    rpc.add_GatewayServiceServicer_to_server(fake, server)
    fake.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    monkeypatch.setenv("PLIMSOLL_ADDRESS", fake.address)
    monkeypatch.setenv("PLIMSOLL_API_KEY", KEY)
    yield fake
    await server.stop(None)


@pytest.fixture
async def mesh(gateway: FakeGateway) -> AsyncIterator[Mesh]:
    """A client of that gateway."""
    async with connect() as opened:
        yield opened


@pytest.fixture
def plimsoll(capsys: pytest.CaptureFixture[str]) -> Shell:
    """The command line."""
    return Shell(capsys)
