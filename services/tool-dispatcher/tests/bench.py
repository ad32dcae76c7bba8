"""A tool dispatcher on fakes."""

import asyncio
from dataclasses import dataclass, field

from plimsoll_runtime import logs
from plimsoll_runtime.deadline import expiring
from plimsoll_testkit.clock import FakeClock
from plimsoll_testkit.ids import FakeIds
from plimsoll_tool_dispatcher.domain.call import Call, Report
from plimsoll_tool_dispatcher.domain.tool import Tool
from plimsoll_tool_dispatcher.executions import Executions
from plimsoll_tool_dispatcher.service import ToolDispatcher
from tool_dispatcher_fakes import FakeCallLedger, FakeExecutor, FakeToolRegistry, Function
from tool_dispatcher_samples import MOST_CHARS

LEASE_S = 10.0


@dataclass
class Bench:
    """The service, and everything it stands on."""

    clock: FakeClock
    registry: FakeToolRegistry
    ledger: FakeCallLedger
    executor: FakeExecutor
    executions: Executions
    service: ToolDispatcher
    pauses: list[float] = field(default_factory=list)

    def offer(self, tool: Tool, function: Function) -> Tool:
        """A tool, and what it does."""
        self.registry.tools[tool.name] = tool
        self.executor.functions[tool.name] = function
        return tool

    async def dispatch(self, call: Call, *, within_s: float = 60.0) -> Report:
        with expiring(within_s):
            return await self.service.dispatch(call)


def assemble(ledger: FakeCallLedger, registry: FakeToolRegistry, executor: FakeExecutor, clock: FakeClock, ids: FakeIds) -> Bench:
    """Another replica over the same ledger is made by calling this again."""
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        clock.advance(seconds)
        await asyncio.sleep(0)

    log = logs.get("test")
    executions = Executions(ledger=ledger, executor=executor, clock=clock, ids=ids, pause=pause, draw=lambda: 0.5, lease_s=LEASE_S, log=log)
    service = ToolDispatcher(
        registry=registry,
        ledger=ledger,
        executions=executions,
        clock=clock,
        ids=ids,
        lease_s=LEASE_S,
        arguments_chars=MOST_CHARS,
        log=log,
    )
    return Bench(clock, registry, ledger, executor, executions, service, pauses)
