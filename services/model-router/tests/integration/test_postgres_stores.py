"""The stores on Postgres keep the promises of the ports, and some of their own."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import asyncpg
import pytest
from model_router_behaviour import CallLedgerBehaviour, PromptStoreBehaviour
from model_router_samples import ACME, TEMPLATE, call, unanswered
from plimsoll.model_router.v1 import model_events_pb2
from plimsoll_model_router.adapters.postgres_calls import COMPLETED, PostgresCallLedger
from plimsoll_model_router.adapters.postgres_prompts import PostgresPromptStore
from plimsoll_model_router.main import MIGRATIONS
from plimsoll_model_router.transport.codec import completed_to_bytes
from plimsoll_runtime.outbox import OUTBOX_MIGRATIONS
from plimsoll_runtime.postgres import migrate, open_pool
from plimsoll_runtime.settings import PostgresSettings, Secret
from plimsoll_testkit.clock import FakeClock


@pytest.fixture
async def pool(postgres_dsn: str) -> AsyncIterator[asyncpg.Pool]:
    async with open_pool(PostgresSettings(dsn=Secret(postgres_dsn)), "model_router") as pool:
        await migrate(pool, "model_router", [MIGRATIONS, OUTBOX_MIGRATIONS])
        yield pool


class TestPostgresPromptStore(PromptStoreBehaviour):
    @pytest.fixture
    def store(self, pool: asyncpg.Pool) -> PostgresPromptStore:
        return PostgresPromptStore(pool)

    async def test_versions_registered_side_by_side_have_no_gap_and_no_twin(self, store: PostgresPromptStore) -> None:
        templates = [replace(TEMPLATE, system=f"Version {number % 6}.") for number in range(24)]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(store.register(ACME, template, ["production"])) for template in templates]
        registered = [task.result() for task in tasks]
        assert {prompt.version for prompt, _ in registered} == set(range(1, 7))
        assert sum(created for _, created in registered) == 6


class TestPostgresCallLedger(CallLedgerBehaviour):
    @pytest.fixture
    def told(self) -> list[None]:
        return []

    @pytest.fixture
    def ledger(self, pool: asyncpg.Pool, clock: FakeClock, told: list[None]) -> PostgresCallLedger:
        return PostgresCallLedger(pool, completed_to_bytes, clock, remember_s=3600.0, committed=lambda: told.append(None))

    async def test_every_call_is_kept_with_what_it_consumed_and_announced_once(
        self, ledger: PostgresCallLedger, pool: asyncpg.Pool, told: list[None]
    ) -> None:
        await ledger.record(call(1, key="k"))
        await ledger.record(call(2, key="k"))
        await ledger.record(call(3, outcome=unanswered()))
        rows = await pool.fetch(
            "select call_id, attempts, cost_micros, failure_category, answer is null as bare from calls order by call_id"
        )
        assert [tuple(row) for row in rows] == [
            ("call_1", 2, 7, None, False),
            ("call_2", 2, 7, None, True),
            ("call_3", 1, 0, "upstream_unavailable", True),
        ]
        events = await pool.fetch("select event_id, subject, tenant, payload from outbox order by position")
        assert [(row["event_id"], row["subject"], row["tenant"]) for row in events] == [
            (f"call_{number}.completed", COMPLETED, ACME) for number in (1, 2, 3)
        ]
        event = model_events_pb2.ModelCallCompleted.FromString(events[0]["payload"])
        assert (event.call_id, event.work.run_id, event.prompt_name) == ("call_1", "run_1", "support-classify")
        assert len(told) == 3

    async def test_a_call_that_cannot_be_announced_is_not_kept(self, ledger: PostgresCallLedger, pool: asyncpg.Pool) -> None:
        await ledger.record(call(1))
        with pytest.raises(Exception, match="already exists"):
            await ledger.record(call(1))
        assert await pool.fetchval("select count(*) from outbox") == 1
