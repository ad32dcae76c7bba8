"""What was promoted is taken back when production says so; and how models stand in production."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from feedback_learning_fakes import FakeModelRouter
from feedback_learning_samples import ACME, spec
from plimsoll_feedback.adapters.postgres_alerts import PostgresAlerts
from plimsoll_feedback.adapters.postgres_datasets import PostgresDatasetStore
from plimsoll_feedback.adapters.postgres_improvements import PostgresImprovementStore
from plimsoll_feedback.adapters.postgres_operations import PostgresOperationStore
from plimsoll_feedback.adapters.postgres_session import writing
from plimsoll_feedback.adapters.postgres_signals import PostgresSignalStore
from plimsoll_feedback.adapters.postgres_standings import PostgresStandings
from plimsoll_feedback.domain.learning import deeds
from plimsoll_feedback.domain.learning.datasets import DatasetName
from plimsoll_feedback.domain.learning.improvements import Improvement, ImprovementId, Plan, Progress
from plimsoll_feedback.domain.learning.standings import preferred, ranked
from plimsoll_feedback.domain.operation import Operation, OperationId, OperationKind, Run, RunId
from plimsoll_feedback.domain.signal import Judged, Signal, SignalId, Verdict
from plimsoll_feedback.main import TABLES
from plimsoll_feedback.ports.improving import HeldTry
from plimsoll_feedback.service.watching import PromotionWatch
from plimsoll_feedback.transport.codec import signal_recorded
from plimsoll_runtime import logs
from plimsoll_runtime.clock import SystemClock
from plimsoll_runtime.postgres import migrate, open_pool
from plimsoll_runtime.settings import PostgresSettings, Secret
from plimsoll_runtime.usage import Usage

NEW, OLD = "new-version", "old-version"
_ALERT = """
insert into alerts (tenant, alert_id, monitor_id, subject_kind, subject, measure, category, version, status, baseline_mean, baseline_size,
    live_mean, live_size, evidence, alpha, summary, raised_at)
