"""The fakes keep the promises of their ports."""

from typing import Any

import pytest
from plimsoll_testkit.clock import FakeClock
from tool_dispatcher_behaviour import (
    HANDLER_NAMES,
    HANDLERS,
    ExecutorBehaviour,
    ResultCacheBehaviour,
    ToolRegistryBehaviour,
    ToolShelfBehaviour,
)
from tool_dispatcher_behaviour_ledger import Announced, CallLedgerBehaviour, DoubtLedgerBehaviour
from tool_dispatcher_behaviour_readings import ReadingsBehaviour
from tool_dispatcher_fake_ledger import FakeCallLedger
from tool_dispatcher_fakes import FakeExecutor, FakeResultCache, FakeToolRegistry, FakeToolShelf
from tool_dispatcher_samples import tool


@pytest.fixture
def ledger(clock: FakeClock) -> FakeCallLedger:
    return FakeCallLedger(clock)


@pytest.fixture
def doubts(ledger: FakeCallLedger) -> FakeCallLedger:
    return ledger


@pytest.fixture
def announced(ledger: FakeCallLedger) -> Announced:
    async def ids() -> list[str]:
        return [completed.event_id for completed in ledger.announced]

    return ids


class TestFakeCallLedger(CallLedgerBehaviour):
    pass


class TestFakeReadings(ReadingsBehaviour):
    pass


class TestFakeDoubtLedger(DoubtLedgerBehaviour):
    pass


class TestFakeResultCache(ResultCacheBehaviour):
    @pytest.fixture
    def cache(self, clock: FakeClock) -> FakeResultCache:
        return FakeResultCache(clock)


class TestFakeToolShelf(ToolShelfBehaviour):
    @pytest.fixture
    def shelf(self) -> FakeToolShelf:
        return FakeToolShelf()


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
