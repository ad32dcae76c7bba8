"""Every stored operation reaches the collector, whatever becomes of the collector meanwhile."""

from collections.abc import AsyncIterator
from dataclasses import replace

import asyncpg
import pytest
from feedback_running import Outage, running, settled
from feedback_samples import ACME, UMBRELLA, failure, operation, run
from plimsoll_feedback.adapters.otlp import OtlpCollector
from plimsoll_feedback.adapters.postgres_feed import PostgresOperationFeed
from plimsoll_feedback.adapters.postgres_operations import PostgresOperationStore
from plimsoll_feedback.adapters.postgres_session import MIGRATIONS
from plimsoll_feedback.adapters.postgres_surroundings import PostgresSurroundings
from plimsoll_feedback.config import ExportSettings, Settings
from plimsoll_feedback.domain.operation import OperationId, OperationKind
from plimsoll_feedback.domain.spans import Profile
from plimsoll_feedback.service.exporting import Exporting
from plimsoll_feedback.transport.codec import signal_recorded
from plimsoll_runtime import logs
from plimsoll_runtime.errors import Unavailable
from plimsoll_runtime.ids import RandomIds
from plimsoll_runtime.outbox import OUTBOX_MIGRATIONS
from plimsoll_runtime.postgres import migrate, open_pool
from plimsoll_runtime.settings import PostgresSettings, Secret
from plimsoll_testkit.otlp import OtlpReceiver, otlp_receiver
from plimsoll_testkit.waiting import eventually

LOOPBACK = ("127.0.0.0/8",)


@pytest.fixture
async def receiver() -> AsyncIterator[OtlpReceiver]:
    async with otlp_receiver() as receiver:
        yield receiver


@pytest.fixture
async def pool(postgres_dsn: str) -> AsyncIterator[asyncpg.Pool]:
    async with open_pool(PostgresSettings(dsn=Secret(postgres_dsn)), "feedback") as pool:
        await migrate(pool, "feedback", [OUTBOX_MIGRATIONS, MIGRATIONS])
        yield pool


@pytest.fixture
def store(pool: asyncpg.Pool) -> PostgresOperationStore:
    return PostgresOperationStore(pool, signal_recorded)


@pytest.fixture
async def exporting(pool: asyncpg.Pool, receiver: OtlpReceiver) -> AsyncIterator[Exporting]:
    wanted = ExportSettings(url=receiver.url, headers=Secret("x-api-key=k1, Langsmith-Project=p"), networks=LOOPBACK)
    async with OtlpCollector.opened(wanted.rules, wanted.url, wanted.header_map) as collector:
        yield exporter(pool, collector, [])


def exporter(pool: asyncpg.Pool, collector: OtlpCollector, counts: list[tuple[int, int]], settle_s: float = 0.0) -> Exporting:
    return Exporting(
        PostgresOperationFeed(pool),
        PostgresSurroundings(pool),
        collector,
        RandomIds(),
        logs.get("feedback"),
        profile=Profile.LANGFUSE,
        settle_s=settle_s,
        told=lambda taken, refused: counts.append((taken, refused)),
    )


async def everything(exporting: Exporting) -> None:
    await settled(exporting._feed._pool)
    while await exporting.export():
        pass


async def test_a_run_arrives_as_a_tree_with_what_is_known_of_it(
    store: PostgresOperationStore, exporting: Exporting, receiver: OtlpReceiver
) -> None:
    step = replace(operation(3, kind=OperationKind.TRANSITION), id=OperationId("run_1.3"))
    end = replace(operation(9, kind=OperationKind.RUN), id=OperationId("run_1.9"), facts={"status": "succeeded", "steps": 2})
    call = replace(operation(2, kind=OperationKind.MODEL_CALL, failed=failure()), name="small-1")
    await store.record([step, end, call], [replace(run(), thread_id="thr_1")])
    await everything(exporting)
    spans = {span.name: span for span in receiver.spans}
    assert spans["chat small-1"].parent_span_id == spans["step lookup"].span_id
    assert spans["step lookup"].parent_span_id == spans["invoke_agent support"].span_id
    assert spans["chat small-1"].status.code == 2
    assert [event.name for event in spans["chat small-1"].events] == ["exception"]
    assert receiver.attributes("chat small-1")["langfuse.session.id"] == "thr_1"
    assert (receiver.headers["x-api-key"], receiver.headers["langsmith-project"]) == ("k1", "p")


