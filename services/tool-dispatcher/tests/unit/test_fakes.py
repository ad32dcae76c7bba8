"""The fakes keep the promises of their ports."""

from typing import Any

import pytest
from plimsoll_testkit.clock import FakeClock
from tool_dispatcher_behaviour import HANDLER_NAMES, HANDLERS, Announced, CallLedgerBehaviour, ExecutorBehaviour, ToolRegistryBehaviour
from tool_dispatcher_fakes import FakeCallLedger, FakeExecutor, FakeToolRegistry
from tool_dispatcher_samples import tool


class TestFakeCallLedger(CallLedgerBehaviour):
    @pytest.fixture
    def ledger(self, clock: FakeClock) -> FakeCallLedger:
        return FakeCallLedger(clock)

    @pytest.fixture
    def announced(self, ledger: FakeCallLedger) -> Announced:
        async def ids() -> list[str]:
            return [completed.event_id for completed in ledger.announced]

        return ids


class TestFakeExecutor(ExecutorBehaviour):
    @pytest.fixture
    def path(self) -> str:
        return "/tools/shop.py"

    @pytest.fixture
    def executor(self) -> FakeExecutor:
        names: dict[str, Any] = {}
        exec(HANDLERS, names)
        executor = FakeExecutor()
        executor.functions = {name: names[name] for name in HANDLER_NAMES}
        return executor


class TestFakeToolRegistry(ToolRegistryBehaviour):
    @pytest.fixture
    def registry(self) -> FakeToolRegistry:
        return FakeToolRegistry([tool(name="reject"), tool(name="answer")])
