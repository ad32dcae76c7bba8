"""The stores on Postgres keep the promises of the ports, and some of their own."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import asyncpg
import pytest
from model_router_behaviour import DAILY, BudgetStoreBehaviour, CallLedgerBehaviour, RegistryStoreBehaviour, to
from model_router_samples import ACME, TEMPLATE, UMBRELLA, call, opening, unanswered
from plimsoll.model_router.v1 import model_events_pb2
from plimsoll_model_router.adapters.ledger_rounds import Encoding
from plimsoll_model_router.adapters.postgres_budgets import PostgresBudgetStore
from plimsoll_model_router.adapters.postgres_ledger import COMPLETED, PostgresCallLedger
from plimsoll_model_router.adapters.postgres_registry import PostgresRegistryStore
from plimsoll_model_router.adapters.tenancy import MIGRATIONS, working_for
from plimsoll_model_router.domain.budgets import BudgetPeriod, BudgetScope, Estimate
from plimsoll_model_router.domain.calls import Busy, Opened, OverBudget
from plimsoll_model_router.domain.labels import Grounds
from plimsoll_model_router.errors import LabelMoved
from plimsoll_model_router.transport.codec import answer_to_bytes, body_of, completed_to_bytes
from plimsoll_runtime import audit, logs
from plimsoll_runtime.errors import Internal
from plimsoll_runtime.json_types import parse_object
from plimsoll_runtime.postgres import migrate, open_pool
from plimsoll_runtime.settings import PostgresSettings, Secret
from plimsoll_testkit.clock import FakeClock
from plimsoll_testkit.waiting import eventually

LOG = logs.get("test")
ENCODING = Encoding(event=completed_to_bytes, body=body_of, answer=answer_to_bytes)


@pytest.fixture
async def pool(postgres_dsn: str) -> AsyncIterator[asyncpg.Pool]:
    async with open_pool(PostgresSettings(dsn=Secret(postgres_dsn)), "model_router") as pool:
        await migrate(pool, "model_router", MIGRATIONS)
        yield pool


@pytest.fixture
def budgets(pool: asyncpg.Pool) -> PostgresBudgetStore:
    return PostgresBudgetStore(pool)


@pytest.fixture
def told() -> list[None]:
    return []


@pytest.fixture
def made(pool: asyncpg.Pool, clock: FakeClock, told: list[None]) -> Callable[[], PostgresCallLedger]:
    """A replica's ledger; more than one may stand on the same database."""
    return lambda: PostgresCallLedger(pool, ENCODING, clock, LOG, remember_s=3600.0, committed=lambda: told.append(None))


@pytest.fixture
async def ledger(made: Callable[[], PostgresCallLedger]) -> AsyncIterator[PostgresCallLedger]:
    ledger = made()
    async with ledger.running():
        yield ledger


class TestPostgresRegistryStore(RegistryStoreBehaviour):
    @pytest.fixture
    def store(self, pool: asyncpg.Pool, clock: FakeClock) -> PostgresRegistryStore:
        return PostgresRegistryStore(pool, clock)

    async def test_versions_registered_side_by_side_have_no_gap_and_no_twin(self, store: PostgresRegistryStore) -> None:
        templates = [replace(TEMPLATE, system=f"Version {number % 6}.") for number in range(24)]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(store.register(ACME, template, "")) for template in templates]
        registered = [task.result() for task in tasks]
        assert {entry.version for entry, _ in registered} == set(range(1, 7))
        assert sum(created for _, created in registered) == 6

    async def test_a_replica_finds_every_move_of_every_tenant_in_its_order(self, store: PostgresRegistryStore) -> None:
        before = await store.last_move()
        tenants = [f"tenant-{number}" for number in range(12)]

        async def move(tenant: str) -> None:
            entry, _ = await store.register(tenant, TEMPLATE, "")
            await store.move(tenant, to(entry, 0))

        async with asyncio.TaskGroup() as group:
            for tenant in tenants:
                group.create_task(move(tenant))
        found = await store.moved_since(before)
        assert sorted(moved.tenant for moved in found) == sorted(tenants)
        assert [moved.position for moved in found] == sorted(moved.position for moved in found)
        assert await store.last_move() == found[-1].position

    async def test_moves_of_protected_labels_and_overrides_are_in_the_audit_log(
        self, store: PostgresRegistryStore, pool: asyncpg.Pool
    ) -> None:
        first, _ = await store.register(ACME, TEMPLATE, "")
        second, _ = await store.register(ACME, replace(TEMPLATE, system="Be brief."), "")
        await store.move(ACME, to(first, 0, "candidate"))
        await store.move(ACME, to(first, 0), audited=True)
        await store.move(ACME, to(second, 1, grounds=Grounds.OVERRIDE), audited=True)
        with pytest.raises(LabelMoved):
            await store.move(ACME, to(first, 1), audited=True)
        told = await audit.entries(pool, ACME)
        subject = f"prompt:{TEMPLATE.name}@production"
        assert [(one.actor, one.action, one.subject) for one in told] == [
            ("ann", "label.overridden", subject), ("ann", "label.moved", subject)
        ]  # fmt: skip
        assert parse_object(told[0].details)["reason"] == "because"
        assert (await audit.verify(pool, ACME)).is_intact
        assert await audit.entries(pool, UMBRELLA) == []