values ($1, $2, 'mon', 'prompt', 'sort', $3, '', $4, 'open', 0.1, 200, 0.5, 50, 300, 0.01, 'more overrides', $5)
"""
_MONITOR = """
insert into monitors (tenant, monitor_id, subject_kind, subject, measure, category, version, bound, alpha, minimum, started, size, recent)
values ($1, 'mon_old', 'prompt', 'sort', 'overrides', '', $2, 0.2, 0.01, 20, '{}', 60, $3)
"""


@pytest.fixture
async def pool(postgres_dsn: str) -> AsyncIterator[asyncpg.Pool]:
    async with open_pool(PostgresSettings(dsn=Secret(postgres_dsn)), "feedback") as pool:
        await migrate(pool, "feedback", TABLES)
        yield pool


@pytest.fixture
async def watch(pool: asyncpg.Pool) -> tuple[PromotionWatch, FakeModelRouter, PostgresImprovementStore]:
    """One improvement was promoted a minute ago."""
    tries, router = PostgresImprovementStore(pool), FakeModelRouter(labels={("sort", "production"): NEW})
    then = datetime.now(UTC) - timedelta(seconds=60)
    plan = Plan(prompt="sort", dataset=DatasetName("sorting"))
    one = Improvement(id=ImprovementId("imp_1"), tenant=ACME, plan=plan, state=Progress.DRAFTING, created_at=then, changed_at=then)
    await tries.start(one, "")
    held = await tries.claim(30)
    assert held is not None
    promoted = Improvement(
        id=one.id,
        tenant=ACME,
        plan=plan,
        state=Progress.PROMOTED,
        created_at=then,
        changed_at=then,
        baseline_digest=OLD,
        candidate_digest=NEW,
    )
    assert await tries.change(HeldTry(improvement=one, epoch=held.epoch), promoted, 0)
    assert not await tries.change(HeldTry(improvement=one, epoch=held.epoch - 1), promoted, 0)
    return PromotionWatch(tries, router, PostgresAlerts(pool), SystemClock(), logs.get("test")), router, tries


async def alert(pool: asyncpg.Pool, *, measure: str = "overrides", version: str = NEW, at: datetime | None = None) -> None:
    async with writing(pool, ACME) as connection:
        await connection.execute(_ALERT, ACME, f"alr_{measure}", measure, version, at or datetime.now(UTC))


Watch = tuple[PromotionWatch, FakeModelRouter, PostgresImprovementStore]


class TestRollback:
    async def test_a_version_that_does_worse_in_production_is_taken_back_once(self, watch: Watch, pool: asyncpg.Pool) -> None:
        looking, router, tries = watch
        assert await looking.look_after() == 0
        await alert(pool)
        assert (await looking.look_after(), await looking.look_after()) == (1, 0)
        assert router.rollbacks == ["alert alr_overrides: more overrides"]
        assert (await tries.get(ACME, ImprovementId("imp_1"))).state is Progress.ROLLED_BACK

    async def test_where_the_version_before_did_as_badly_nothing_is_gained_by_going_back(self, watch: Watch, pool: asyncpg.Pool) -> None:
        looking, router, _ = watch
        async with writing(pool, ACME) as connection:
            await connection.execute(_MONITOR, ACME, OLD, 0.7)
        await alert(pool)
        assert (await looking.look_after(), router.rollbacks) == (0, [])

    @pytest.mark.parametrize("told", [{"measure": "doubt"}, {"version": OLD}, {"at": datetime(2026, 1, 1, tzinfo=UTC)}])
    async def test_doubt_other_versions_and_old_alerts_are_no_reason(
        self, watch: Watch, pool: asyncpg.Pool, told: dict[str, object]
    ) -> None:
        looking, router, _ = watch
        await alert(pool, **told)  # type: ignore[arg-type]  # a test's shorthand
        assert (await looking.look_after(), router.rollbacks) == (0, [])

    async def test_a_label_that_was_moved_on_stays_where_it_is(self, watch: Watch, pool: asyncpg.Pool) -> None:
        looking, router, _ = watch
        router.labels["sort", "production"] = "a later version"
        await alert(pool)
        assert (await looking.look_after(), router.rollbacks) == (1, [])

    async def test_while_the_router_is_away_it_is_tried_again(self, watch: Watch, pool: asyncpg.Pool) -> None:
        looking, router, _ = watch
        await alert(pool)
        router.away = True
        assert await looking.look_after() == 0
        router.away = False
        assert await looking.look_after() == 1


async def test_models_stand_by_what_was_said_of_their_answers_with_intervals(pool: asyncpg.Pool) -> None:
    operations, signals = PostgresOperationStore(pool, signal_recorded), PostgresSignalStore(pool, signal_recorded)
    now = datetime.now(UTC)
    for model, good, cost in (("dear", 38, 900), ("cheap", 37, 90), ("bad", 10, 9)):
        calls = [_call(model, n, cost, now) for n in range(40)]
        runs = [Run(id=one.run_id, tenant=ACME, agent="desk", agent_version="d", started_at=now) for one in calls]
        await operations.record(calls, runs)
        for n, one in enumerate(calls):
            await signals.record(_verdict(one, good=n < good), None)
    standings = ranked(await PostgresStandings(pool).standings(ACME, "classification"))
    assert [(one.name, one.calls, one.judged) for one in standings] == [("p/dear", 40, 40), ("p/cheap", 40, 40), ("p/bad", 40, 40)]
    first = standings[0]
    assert first.quality_interval.low < first.quality == 0.95 < first.quality_interval.high
    assert first.latency_interval.low <= first.latency_s <= first.latency_interval.high
    assert first.cost_micros == 900
    best = preferred(standings, 0.05)
    assert best is not None
    assert best.name == "p/cheap"
    assert await PostgresStandings(pool).standings("umbrella", "") == []


def _call(model: str, number: int, cost: int, at: datetime) -> Operation:
    return Operation(
        id=OperationId(f"op_{model}_{number}"),
        tenant=ACME,
        kind=OperationKind.MODEL_CALL,
        run_id=RunId(f"run_{model}_{number}"),
        step=1,
        agent="desk",
        agent_version="d",
        node="sort",
        name=model,
        started_at=at,
        duration_s=0.1 + number / 100,
        usage=Usage(cost_micros=cost),
        facts={"task": "classification", "provider": "p"},
    )


def _verdict(of: Operation, *, good: bool) -> Signal:
    return Signal(
        id=SignalId(f"sig_{of.id}"),
        tenant=ACME,
        run_id=of.run_id,
        operation_id=of.id,
        value=Judged(verdict=Verdict.GOOD if good else Verdict.BAD),
        comment="",
        source="ada",
        created_at=of.started_at,
    )


_AGREED = """
insert into dataset_items (tenant, item_id, dataset, operation_id, part, status, lineage, content_digest, shingles, created_at)
values ($1, $2, 'sorting', $2, 'training', 'agreed', '{}', $2, '{}', $3)
"""


async def test_a_plan_is_tried_on_an_open_alert_with_what_was_learned_since_it(pool: asyncpg.Pool) -> None:
    tries, store = PostgresImprovementStore(pool), PostgresDatasetStore(pool)
    now = datetime.now(UTC)
    await store.put(ACME, spec(), now, deeds.dataset_put(ACME, spec(), "ada"))
    plan = Plan(prompt="sort", dataset=DatasetName("sorting"), on_alert=True, minimum_new=2)
    await tries.put_plan(ACME, plan, now, deeds.plan_put(ACME, plan, "ada"))
    async with writing(pool, ACME) as connection:
        for n in range(5):
            await connection.execute(_AGREED, ACME, f"before_{n}", now - timedelta(seconds=60))
    await alert(pool, at=now - timedelta(seconds=30))
    assert await tries.alarmed() == []  # what was known before the alert is not about it
    async with writing(pool, ACME) as connection:
        for n in range(2):
            await connection.execute(_AGREED, ACME, f"since_{n}", now - timedelta(seconds=10))
    assert [(tenant, plan.prompt) for tenant, plan in await tries.alarmed()] == [(ACME, "sort")]
    plan = Plan(prompt="sort", dataset=DatasetName("sorting"))
    tried = Improvement(id=ImprovementId("imp_9"), tenant=ACME, plan=plan, state=Progress.DRAFTING, created_at=now, changed_at=now)
    await tries.start(tried, "")
    assert await tries.alarmed() == []  # under way
    held = await tries.claim(30)
    assert held is not None
    assert await tries.change(held, replace(tried, state=Progress.REFUSED), 0)
    assert await tries.alarmed() == []  # nothing new since
    async with writing(pool, ACME) as connection:
        await connection.execute("update alerts set status = 'resolved'")
        for n in range(9):
            await connection.execute(_AGREED, ACME, f"later_{n}", now + timedelta(seconds=10))
    assert await tries.alarmed() == []  # settled
