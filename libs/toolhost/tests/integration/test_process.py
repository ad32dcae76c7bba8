"""A tool host as a process of its own."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from plimsoll.tool_dispatcher.v1 import tool_host_service_pb2 as pb
from plimsoll.tool_dispatcher.v1 import tool_host_service_pb2_grpc as rpc
from plimsoll_runtime.context import acting_for
from plimsoll_runtime.rpc_client import call, open_channel
from plimsoll_runtime.settings import TlsSettings
from plimsoll_testkit.ports import free_port

PROGRAM = """
import sys
from plimsoll_toolhost import Effect, HostedTool, Risk, ToolCall, run_tool_host

async def double(call: ToolCall):
    return call.arguments["n"] * 2

tool = HostedTool(
    name="double", description="Doubles", effect=Effect.READ_ONLY, risk=Risk.LOW, run=double,
    arguments={"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}, result={"type": "integer"},
)
run_tool_host("billing-tools", [tool], sys.argv[1:])
"""


def environment(**changed: str) -> dict[str, str]:
    own = {"PLIMSOLL_BILLING_TOOLS_INSECURE": "true", "GRPC_ENABLE_FORK_SUPPORT": "0"}
    return {**os.environ, **own, **{f"PLIMSOLL_BILLING_TOOLS_{name}": value for name, value in changed.items()}}


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def host(port: int) -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen([sys.executable, "-c", PROGRAM], env=environment(GRPC_LISTEN=f"127.0.0.1:{port}"), stdout=subprocess.DEVNULL)
    yield process
    process.kill()
    process.wait()


async def test_a_host_serves_its_tools_and_ends_when_told(host: "subprocess.Popen[bytes]", port: int) -> None:
    async with open_channel(f"127.0.0.1:{port}", TlsSettings(), "billing-tools") as channel:
        async with asyncio.timeout(20):
            await channel.channel_ready()
        stub: rpc.ToolHostServiceAsyncStub = rpc.ToolHostServiceStub(channel)
        with acting_for("acme"):
            described = await call(stub.DescribeTools, pb.DescribeToolsRequest(), cap_s=60)
            request = pb.InvokeToolRequest(tool="double")
            request.arguments.text = '{"n": 21}'
            answer = await call(stub.InvokeTool, request, cap_s=60)
    assert [tool.name for tool in described.tools] == ["double"]
    assert answer.result.text == "42"
    host.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(host.wait, 20) == 0


def test_wrong_settings_are_told_before_anything_starts() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, "--check"],
        env=environment(CALLS_AT_ONCE="many"),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ended.returncode == 2
    assert "CALLS_AT_ONCE" in ended.stderr