class TestPostgresBudgetStore(BudgetStoreBehaviour):
    pass


class TestPostgresCallLedger(CallLedgerBehaviour):
    async def test_every_call_is_kept_with_what_it_consumed_and_announced_once(
        self, ledger: PostgresCallLedger, pool: asyncpg.Pool, told: list[None]
    ) -> None:
        await ledger.record(call(1, key="k"))
        await ledger.record(call(2, key="k"))
        await ledger.record(call(3, outcome=unanswered()))
        async with working_for(pool, ACME) as connection:
            rows = await connection.fetch(
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
        await pool.execute("alter table outbox add constraint nothing check (false) not valid")
        with pytest.raises(Internal):
            await ledger.record(call(1))
        async with working_for(pool, ACME) as connection:
            assert await connection.fetchval("select count(*) from calls") == 0

    async def test_caps_hold_over_replicas_tenants_agents_and_keys_at_once(
        self, made: Callable[[], PostgresCallLedger], budgets: PostgresBudgetStore
    ) -> None:
        """Two replicas, two tenants, budgets of all scopes that overlap in every way: no cap is ever exceeded, and no batch gets stuck."""
        for tenant in (ACME, UMBRELLA):
            await budgets.put(tenant, replace(DAILY, max_tokens=14 * 40, max_cost_micros=0))
            for name in "ab":
                await budgets.put(tenant, replace(DAILY, scope=BudgetScope.AGENT, subject=name, max_tokens=14 * 30, max_cost_micros=0))
                await budgets.put(tenant, replace(DAILY, scope=BudgetScope.KEY, subject=name, max_tokens=0, max_cost_micros=7 * 25))
        replicas = [made(), made()]
        high: dict[tuple[str, str, str], int] = {}

        async def one(number: int) -> bool:
            replica, tenant = replicas[number % 2], (ACME, UMBRELLA)[number // 2 % 2]
            agent, key = "ab"[number // 4 % 2], "ab"[number // 8 % 2]
            wanted = Estimate(tokens=14, cost_micros=7)
            opened = await replica.open(opening(number, tenant=tenant, agent=agent, api_key=key, wanted=wanted))
            if isinstance(opened, OverBudget):
                return False
            if number % 16 == 0:
                for status in await budgets.all(tenant):
                    where = (tenant, str(status.budget.scope), status.budget.subject)
                    high[where] = max(high.get(where, 0), status.spent_tokens + status.reserved_tokens)
            told = call(number, tenant=tenant)
            work = replace(told.generation.work, agent=agent)
            await replica.record(replace(told, key=key, generation=replace(told.generation, work=work)))
            return True

        async with replicas[0].running(), replicas[1].running(), asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(number)) for number in range(400)]
        went = sum(task.result() for task in tasks)
        for tenant in (ACME, UMBRELLA):
            for status in await budgets.all(tenant):
                assert status.reserved_tokens == status.reserved_cost_micros == 0
                assert status.spent_tokens <= status.budget.max_tokens or not status.budget.max_tokens
                assert status.spent_cost_micros <= status.budget.max_cost_micros or not status.budget.max_cost_micros
        assert went == 80  # 40 each: the tenants' own caps are the tightest, and are used up to the last token
        assert all(tokens <= 14 * 40 for tokens in high.values())

    async def test_a_period_begins_anew_when_its_time_has_come(
        self, ledger: PostgresCallLedger, budgets: PostgresBudgetStore, pool: asyncpg.Pool
    ) -> None:
        for period in BudgetPeriod:
            await budgets.put(ACME, replace(DAILY, period=period, max_cost_micros=0))
        await ledger.record(call(1))
        async with working_for(pool, ACME) as connection:
            await connection.execute("update budgets set period_start = period_start - interval '40 days'")
        shown = {str(one.budget.period): one.spent_tokens for one in await budgets.all(ACME)}
        assert shown == {"day": 0, "month": 0, "total": 14}
        await ledger.record(call(2))
        kept = {str(one.budget.period): one.spent_tokens for one in await budgets.all(ACME)}
        assert kept == {"day": 14, "month": 14, "total": 28}

    async def test_what_a_dead_replica_held_counts_as_spent_because_it_may_have_been(
        self, made: Callable[[], PostgresCallLedger], ledger: PostgresCallLedger, budgets: PostgresBudgetStore, pool: asyncpg.Pool
    ) -> None:
        await budgets.put(ACME, DAILY)
        dead = made()
        async with dead.running():
            assert isinstance(await dead.open(opening(1, key="k", wanted=Estimate(tokens=40))), Opened)
        assert isinstance(await ledger.open(opening(2, key="k")), Busy)
        async with working_for(pool, ACME) as connection:
            await connection.execute("update open_calls set lease_until = now() - interval '1 second'")
        assert isinstance(
            await ledger.open(opening(2, key="k", wanted=Estimate(tokens=61))), OverBudget
        )  # the key is free, the room is not
        assert isinstance(await ledger.open(opening(2, key="k", wanted=Estimate(tokens=30))), Opened)
        async with working_for(pool, ACME) as connection:
            await connection.execute("update open_calls set lease_until = now() - interval '1 second'")
        assert await ledger.release() == 1
        assert [(one.spent_tokens, one.reserved_tokens) for one in await budgets.all(ACME)] == [(70, 0)]

    async def test_a_call_that_nobody_waits_for_is_recorded_all_the_same_and_once(
        self, ledger: PostgresCallLedger, pool: asyncpg.Pool
    ) -> None:
        ledger.post(call(1))
        await ledger.settle(call(1))

        async def kept() -> bool:
            return bool(await pool.fetchval("select count(*) = 1 from outbox"))

        await eventually(kept)
        assert (await ledger.get(ACME, "call_1")).call_id == "call_1"
        assert await pool.fetchval("select count(*) from outbox") == 1

    async def test_a_call_is_found_as_soon_as_its_caller_has_the_answer(
        self, ledger: PostgresCallLedger, budgets: PostgresBudgetStore
    ) -> None:
        """And what it held and did not use is free for the next one, although it is settled a little later."""
        await budgets.put(ACME, DAILY)
        await ledger.open(opening(1, wanted=Estimate(tokens=90)))
        await ledger.settle(call(1))
        assert (await ledger.get(ACME, "call_1")).usage.input_tokens == 10
        await ledger.open(opening(2, wanted=Estimate(tokens=80)))
        await ledger.settle(call(2))
        assert isinstance(await ledger.open(opening(3, wanted=Estimate(tokens=72))), Opened)


async def test_what_was_posted_before_the_end_is_recorded_at_the_end(
    made: Callable[[], PostgresCallLedger], pool: asyncpg.Pool, budgets: PostgresBudgetStore
) -> None:
    await budgets.put(ACME, DAILY)
    replica = made()
    async with replica.running():
        await replica.open(opening(1, wanted=Estimate(tokens=50)))
        replica.post(call(1))
    [status] = await budgets.all(ACME)
    assert (status.spent_tokens, status.reserved_tokens) == (14, 0)


async def test_row_level_security_shows_no_tenant_the_rows_of_another(
    pool: asyncpg.Pool, ledger: PostgresCallLedger, budgets: PostgresBudgetStore, clock: FakeClock
) -> None:
    """Every table, asked without any predicate."""
    store = PostgresRegistryStore(pool, clock)
    entry, _ = await store.register(ACME, TEMPLATE, "")
    await store.move(ACME, to(entry, 0))
    await budgets.put(ACME, DAILY)
    await ledger.record(call(1))
    await ledger.open(opening(2, key="k"))
    tables = ("versions", "labels", "label_moves", "budgets", "calls", "open_calls")
    for tenant, rows in ((ACME, 1), (UMBRELLA, 0)):
        async with working_for(pool, tenant) as connection:
            for table in tables:
                assert await connection.fetchval(f"select count(*) from {table}") == rows, (tenant, table)
    for table in tables:  # who names no tenant sees nothing, and a write for another tenant is refused
        assert await pool.fetchval(f"select count(*) from {table}") == 0, table
    async with working_for(pool, UMBRELLA) as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(
                "insert into labels (tenant, kind, name, label, version, moved_at) values ($1, 'prompt', $2, 'x', 1, now())",
                ACME,
                TEMPLATE.name,
            )
