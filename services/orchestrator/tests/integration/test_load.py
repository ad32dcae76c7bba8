"""The load as gateways ask for it: what waits, for how long, whose it is, and how fast runs end."""

import pytest
from orchestrator_fakes import TENANT, open_bench
from plimsoll_orchestrator.adapters.postgres_load import PostgresLoadGauge
from plimsoll_orchestrator.ports.load import Load, TenantLoad
from plimsoll_orchestrator.service.load import LoadWatch
from plimsoll_testkit.clock import FakeClock

_INSERT = """
insert into runs (run_id, tenant, agent, agent_digest, status, seq, node, wake_at, worker, finished_at, lane)
values ($1, $2, 'a', 'd', 'queued', 1, 'n', now() + $3 * interval '1 second', $4, case when $5 then now() end, 5)
"""


async def test_what_waits_is_counted_and_what_is_held_parked_or_to_come_is_not(postgres_dsn: str) -> None:
    async with open_bench(postgres_dsn) as bench:
        rows = [
            ("run_1", TENANT, -5.0, None, False),
            ("run_2", TENANT, -50.0, None, False),
            ("run_3", "other", -1.0, None, False),
            ("run_4", TENANT, 60.0, None, False),  # a delayed start
            ("run_5", TENANT, -60.0, "worker", False),  # its lease ran out: the one that has it may still end it
            ("run_6", TENANT, None, None, True),
        ]
        await bench.pool.executemany(_INSERT, rows)
        load = await PostgresLoadGauge(bench.pool).read()
    assert (load.waiting, load.finished_per_s) == (3, 0.1)
    assert load.tenants == [TenantLoad(tenant=TENANT, waiting=2), TenantLoad(tenant="other", waiting=1)]
    assert load.oldest_wait_s == pytest.approx(50, abs=5)


async def test_those_who_ask_together_are_told_what_was_counted_once() -> None:
    class Counted:
        times = 0

        async def read(self) -> Load:
            self.times += 1
            return Load(waiting=self.times, oldest_wait_s=0.0, finished_per_s=0.0)

    clock, gauge = FakeClock(), Counted()
    watch = LoadWatch(gauge, clock)
    assert [(await watch.now()).waiting for _ in range(3)] == [1, 1, 1]
    clock.advance(0.6)
    assert (await watch.now()).waiting == 2
