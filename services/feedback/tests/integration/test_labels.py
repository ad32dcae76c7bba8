"""Labels that are given afterwards are stored once, shown in the trace, and counted; a person's word wins."""

from collections.abc import AsyncIterator
from dataclasses import replace

import asyncpg
import pytest
from feedback_behaviour import ALL_DAY
from feedback_running import settled
from feedback_samples import ACME, UMBRELLA, failure, operation, run, signal
from plimsoll_feedback.adapters.postgres_feed import PostgresOperationFeed, PostgresSignalFeed
from plimsoll_feedback.adapters.postgres_labels import PostgresLabelStore
from plimsoll_feedback.adapters.postgres_operations import PostgresOperationStore
from plimsoll_feedback.adapters.postgres_session import MIGRATIONS
from plimsoll_feedback.adapters.postgres_signals import PostgresSignalStore
from plimsoll_feedback.adapters.postgres_traces import PostgresTraceStore
from plimsoll_feedback.domain.body import Body
from plimsoll_feedback.domain.operation import Operation, OperationId, OperationKind, RunId
from plimsoll_feedback.domain.paging import PageRequest
from plimsoll_feedback.domain.signal import Demonstrated, Relabelled
from plimsoll_feedback.domain.trace import TraceFilter
from plimsoll_feedback.service.finding import FindingMistakes
from plimsoll_feedback.transport.codec import signal_recorded
from plimsoll_runtime import logs
from plimsoll_runtime.errors import Unavailable
from plimsoll_runtime.failures import Category
from plimsoll_runtime.ids import RandomIds
from plimsoll_runtime.outbox import OUTBOX_MIGRATIONS
from plimsoll_runtime.postgres import migrate, open_pool
from plimsoll_runtime.settings import PostgresSettings, Secret
from plimsoll_testkit.clock import FakeClock

RUN = RunId("run_1")


class KeptBodies:
    """Bodies by operation; without one its owner is away."""

    def __init__(self) -> None:
        self.kept: dict[str, Body] = {}

    async def of(self, tenant: str, operation: Operation) -> Body:
        if operation.id not in self.kept:
            raise Unavailable
        return self.kept[operation.id]


@pytest.fixture
async def pool(postgres_dsn: str) -> AsyncIterator[asyncpg.Pool]:
    async with open_pool(PostgresSettings(dsn=Secret(postgres_dsn)), "feedback") as pool:
        await migrate(pool, "feedback", [OUTBOX_MIGRATIONS, MIGRATIONS])
        yield pool


@pytest.fixture
def store(pool: asyncpg.Pool) -> PostgresOperationStore:
    return PostgresOperationStore(pool, signal_recorded)


@pytest.fixture
def signals(pool: asyncpg.Pool) -> PostgresSignalStore:
    return PostgresSignalStore(pool, signal_recorded)


@pytest.fixture
def bodies() -> KeptBodies:
    return KeptBodies()


@pytest.fixture
def finding(pool: asyncpg.Pool, bodies: KeptBodies, clock: FakeClock) -> FindingMistakes:
    feeds = PostgresOperationFeed(pool), PostgresSignalFeed(pool)
    return FindingMistakes(PostgresLabelStore(pool), *feeds, bodies, clock, RandomIds(), logs.get("feedback"))


async def look(finding: FindingMistakes) -> None:
    await settled(finding._store._pool)
    while await finding.follow_operations(settle_s=0.0) or await finding.follow_signals():
        pass


def step() -> list[Operation]:
    """A tool was refused, another one worked, the step ended well."""
    refused = replace(operation(2, failed=failure(Category.UPSTREAM_REJECTED, "NOT_FOUND")), name="find_account", step=1)
    worked = replace(operation(3), name="find_order", step=1)
    ended = replace(operation(5, kind=OperationKind.TRANSITION), id=OperationId("run_1.5"))
    return [refused, worked, ended]


async def counted(store: PostgresOperationStore) -> dict[str, int]:
    return {one.category.value: one.count for one in (await store.count_failures(ACME, ALL_DAY, None)).counts}


