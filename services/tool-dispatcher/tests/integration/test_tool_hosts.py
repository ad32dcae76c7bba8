"""A team's tool host, served by its SDK and called by the dispatcher's adapter."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from plimsoll_runtime import logs
from plimsoll_runtime.errors import PlimsollError
from plimsoll_runtime.failures import Category
from plimsoll_runtime.json_types import JsonObject, JsonValue
from plimsoll_runtime.metrics import Metrics
from plimsoll_runtime.rpc_server import PeerCertificates, RpcServer
from plimsoll_runtime.settings import ServerSettings, TlsSettings
from plimsoll_testkit.waiting import eventually
from plimsoll_tool_dispatcher.adapters.sources.tool_host import ToolHostClient
from plimsoll_tool_dispatcher.domain.effects import EffectClass, Mishap
from plimsoll_tool_dispatcher.domain.execution import Answered, Attempt, Invocation, Stopped
from plimsoll_tool_dispatcher.domain.remote_tools import tools_of
from plimsoll_tool_dispatcher.domain.source_declaration import DeclaredHost, parse_source
from plimsoll_tool_dispatcher.domain.sources import HostSource
from plimsoll_tool_dispatcher.domain.tool import Risk, Tool
from plimsoll_toolhost import Effect, HostedTool, ToolCall, ToolHost, ToolRejected, ToolUnavailable, tool_host_rpcs
from plimsoll_toolhost import Risk as HostRisk

ARGUMENTS: JsonObject = {"type": "object", "required": ["n"], "additionalProperties": False, "properties": {"n": {"type": "integer"}}}


class Functions:
    """What the tools do; `gate` holds those that wait."""

    def __init__(self) -> None:
        self.calls: list[ToolCall] = []
        self.gate = asyncio.Event()
        self.cancelled = 0

    async def fine(self, call: ToolCall) -> JsonValue:
        self.calls.append(call)
        return {"n": call.arguments["n"]}

    async def reject(self, call: ToolCall) -> JsonValue:
        raise ToolRejected("SOLD_OUT", "no more of these")

    async def later(self, call: ToolCall) -> JsonValue:
        raise ToolUnavailable("LATER", "come back", retry_after_s=3.0)

    async def broken(self, call: ToolCall) -> JsonValue:
        raise ConnectionResetError(f"secret {call.arguments}")

    async def fault(self, call: ToolCall) -> JsonValue:
        raise ValueError(f"secret {call.arguments}")

    async def odd(self, call: ToolCall) -> JsonValue:
        return {"n": {1, 2}}  # type: ignore[dict-item]

    async def wrong(self, call: ToolCall) -> JsonValue:
        return {"m": 1}

    async def huge(self, call: ToolCall) -> JsonValue:
        return {"n": 1, "text": "x" * 4_000_000}

    async def wait(self, call: ToolCall) -> JsonValue:
        self.calls.append(call)
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return {"n": 1}


NAMES = ("fine", "reject", "later", "broken", "fault", "odd", "wrong", "huge", "wait")


def hosted(functions: Functions, effect: Effect = Effect.READ_ONLY) -> list[HostedTool]:
    return [
        HostedTool(
            name=name,
            description=f"Does {name}",
            arguments=ARGUMENTS,
            result={"type": "object", "required": ["n"]},
            effect=effect,
            risk=HostRisk.LOW,
            run=getattr(functions, name),
            timeout_s=5.0,
        )
        for name in NAMES
    ]


@asynccontextmanager
async def serving(tools: list[HostedTool], port: int = 0) -> AsyncIterator[int]:
    settings = ServerSettings(tls=TlsSettings(), insecure=True)
    host = ToolHost(tools, logs.get("host"), calls_at_once=4, result_bytes=1024 * 1024)
    authenticate = PeerCertificates(frozenset({"tool-dispatcher"}), insecure=True)
    server = RpcServer(settings, [tool_host_rpcs(host)], authenticate, Metrics(), logs.get("host"), listen=f"127.0.0.1:{port}")
    await server.start()
    await server.set_serving(True)
    try:
        yield server.port
    finally:
        await server.stop(0.0)


def declared(port: int) -> DeclaredHost:
    source, problems = parse_source(
        f"source: billing\nkind: grpc\naddress: 127.0.0.1:{port}\nserver_name: billing-tools\ntools: all", stem="billing"
    )
    assert isinstance(source, DeclaredHost), problems
    return source


@pytest.fixture
def functions() -> Functions:
    return Functions()


@pytest.fixture
async def host(functions: Functions) -> AsyncIterator[ToolHostClient]:
    async with serving(hosted(functions)) as port, ToolHostClient(declared(port), TlsSettings()) as host:
        yield host


async def tool_named(host: ToolHostClient, name: str) -> Tool:
    found, problems = await host.listing()
    assert problems == ()
    tools, _ = tools_of(declared(1).settings, "host", found)
    [tool] = [one for one in tools if isinstance(one.source, HostSource) and one.source.tool == name]
    return tool


async def called(host: ToolHostClient, name: str, timeout_s: float = 5.0, effect: EffectClass | None = None, n: JsonValue = 7) -> Attempt:
    tool = await tool_named(host, name)
    tool = replace(tool, effect=effect or tool.effect)
    return await host.execute(tool, Invocation(tenant="acme", call_key="key_1", arguments={"n": n}, timeout_s=timeout_s, run_id="run_1"))


async def test_a_call_reaches_its_function_with_everything_that_it_needs(host: ToolHostClient, functions: Functions) -> None:
    assert await called(host, "fine") == Answered(result={"n": 7})
    [call] = functions.calls
    assert (call.tenant, call.call_key, call.run_id, call.arguments) == ("acme", "key_1", "run_1", {"n": 7})
    assert 0 < call.deadline_s <= 5.0


async def test_a_tool_is_described_as_its_team_declared_it(host: ToolHostClient) -> None:
    tool = await tool_named(host, "fine")
    assert (tool.name, tool.effect, tool.risk, tool.version, tool.timeout_s) == ("billing_fine", EffectClass.READ_ONLY, Risk.LOW, "1", 5.0)
    assert tool.arguments.document == ARGUMENTS


@pytest.mark.parametrize(
    ("name", "category", "reason", "mishap"),
    [
        ("reject", Category.UPSTREAM_REJECTED, "SOLD_OUT", None),
        ("later", Category.UPSTREAM_UNAVAILABLE, "LATER", Mishap.NOT_ACTED),
        ("broken", Category.UPSTREAM_UNAVAILABLE, "CONNECTION_BROKEN", Mishap.LOST),
        ("fault", Category.TOOL_ERROR, "HANDLER_RAISED", None),
        ("odd", Category.MALFORMED_RESULT, "RESULT_UNFIT", None),
        ("wrong", Category.MALFORMED_RESULT, "RESULT_UNFIT", None),
        ("huge", Category.MALFORMED_RESULT, "RESULT_UNFIT", None),
    ],
)
async def test_what_a_function_does_instead_of_answering_is_told_for_what_it_is(
    host: ToolHostClient, name: str, category: Category, reason: str, mishap: Mishap | None
) -> None:
    attempt = await called(host, name)
    assert isinstance(attempt, Stopped)
    assert (attempt.failure.category, attempt.failure.reason, attempt.mishap) == (category, reason, mishap)
    assert "secret" not in attempt.failure.message


async def test_a_fault_leaves_a_call_open_that_may_not_be_repeated(host: ToolHostClient) -> None:
    attempt = await called(host, "fault", effect=EffectClass.NON_IDEMPOTENT)
    assert isinstance(attempt, Stopped)
    assert attempt.mishap is Mishap.LOST


async def test_the_host_validates_by_itself_whoever_calls(host: ToolHostClient, functions: Functions) -> None:
    attempt = await called(host, "fine", n="seven of nine")
    assert isinstance(attempt, Stopped)
    assert (attempt.failure.category, attempt.mishap) == (Category.INVALID_ARGUMENTS, None)
    assert "arguments.n" in attempt.failure.message
    assert "seven" not in attempt.failure.message
    assert functions.calls == []


async def test_a_call_that_takes_too_long_is_cancelled_at_the_host(host: ToolHostClient, functions: Functions) -> None:
    attempt = await called(host, "wait", 0.2)
    assert isinstance(attempt, Stopped)
    assert (attempt.failure.category, attempt.mishap) == (Category.TIMEOUT, Mishap.LOST)
    await eventually(lambda: functions.cancelled)


async def test_a_full_host_refuses_before_it_acts(host: ToolHostClient, functions: Functions) -> None:
    async with asyncio.TaskGroup() as group:
        waiting = [group.create_task(called(host, "wait")) for _ in range(4)]
        await eventually(lambda: len(functions.calls) == 4)
        attempt = await called(host, "fine")
        functions.gate.set()
    assert isinstance(attempt, Stopped)
    assert (attempt.failure.category, attempt.failure.reason, attempt.mishap) == (Category.RATE_LIMITED, "HOST_BUSY", Mishap.NOT_ACTED)
    assert [task.result() for task in waiting] == [Answered(result={"n": 1})] * 4


async def test_another_definition_than_the_approved_one_does_not_run(functions: Functions) -> None:
    async with serving(hosted(functions)) as port, ToolHostClient(declared(port), TlsSettings()) as host:
        tool = await tool_named(host, "fine")
    async with serving(hosted(functions, Effect.KEYED), port), ToolHostClient(declared(port), TlsSettings()) as host:
        attempt = await host.execute(tool, Invocation(tenant="acme", call_key="key_1", arguments={"n": 1}, timeout_s=5.0))
    assert isinstance(attempt, Stopped)
    assert (attempt.failure.category, attempt.failure.reason) == (Category.POLICY_DENIED, "DEFINITION_CHANGED")
    assert functions.calls == []


async def test_a_host_that_is_away_was_not_sent_anything(functions: Functions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plimsoll_tool_dispatcher.adapters.sources.tool_host._CONNECT_S", 0.3)
    async with serving(hosted(functions)) as port, ToolHostClient(declared(port), TlsSettings()) as host:
        tool = await tool_named(host, "fine")
    async with ToolHostClient(declared(port), TlsSettings()) as host:
        attempt = await host.execute(tool, Invocation(tenant="acme", call_key="key_1", arguments={"n": 1}, timeout_s=5.0))
        with pytest.raises(PlimsollError):
            await host.listing()
    assert isinstance(attempt, Stopped)
    assert (attempt.failure.category, attempt.mishap) == (Category.UPSTREAM_UNAVAILABLE, Mishap.REFUSED)


async def test_a_host_that_dies_in_a_call_leaves_it_open(functions: Functions) -> None:
    async with serving(hosted(functions)) as port, ToolHostClient(declared(port), TlsSettings()) as host:
        tool = await tool_named(host, "wait")
    async with ToolHostClient(declared(port), TlsSettings()) as host, asyncio.TaskGroup() as group, serving(hosted(functions), port):
        call = group.create_task(host.execute(tool, Invocation(tenant="acme", call_key="k", arguments={"n": 1}, timeout_s=5.0)))
        await eventually(lambda: functions.calls)
    attempt = call.result()
    assert isinstance(attempt, Stopped)
    assert attempt.mishap is Mishap.LOST
