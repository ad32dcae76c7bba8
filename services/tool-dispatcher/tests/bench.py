"""A tool dispatcher on fakes."""

import asyncio
from dataclasses import dataclass, field

from plimsoll_runtime import logs
from plimsoll_runtime.deadline import expiring
from plimsoll_testkit.clock import FakeClock
from plimsoll_testkit.ids import FakeIds
from plimsoll_tool_dispatcher.domain.call import Call, Report
from plimsoll_tool_dispatcher.domain.policy import Rule
from plimsoll_tool_dispatcher.domain.tool import Tool
from plimsoll_tool_dispatcher.doubts import Doubts
from plimsoll_tool_dispatcher.executions import Executions
from plimsoll_tool_dispatcher.pipeline import assemble as assemble_pipeline
from plimsoll_tool_dispatcher.ports import Outside
from plimsoll_tool_dispatcher.service import ToolDispatcher
from tool_dispatcher_fake_ledger import FakeCallLedger
from tool_dispatcher_fakes import FakeExecutor, FakeGate, FakePolicies, FakeResultCache, FakeToolRegistry, FakeVault, Function
from tool_dispatcher_samples import MOST_CHARS, policy

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
    doubts: Doubts
    gate: FakeGate
    vault: FakeVault
    policies: FakePolicies
    cache: FakeResultCache
    pauses: list[float] = field(default_factory=list)

    def offer(self, tool: Tool, function: Function) -> Tool:
        """A tool, and what it does."""
        self.registry.tools[tool.name] = tool
        self.executor.functions[tool.name] = function
        return tool

    def rule(self, *rules: Rule) -> None:
        """From now on these rules hold."""
        self.policies.policy = policy(*rules)

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

    gate, vault, policies, cache = FakeGate(clock), FakeVault(), FakePolicies(policy()), FakeResultCache(clock)
    outside = Outside(
        registry=registry,
        policies=policies,
        vault=vault,
        executor=executor,
        gate=gate,
        ledger=ledger,
        doubts=ledger,
        cache=cache,
        clock=clock,
        ids=ids,
        pause=pause,
        draw=lambda: 0.5,
    )
    made = assemble_pipeline(outside, lease_s=LEASE_S, arguments_chars=MOST_CHARS, log=logs.get("test"))
    return Bench(clock, registry, ledger, executor, made.executions, made.service, made.doubts, gate, vault, policies, cache, pauses)
