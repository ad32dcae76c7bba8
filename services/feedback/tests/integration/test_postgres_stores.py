"""The stores on Postgres keep the promises of the ports, and some of their own."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta

import asyncpg
import pytest
from feedback_behaviour import ALL_DAY, EVERYTHING, TEN, OperationStoreBehaviour, SignalStoreBehaviour
from feedback_samples import ACME, NOON, UMBRELLA, failure, operation, run, signal
from feedback_trace_behaviour import TraceStoreBehaviour
from plimsoll_feedback.adapters.postgres_operations import PostgresOperationStore, _Query
from plimsoll_feedback.adapters.postgres_partitions import OperationPartitions
from plimsoll_feedback.adapters.postgres_retention import Retention
from plimsoll_feedback.adapters.postgres_session import MIGRATIONS, reading
from plimsoll_feedback.adapters.postgres_signals import PostgresSignalStore
from plimsoll_feedback.adapters.postgres_traces import PostgresTraceStore
from plimsoll_feedback.domain.operation import OperationFilter, RunId
from plimsoll_feedback.domain.signal import IdempotencyKey
from plimsoll_feedback.transport.codec import signal_recorded
from plimsoll_runtime import logs
from plimsoll_runtime.errors import Invalid, Unavailable
from plimsoll_runtime.outbox import OUTBOX_MIGRATIONS
from plimsoll_runtime.postgres import migrate, open_pool
from plimsoll_runtime.settings import PostgresSettings, Secret
from plimsoll_testkit.clock import FakeClock
from plimsoll_testkit.waiting import eventually


@pytest.fixture
async def pool(postgres_dsn: str) -> AsyncIterator[asyncpg.Pool]:
    async with open_pool(PostgresSettings(dsn=Secret(postgres_dsn)), "feedback") as pool:
        await migrate(pool, "feedback", [OUTBOX_MIGRATIONS, MIGRATIONS])
        yield pool


@pytest.fixture
def partitions(pool: asyncpg.Pool, clock: FakeClock) -> OperationPartitions:
    return OperationPartitions(pool, clock, 2, logs.get("feedback"))


async def partition_rows(pool: asyncpg.Pool) -> dict[str, int]:
    """How many rows each partition holds."""
    rows = await pool.fetch(
        "select relname from pg_inherits join pg_class on pg_class.oid = inhrelid where inhparent = 'operations'::regclass"
    )
    return {row["relname"]: await pool.fetchval(f"select count(*) from {row['relname']}") for row in rows}


class TestPostgresOperationStore(OperationStoreBehaviour):
    @pytest.fixture
    async def store(self, pool: asyncpg.Pool, partitions: OperationPartitions) -> PostgresOperationStore:
        await partitions.ensure()
        return PostgresOperationStore(pool, signal_recorded)

    async def test_two_writers_of_the_same_events_in_opposite_order_both_succeed(self, store: PostgresOperationStore) -> None:
        operations = [operation(number) for number in range(200)]
        runs = [run(f"run_{number}") for number in range(200)]
        async with asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(store.record(operations, runs))
                group.create_task(store.record(operations[::-1], runs[::-1]))
        assert (await store.count_failures(ACME, ALL_DAY, None)).operations == 200

    async def test_a_batch_with_a_bad_row_stores_nothing(self, store: PostgresOperationStore) -> None:
        bad = operation(2, agent="nul\x00")
        with pytest.raises(Invalid, match=r"U\+0000"):
            await store.record([operation(1), bad], [run()])
        assert await store.find(ACME, EVERYTHING, TEN) == []
        assert not await store.has_run(ACME, RunId("run_1"))

    async def test_sessions_that_were_cut_are_unavailable_once_and_then_replaced(
        self, store: PostgresOperationStore, postgres_superuser_dsn: str
    ) -> None:
        administrator = await asyncpg.connect(postgres_superuser_dsn)
        await administrator.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
        )
        await administrator.close()

        async def recorded() -> bool:
            try:
                await store.record([operation(1)], [])
            except Unavailable:
                return False
            return True

        assert await eventually(recorded)

    async def test_row_level_security_hides_what_a_query_forgot_to_exclude(self, store: PostgresOperationStore, pool: asyncpg.Pool) -> None:
        await store.record([operation(1), operation(2, tenant=UMBRELLA)], [run(), run(tenant=UMBRELLA)])
        async with reading(pool, ACME) as connection:
            assert await connection.fetchval("select array_agg(distinct tenant) from operations") == [ACME]
            assert await connection.fetchval("select array_agg(distinct tenant) from runs") == [ACME]
        assert await pool.fetchval("select count(*) from operations") == 0

    @pytest.mark.parametrize(
        "where", [OperationFilter(), OperationFilter(run_id=RunId("run_7")), OperationFilter(failed_only=True)], ids=repr
    )
    async def test_a_page_is_read_by_an_index_whatever_the_tenant(
        self, store: PostgresOperationStore, pool: asyncpg.Pool, where: OperationFilter
    ) -> None:
        many = [
            operation(
                number, run=f"run_{number % 50}", tenant=UMBRELLA if number % 2 else ACME, failed=failure() if number % 20 == 0 else None
            )
            for number in range(5000)
        ]
        await store.record(many, [])
        await pool.execute("analyze operations")
        query = _Query(ACME, where, TEN)
        async with reading(pool, ACME) as connection:
            plan = "\n".join(row[0] for row in await connection.fetch("explain " + query.text, *query.arguments))
        assert "Seq Scan on operations_20260101" not in plan
        assert "Index" in plan


class TestPostgresTraceStore(TraceStoreBehaviour):
    @pytest.fixture
    async def operations(self, pool: asyncpg.Pool) -> PostgresOperationStore:
        return PostgresOperationStore(pool, signal_recorded)

    @pytest.fixture
    def store(self, pool: asyncpg.Pool) -> PostgresTraceStore:
        return PostgresTraceStore(pool)


class TestPartitions:
    async def test_each_day_from_yesterday_on_has_its_partition(self, pool: asyncpg.Pool, partitions: OperationPartitions) -> None:
        await partitions.ensure()
        days = {"operations_20251231", "operations_20260101", "operations_20260102", "operations_20260103"}
        assert set(await partition_rows(pool)) == {*days, "operations_default"}

    async def test_replicas_that_start_together_do_not_get_in_each_others_way(
        self, pool: asyncpg.Pool, partitions: OperationPartitions
    ) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(partitions.ensure())
        assert len(await partition_rows(pool)) == 5

    async def test_rows_that_came_before_their_day_had_a_partition_move_into_it(
        self, pool: asyncpg.Pool, partitions: OperationPartitions, clock: FakeClock
    ) -> None:
        store = PostgresOperationStore(pool, signal_recorded)
        early, far = operation(1), operation(2, started_at=NOON + timedelta(days=100))
        await store.record([early, far], [])
        assert await partition_rows(pool) == {"operations_default": 2}
        await partitions.ensure()
        rows = await partition_rows(pool)
        assert (rows["operations_20260101"], rows["operations_default"]) == (1, 1)
        await store.record([early, far], [])
        assert await store.find(ACME, EVERYTHING, TEN) == [far, early]

    async def test_partitions_are_made_while_events_come_in(self, pool: asyncpg.Pool, partitions: OperationPartitions) -> None:
        store = PostgresOperationStore(pool, signal_recorded)
        async with asyncio.TaskGroup() as group:
            for batch in range(20):
                group.create_task(store.record([operation(batch * 10 + number) for number in range(10)], []))
            group.create_task(partitions.ensure())
        assert (await store.count_failures(ACME, ALL_DAY, None)).operations == 200


class TestRetention:
    async def test_days_that_are_over_are_dropped_whole_and_the_rest_row_by_row(
        self, pool: asyncpg.Pool, partitions: OperationPartitions, clock: FakeClock
    ) -> None:
        store, signals = PostgresOperationStore(pool, signal_recorded), PostgresSignalStore(pool, signal_recorded)
        await partitions.ensure()
        old = NOON - timedelta(days=200)
        await store.record(
            [operation(1), operation(2, started_at=old), operation(3, started_at=NOON - timedelta(days=1))],
            [run(), run("run_old", started_at=old)],
        )
        await signals.record(signal(1), None)
        retention = Retention(pool, clock, 30, logs.get("feedback"))
        await retention.forget()
        assert {one.step for one in await store.find(ACME, EVERYTHING, TEN)} == {1, 3}
        assert not await store.has_run(ACME, RunId("run_old"))
        clock.advance(timedelta(days=31).total_seconds())
        await partitions.ensure()
        await retention.forget()
        assert [one.step for one in await store.find(ACME, EVERYTHING, TEN)] == []
        assert await signals.find(ACME, RunId("run_1"), TEN) == []
        assert "operations_20251231" not in await partition_rows(pool)

    async def test_nothing_is_forgotten_unless_it_is_asked_for(self, pool: asyncpg.Pool, clock: FakeClock) -> None:
        store = PostgresOperationStore(pool, signal_recorded)
        await store.record([operation(1, started_at=NOON - timedelta(days=4000))], [])
        await Retention(pool, clock, 0, logs.get("feedback")).forget()
        assert len(await store.find(ACME, EVERYTHING, TEN)) == 1


class TestPostgresSignalStore(SignalStoreBehaviour):
    @pytest.fixture
    def store(self, pool: asyncpg.Pool) -> PostgresSignalStore:
        return PostgresSignalStore(pool, signal_recorded)

    @pytest.fixture
    def announced(self, pool: asyncpg.Pool) -> Callable[[], Awaitable[list[str]]]:
        async def ids() -> list[str]:
            return [row["event_id"] for row in await pool.fetch("select event_id from outbox")]

        return ids

    async def test_the_same_key_at_the_same_time_records_one_signal(self, store: PostgresSignalStore) -> None:
        key = IdempotencyKey(key="key_1", fingerprint="f1")
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(store.record(signal(number), key)) for number in range(8)]
        assert len({task.result().id for task in tasks}) == 1
        assert len(await store.find(ACME, RunId("run_1"), TEN)) == 1

    async def test_row_level_security_hides_what_a_query_forgot_to_exclude(self, store: PostgresSignalStore, pool: asyncpg.Pool) -> None:
        await store.record(signal(1), None)
        await store.record(signal(2, tenant=UMBRELLA), None)
        async with reading(pool, UMBRELLA) as connection:
            assert await connection.fetchval("select array_agg(signal_id) from signals") == ["sig_0002"]
        assert await pool.fetchval("select count(*) from signals") == 0
