"""A tool dispatcher on fakes."""

from collections.abc import AsyncIterator

import pytest
from plimsoll_testkit.clock import FakeClock
from plimsoll_testkit.ids import FakeIds
from tool_dispatcher_bench import Bench, assemble
from tool_dispatcher_fake_ledger import FakeCallLedger
from tool_dispatcher_fakes import FakeExecutor, FakeToolRegistry


@pytest.fixture
async def bench(clock: FakeClock, ids: FakeIds) -> AsyncIterator[Bench]:
    bench = assemble(FakeCallLedger(clock), FakeToolRegistry(), FakeExecutor(), clock, ids)
    async with bench.executions:
        yield bench