async def test_each_operation_of_every_tenant_is_exported_once(
    store: PostgresOperationStore, exporting: Exporting, receiver: OtlpReceiver
) -> None:
    await store.record([operation(number) for number in range(1200)], [])
    await store.record([operation(number, tenant=UMBRELLA) for number in range(5)], [])
    await everything(exporting)
    await store.record([operation(number) for number in range(1210)], [])
    await everything(exporting)
    assert len(receiver.spans) == len({span.span_id for span in receiver.spans}) == 1215


async def test_a_collector_that_is_away_loses_nothing_and_another_replica_goes_on(
    store: PostgresOperationStore, pool: asyncpg.Pool, exporting: Exporting, receiver: OtlpReceiver
) -> None:
    await store.record([operation(number) for number in range(10)], [])
    await settled(pool)
    for status in (503, 429, 401, 404):
        receiver.status = status
        with pytest.raises(Unavailable):
            await exporting.export()
    receiver.status = 200
    await pool.execute("update cursors set held_until = now() - interval '1 s'")  # as when the first one was killed
    wanted = ExportSettings(url=receiver.url, networks=LOOPBACK)
    async with OtlpCollector.opened(wanted.rules, wanted.url, {}) as collector:
        await everything(exporter(pool, collector, []))
    assert len({span.span_id for span in receiver.spans}) == 10


async def test_a_span_that_is_refused_holds_up_no_other(store: PostgresOperationStore, pool: asyncpg.Pool, receiver: OtlpReceiver) -> None:
    receiver.unfit = lambda span: any(pair.value.string_value == "op_0013_tool_call" for pair in span.attributes)
    await store.record([operation(number) for number in range(40)], [])
    counts: list[tuple[int, int]] = []
    wanted = ExportSettings(url=receiver.url, networks=LOOPBACK)
    async with OtlpCollector.opened(wanted.rules, wanted.url, {}) as collector:
        await everything(exporter(pool, collector, counts))
    assert counts == [(39, 1)]
    assert len(receiver.spans) == 39


async def test_an_operation_waits_until_its_step_may_be_known(
    store: PostgresOperationStore, pool: asyncpg.Pool, receiver: OtlpReceiver
) -> None:
    await store.record([operation(1)], [])
    wanted = ExportSettings(url=receiver.url, networks=LOOPBACK)
    async with OtlpCollector.opened(wanted.rules, wanted.url, {}) as collector:
        assert not await exporter(pool, collector, [], settle_s=60.0).export()
    assert receiver.requests == 0


async def test_a_service_whose_collector_is_away_goes_on_storing(settings: Settings, outage: Outage, pool: asyncpg.Pool) -> None:
    dead = replace(settings, export=ExportSettings(url="http://127.0.0.1:9/v1/traces", networks=LOOPBACK, settle_s=0.0))
    async with running(dead) as feedback:
        store = PostgresOperationStore(pool, signal_recorded)
        await store.record([operation(number) for number in range(10)], [run()])
        assert await pool.fetchval("select name from cursors where name = 'export'") or await eventually(
            lambda: pool.fetchval("select name from cursors where name = 'export'")
        )
        assert feedback.app.metrics.registry.get_sample_value("plimsoll_feedback_exported_spans_total", {"outcome": "taken"}) in (None, 0)
    assert await store.has_run(ACME, run().id)