async def test_a_wrong_tool_is_found_shown_and_counted_once(
    store: PostgresOperationStore, finding: FindingMistakes, pool: asyncpg.Pool
) -> None:
    await store.record(step(), [run()])
    assert await counted(store) == {"upstream_rejected": 1}
    await look(finding)
    await pool.execute("delete from cursors")  # as if everything were looked at again
    await look(finding)
    page = await PostgresTraceStore(pool).get(ACME, RUN, PageRequest(size=10))
    assert page is not None
    [label] = [one for entry in page.entries for one in entry.findings]
    assert (label.category, label.operation_id) == (Category.WRONG_TOOL, step()[0].id)
    assert await counted(store) == {"wrong_tool": 1}
    [trace] = await PostgresTraceStore(pool).find(ACME, TraceFilter(category=Category.WRONG_TOOL), PageRequest(size=10))
    assert trace.categories == (Category.UPSTREAM_REJECTED, Category.WRONG_TOOL)


async def test_a_persons_word_wins_over_rule_and_reporter(
    store: PostgresOperationStore, finding: FindingMistakes, signals: PostgresSignalStore
) -> None:
    await store.record(step(), [run()])
    await look(finding)
    for number, category in ((1, Category.TOOL_ERROR), (2, Category.INVALID_ARGUMENTS)):
        await signals.record(signal(number, value=Relabelled(category=category), of=step()[0].id), None)
    assert await counted(store) == {"invalid_arguments": 1}


async def test_a_correction_of_a_failure_that_three_levels_report_counts_once(
    store: PostgresOperationStore, signals: PostgresSignalStore
) -> None:
    kinds = (OperationKind.TOOL_CALL, OperationKind.TRANSITION, OperationKind.RUN)
    reported = [operation(number, kind=kind, failed=failure()) for number, kind in enumerate(kinds)]
    await store.record([*reported, operation(7, run="run_2", failed=failure())], [run(), run("run_2")])
    await signals.record(signal(1, value=Relabelled(category=Category.WRONG_TOOL), of=reported[0].id), None)
    assert await counted(store) == {"timeout": 1, "wrong_tool": 1}
    await signals.record(signal(2, run="run_2", value=Relabelled(category=Category.WRONG_TOOL)), None)  # of the run as a whole
    assert (await counted(store))["timeout"] == 1  # run_2 has no operation of its own that ended it


async def test_the_correction_of_another_tenant_moves_nothing(store: PostgresOperationStore, signals: PostgresSignalStore) -> None:
    one = operation(1, failed=failure())
    await store.record([one], [run(), run(tenant=UMBRELLA)])
    await signals.record(signal(1, tenant=UMBRELLA, value=Relabelled(category=Category.WRONG_TOOL), of=one.id), None)
    assert await counted(store) == {"timeout": 1}


async def test_what_a_person_demonstrates_labels_the_call(
    store: PostgresOperationStore, finding: FindingMistakes, signals: PostgresSignalStore
) -> None:
    await store.record([operation(1)], [run()])
    await signals.record(signal(1, value=Demonstrated(answer={"tool": "find_order"}), of=operation(1).id), None)
    await look(finding)
    assert await counted(store) == {"wrong_tool": 1}


async def test_made_up_arguments_are_found_where_the_bodies_are_kept(
    store: PostgresOperationStore, finding: FindingMistakes, bodies: KeptBodies
) -> None:
    asked = replace(operation(1, kind=OperationKind.MODEL_CALL), step=1)
    called = replace(operation(2), step=1)
    bodies.kept[asked.id] = Body(owner="model-router", input={"messages": ["where is my parcel?"]})
    bodies.kept[called.id] = Body(owner="tool-dispatcher", input={"parcel": "PX-20931"})
    await store.record([asked, called, replace(operation(5, kind=OperationKind.TRANSITION), id=OperationId("run_1.5"))], [run()])
    await look(finding)
    assert await counted(store) == {"invalid_arguments": 1}


async def test_calls_that_judge_versions_are_not_counted(store: PostgresOperationStore) -> None:
    judged = replace(operation(1, run="", kind=OperationKind.MODEL_CALL, failed=failure()), facts={"purpose": "evaluation"})
    await store.record([judged], [])
    counts = await store.count_failures(ACME, ALL_DAY, None)
    assert (counts.counts, counts.operations) == ((), 0)
