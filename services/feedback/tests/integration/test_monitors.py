"""Monitors see what becomes worse, once, whatever happens to those who watch; people settle what was raised."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import asyncpg
import pytest
from feedback_running import settled
from feedback_samples import ACME, UMBRELLA, at, operation, run, signal
from plimsoll.feedback.v1 import feedback_events_pb2
from plimsoll_feedback.adapters.postgres_feed import _OPERATIONS, PostgresOperationFeed, PostgresSignalFeed
from plimsoll_feedback.adapters.postgres_monitors import PostgresMonitorStore
from plimsoll_feedback.adapters.postgres_operations import PostgresOperationStore
from plimsoll_feedback.adapters.postgres_partitions import OperationPartitions
from plimsoll_feedback.adapters.postgres_session import MIGRATIONS, ingesting
from plimsoll_feedback.adapters.postgres_signals import PostgresSignalStore
from plimsoll_feedback.domain.monitor import AlertStatus, Measure, Rules
from plimsoll_feedback.domain.operation import Operation, OperationId, OperationKind
from plimsoll_feedback.domain.paging import PageRequest
from plimsoll_feedback.domain.signal import Ended
from plimsoll_feedback.errors import AlertNotFound, MonitorNotFound
from plimsoll_feedback.ports.monitors import AlertFilter
from plimsoll_feedback.service.monitors import Monitors
from plimsoll_feedback.transport.codec import signal_recorded
from plimsoll_feedback.transport.monitor_codec import ALERT_RAISED, alert_raised
from plimsoll_runtime import logs
from plimsoll_runtime.failures import Category, Failure
from plimsoll_runtime.ids import RandomIds
from plimsoll_runtime.outbox import OUTBOX_MIGRATIONS
from plimsoll_runtime.postgres import migrate, open_pool
from plimsoll_runtime.settings import PostgresSettings, Secret
from plimsoll_testkit.clock import FakeClock

TEN, EVERY = PageRequest(size=100), AlertFilter()
RULES = Rules(alpha=0.01, baseline=50, minimum=10)


@pytest.fixture
async def pool(postgres_dsn: str) -> AsyncIterator[asyncpg.Pool]:
    async with open_pool(PostgresSettings(dsn=Secret(postgres_dsn)), "feedback") as pool:
        await migrate(pool, "feedback", [OUTBOX_MIGRATIONS, MIGRATIONS])
        yield pool


@pytest.fixture
def store(pool: asyncpg.Pool) -> PostgresOperationStore:
    return PostgresOperationStore(pool, signal_recorded)


def watcher(pool: asyncpg.Pool, clock: FakeClock, *, deliver: bool = False) -> Monitors:
    monitors = PostgresMonitorStore(pool, alert_raised)
    feeds = PostgresOperationFeed(pool), PostgresSignalFeed(pool)
    return Monitors(monitors, *feeds, clock, RandomIds(), logs.get("feedback"), rules=RULES, deliver=deliver)


@pytest.fixture
def monitors(pool: asyncpg.Pool, clock: FakeClock) -> Monitors:
    return watcher(pool, clock)


def ended(number: int, *, failed: bool = False, tenant: str = ACME, version: str = "d1", cost: int = 10) -> Operation:
    failure = Failure(category=Category.TIMEOUT, reason="TOO_SLOW", message="too slow") if failed else None
    base = operation(number, tenant=tenant, run=f"run_{number}", kind=OperationKind.RUN, failed=failure)
    facts = {"status": "failed" if failed else "succeeded", "steps": 1}
    return replace(
        base,
        id=OperationId(f"run_{number}.9"),
        facts=facts,
        agent_version=version,
        usage=replace(base.usage, cost_micros=cost),
        duration_s=1.0,
    )


async def watch(monitors: Monitors) -> None:
    """Until there is nothing new."""
    await settled(monitors._operations._pool)
    while await monitors.follow_operations() or await monitors.follow_signals():
        pass


async def raised(monitors: Monitors, tenant: str = ACME) -> Sequence[tuple[Measure, int]]:
    page = await monitors.list_alerts(tenant, EVERY, TEN)
    return [(alert.watched.measure, alert.live_size) for alert in page.rows]


async def test_a_rise_of_failures_raises_one_alert_and_announces_it(
    store: PostgresOperationStore, monitors: Monitors, pool: asyncpg.Pool
) -> None:
    await store.record([ended(number) for number in range(80)], [])
    await watch(monitors)
    assert await raised(monitors) == []
    await store.record([ended(number, failed=True) for number in range(100, 160)], [])
    await watch(monitors)
    [(measure, size)] = await raised(monitors)
    assert measure is Measure.FAILED_RUNS
    assert size < 30 + 30
    payloads = [row["payload"] for row in await pool.fetch("select payload from outbox where subject = $1", ALERT_RAISED)]
    [event] = map(feedback_events_pb2.AlertRaised.FromString, payloads)
    assert (event.tenant, event.alert.subject, event.alert.baseline_mean) == (ACME, "support", 0.0)
    assert "failed runs of agent support" in event.alert.summary


async def test_nothing_is_raised_while_all_is_as_it_was(store: PostgresOperationStore, monitors: Monitors) -> None:
    await store.record([ended(number, failed=number % 7 == 0, cost=number % 13) for number in range(600)], [])
    await watch(monitors)
    assert await raised(monitors) == []
    page = await monitors.list_monitors(ACME, "support", None, TEN)
    assert {one.monitor.watched.measure for one in page.rows} == {Measure.FAILED_RUNS, Measure.COSTLY_RUNS, Measure.SLOW_RUNS}
    assert {one.monitor.watch.bet.size for one in page.rows} == {550}


async def test_two_who_watch_count_everything_once(store: PostgresOperationStore, pool: asyncpg.Pool, clock: FakeClock) -> None:
    first, second = watcher(pool, clock), watcher(pool, clock)

    async def publish() -> None:
        for number in range(0, 400, 20):
            await store.record([ended(one) for one in range(number, number + 20)], [])

    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(publish())  # repeats change nothing
        group.create_task(watch(first))
        group.create_task(watch(second))
    await pool.execute("update cursors set held_until = now() - interval '1 s'")
    await watch(second)
    await pool.execute("update cursors set held_until = now() - interval '1 s'")
    await watch(first)
    page = await first.list_monitors(ACME, None, Measure.FAILED_RUNS, TEN)
    assert [one.monitor.watch.bet.size for one in page.rows] == [350]


async def test_who_lost_the_turn_changes_nothing(store: PostgresOperationStore, pool: asyncpg.Pool, clock: FakeClock) -> None:
    await store.record([ended(number) for number in range(60)], [])
    feed = PostgresOperationFeed(pool)
    await settled(pool)
    batch = await feed.claim("monitors", "stuck", 500)
    assert batch is not None
    await pool.execute("update cursors set held_until = now() - interval '1 s'")
    monitors = watcher(pool, clock)
    await watch(monitors)
    assert not await feed.move(batch.turn)
    page = await monitors.list_monitors(ACME, None, Measure.FAILED_RUNS, TEN)
    assert [one.monitor.watch.bet.size for one in page.rows] == [10]


async def test_nothing_is_passed_over_when_a_long_transaction_commits_after_a_short_one(
    pool: asyncpg.Pool, store: PostgresOperationStore
) -> None:
    feed = PostgresOperationFeed(pool)
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("select set_config('plimsoll.ingesting', 'yes', true)")
        await connection.execute(
            "insert into operations (tenant, started_at, operation_id, kind, run_id, step, agent, agent_version, node, name, duration_s, evidence,"
            " input_tokens, output_tokens, cached_input_tokens, reasoning_tokens, cost_micros, facts)"
            " values ('acme', now(), 'slow', 'run', 'r', 1, '', '', '', '', 0, '', 0, 0, 0, 0, 0, '{}')"
        )
        await store.record([ended(1)], [])
        assert await feed.claim("someone", "me", 10) is None  # what is stored later may still come before
    await settled(pool)
    batch = await feed.claim("someone", "me", 10)
    assert batch is not None
    assert {one.id for one in batch.rows} == {"slow", "run_1.9"}


async def test_a_follower_reads_by_index_and_an_idle_one_writes_nothing(
    pool: asyncpg.Pool, store: PostgresOperationStore, clock: FakeClock
) -> None:
    await OperationPartitions(pool, clock, 2, logs.get("feedback")).ensure()
    for batch in range(5):
        await store.record([ended(number) for number in range(batch * 1000, batch * 1000 + 1000)], [])
    await pool.execute("analyze operations")
    feed = PostgresOperationFeed(pool)
    await settled(pool)
    async with ingesting(pool) as connection:
        plan = "\n".join(row[0] for row in await connection.fetch("explain " + _OPERATIONS, "700", "acme", "x", 100))
    assert "Seq Scan" not in plan
    assert "Merge Append" in plan  # the partitions' indexes are merged: nothing is sorted, however much there is
    while (batch := await feed.claim("someone", "me", 500)) is not None:
        await feed.move(batch.turn)
    before = await pool.fetchval("select xmin::text from cursors where name = 'someone'")
    assert await feed.claim("someone", "me", 500) is None
    assert await pool.fetchval("select xmin::text from cursors where name = 'someone'") == before


async def test_each_version_is_measured_against_the_same_baseline(store: PostgresOperationStore, monitors: Monitors) -> None:
    await store.record([ended(number) for number in range(60)], [])
    await store.record([ended(number, version="d2", failed=number % 2 == 0) for number in range(100, 200)], [])
    await store.record([ended(number) for number in range(300, 340)], [])
    await watch(monitors)
    [alert] = (await monitors.list_alerts(ACME, EVERY, TEN)).rows
    assert (alert.version, alert.watched.measure) == ("d2", Measure.FAILED_RUNS)


async def test_bad_outcomes_are_seen_days_later(store: PostgresOperationStore, pool: asyncpg.Pool, monitors: Monitors) -> None:
    signals = PostgresSignalStore(pool, signal_recorded)
    await store.record([], [run()])
    for number in range(100):
        await signals.record(signal(number, value=Ended(succeeded=number < 60)), None)
    await watch(monitors)
    assert [measure for measure, _ in await raised(monitors)] == [Measure.BAD_OUTCOMES]


async def test_a_category_that_was_never_seen_is_measured_against_nothing(store: PostgresOperationStore, monitors: Monitors) -> None:
    def step(number: int, *, failed: bool) -> Operation:
        failure = Failure(category=Category.TOOL_ERROR, reason="BROKEN", message="broken") if failed else None
        return operation(number, run=f"run_{number}", kind=OperationKind.TRANSITION, failed=failure)

    await store.record([one for number in range(60) for one in (step(number, failed=False), ended(number))], [])
    await store.record([step(number, failed=True) for number in range(100, 130)], [])
    await watch(monitors)
    [alert] = (await monitors.list_alerts(ACME, EVERY, TEN)).rows
    assert (alert.watched.measure, alert.watched.category) == (Measure.CATEGORY, "tool_error")


async def test_an_alert_is_acknowledged_and_resolved_and_then_watched_on(
    store: PostgresOperationStore, monitors: Monitors, clock: FakeClock
) -> None:
    await store.record([ended(number) for number in range(60)], [])
    await store.record([ended(number, failed=True) for number in range(100, 160)], [])
    await watch(monitors)
    [alert] = (await monitors.list_alerts(ACME, EVERY, TEN)).rows
    seen = await monitors.settle(ACME, alert.id, AlertStatus.ACKNOWLEDGED, "ada", "looking")
    assert (seen.status, seen.settled_by, seen.comment) == (AlertStatus.ACKNOWLEDGED, "ada", "looking")
    solved = await monitors.settle(ACME, alert.id, AlertStatus.RESOLVED, "ada", "a bad key")
    assert solved.status is AlertStatus.RESOLVED
    assert await monitors.settle(ACME, alert.id, AlertStatus.ACKNOWLEDGED, "eve", "") == solved
    await store.record([ended(number, failed=True) for number in range(200, 260)], [])
    await watch(monitors)
    assert len((await monitors.list_alerts(ACME, EVERY, TEN)).rows) == 2
    assert len((await monitors.list_alerts(ACME, AlertFilter(status=AlertStatus.OPEN), TEN)).rows) == 1


async def test_a_reset_baseline_begins_anew(store: PostgresOperationStore, monitors: Monitors) -> None:
    await store.record([ended(number) for number in range(60)], [])
    await store.record([ended(number, failed=True) for number in range(100, 160)], [])
    await watch(monitors)
    [alert] = (await monitors.list_alerts(ACME, EVERY, TEN)).rows
    await monitors.reset_baseline(ACME, alert.monitor_id, "ada")
    assert (await monitors.list_alerts(ACME, AlertFilter(status=AlertStatus.OPEN), TEN)).rows == ()
    await store.record([ended(number, failed=True) for number in range(200, 300)], [])
    await watch(monitors)
    assert len((await monitors.list_alerts(ACME, EVERY, TEN)).rows) == 1  # all fail: that is usual now
    with pytest.raises(MonitorNotFound):
        await monitors.reset_baseline(ACME, "mon_absent", "ada")


async def test_another_tenants_alerts_do_not_exist(store: PostgresOperationStore, monitors: Monitors) -> None:
    await store.record([ended(number, tenant=UMBRELLA) for number in range(60)], [])
    await store.record([ended(number, tenant=UMBRELLA, failed=True) for number in range(100, 160)], [])
    await watch(monitors)
    [alert] = (await monitors.list_alerts(UMBRELLA, EVERY, TEN)).rows
    assert await raised(monitors) == []
    with pytest.raises(AlertNotFound):
        await monitors.settle(ACME, alert.id, AlertStatus.RESOLVED, "eve", "")
    with pytest.raises(MonitorNotFound):
        await monitors.reset_baseline(ACME, alert.monitor_id, "eve")
    assert alert.raised_at == at(0) or alert.status is AlertStatus.OPEN
