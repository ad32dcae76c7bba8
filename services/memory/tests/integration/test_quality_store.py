"""Query sets, searches and windows in Postgres: what is measured is what happened, and a drift is published once."""

from dataclasses import replace
from datetime import datetime, timedelta

import asyncpg
import pytest
from memory_samples import ACME, NOON, UMBRELLA, draft
from plimsoll.memory.v1 import memory_events_pb2
from plimsoll_memory.adapters.outbox_search_log import OutboxSearchLog
from plimsoll_memory.adapters.postgres_library import PostgresLibrary
from plimsoll_memory.adapters.postgres_quality import PostgresQuality, QualityEvents
from plimsoll_memory.domain.query_set import Judgement, LabelledQuery, QuerySet
from plimsoll_memory.domain.search import Receipt, SearchCompleted
from plimsoll_memory.transport.codec import search_completed
from plimsoll_memory.transport.quality_codec import quality_drifted, quality_measured
from plimsoll_runtime.errors import PlimsollError
from plimsoll_runtime.failures import Category, Failure
from plimsoll_runtime.work import WorkContext
from plimsoll_testkit.ids import FakeIds

HOUR = 3600
SET = QuerySet(
    name="set",
    collection="help",
    queries=(
        LabelledQuery(query_id="q1", query="tea", filter={"team": "a"}, judgements=(Judgement(source="a.md", grade=2, start=1, end=5),)),
    ),
)


@pytest.fixture
def quality(pool: asyncpg.Pool, ids: FakeIds) -> PostgresQuality:
    events = QualityEvents(
        measured=lambda tenant, window: quality_measured(ids.new("evt"), tenant, window),
        drifted=lambda tenant, drift, over: quality_drifted(ids.new("evt"), tenant, drift, over=over),
    )
    return PostgresQuality(pool, events, HOUR)


@pytest.fixture
def log(pool: asyncpg.Pool) -> OutboxSearchLog:
    return OutboxSearchLog(pool, search_completed, HOUR)


def search(
    number: int, at: datetime = NOON, *, returned: int = 5, similarity: float = 0.6, failure: Failure | None = None
) -> SearchCompleted:
    receipt = Receipt(
        search_id=f"search_{at.timestamp()}_{number}", requested=5, returned=returned, best_similarity=similarity * bool(returned), best_text_score=9.0
    )  # fmt: skip
    return SearchCompleted(
        event_id=f"evt_{at.timestamp()}_{number}", tenant=ACME, work=None, collection="help", receipt=receipt, started_at=at, duration_s=0.01,
        passages=tuple(f"c{one}" for one in range(returned)), failure=failure,
    )  # fmt: skip


async def subjects(pool: asyncpg.Pool, word: str) -> list[bytes]:
    return [row["payload"] for row in await pool.fetch("select payload from outbox where subject like $1 order by position", f"%{word}%")]


async def test_a_query_set_comes_back_as_it_was_put(quality: PostgresQuality) -> None:
    first = await quality.put_query_set(ACME, SET, NOON)
    assert (first.name, first.queries, first.judgements, first.digest) == ("set", 1, 1, SET.digest)
    assert await quality.find_query_set(ACME, "set") == SET
    changed = replace(SET, queries=())
    assert (await quality.put_query_set(ACME, changed, NOON)).digest != first.digest
    assert [one.queries for one in await quality.list_query_sets(ACME)] == [0]
    assert await quality.find_query_set(UMBRELLA, "set") is None
    assert await quality.list_query_sets(UMBRELLA) == []
    await quality.delete_query_set(UMBRELLA, "set")
    await quality.delete_query_set(ACME, "set")
    assert await quality.find_query_set(ACME, "set") is None


async def test_which_documents_are_there(quality: PostgresQuality, pool: asyncpg.Pool) -> None:
    await PostgresLibrary(pool).store(ACME, draft("one"))
    assert await quality.known_sources(ACME, "help", ["a.md", "b.md"]) == {"a.md"}
    assert await quality.known_sources(UMBRELLA, "help", ["a.md"]) == set()


async def test_the_passages_of_a_search_are_known_for_reports_of_their_use(
    quality: PostgresQuality, log: OutboxSearchLog, pool: asyncpg.Pool
) -> None:
    await PostgresLibrary(pool).store(ACME, draft("one", "two"))
    one = replace(search(1), passages=("doc_1.1.0", "gone"))
    await log.record(one)
    assert await quality.passages(ACME, one.receipt.search_id) == {"doc_1.1.0": "one", "gone": ""}
    assert await quality.passages(UMBRELLA, one.receipt.search_id) is None
    assert await quality.keep_use(ACME, one.receipt.search_id, ["gone", "other"], add=False) == 2
    assert await quality.keep_use(ACME, one.receipt.search_id, ["gone"], add=False) == 1
    assert await quality.keep_use(ACME, one.receipt.search_id, ["gone"], add=True) == 1, "the same again"
    assert await quality.keep_use(UMBRELLA, one.receipt.search_id, ["gone", "x"], add=True) == 0
    windows, _ = await quality.windows(ACME, "help", NOON + timedelta(minutes=5))
    assert (windows[-1].used.count, windows[-1].used.value) == (1, pytest.approx(0.2))


async def test_the_searches_of_a_run_are_known_together(quality: PostgresQuality, log: OutboxSearchLog, pool: asyncpg.Pool) -> None:
    await PostgresLibrary(pool).store(ACME, draft("one", "two"))
    work = WorkContext(run_id="run_1", step=1, node="look", agent="a", agent_version="v", epoch=1)
    first, second = (replace(search(number), passages=(f"doc_1.1.{number - 1}",), work=work) for number in (1, 2))
    for one in (first, second, replace(search(3), passages=("doc_1.1.0",))):
        await log.record(one)
    assert await quality.run_passages(ACME, "run_1") == {
        first.receipt.search_id: {"doc_1.1.0": "one"}, second.receipt.search_id: {"doc_1.1.1": "two"}
    }  # fmt: skip
    assert await quality.run_passages(UMBRELLA, "run_1") == await quality.run_passages(ACME, "run_2") == {}


async def test_a_window_tells_what_happened_in_it(quality: PostgresQuality, log: OutboxSearchLog, pool: asyncpg.Pool) -> None:
    failure = Failure(category=Category.TIMEOUT, reason="DATABASE_TIMEOUT", message="late")
    for number, one in enumerate((search(0), search(1, returned=0), search(2, returned=3), search(3, returned=0, failure=failure))):
        await log.record(replace(one, receipt=replace(one.receipt, skipped=("rerank: late",) if number == 0 else ())))
    assert await quality.close_windows(NOON + timedelta(minutes=59)) == [], "it is not over"
    await quality.close_windows(NOON + timedelta(minutes=60))
    (window,), _ = await quality.windows(ACME, "help", NOON + timedelta(minutes=61))
    assert (window.searches, window.empty, window.under_returned, window.failed, window.degraded) == (4, 0.25, 0.5, 0.25, 0.25)
    assert window.best_similarity.value == pytest.approx(0.6)
    (published,) = await subjects(pool, "quality.measured")
    event = memory_events_pb2.QualityMeasured.FromString(published)
    assert (event.tenant, event.window.collection, event.window.searches) == (ACME, "help", 4)
    await quality.close_windows(NOON + timedelta(minutes=62))
    assert len(await subjects(pool, "quality.measured")) == 1, "once"


async def test_a_drift_is_published_when_it_begins_and_when_it_is_over(
    quality: PostgresQuality, log: OutboxSearchLog, pool: asyncpg.Pool
) -> None:
    said: list[tuple[str, bool]] = []
    for hour in range(7):
        at = NOON + timedelta(hours=hour)
        for number in range(40):
            await log.record(search(number, at, returned=0 if hour in {4, 5} and number % 2 else 5))
        said += [(drift.signal, over) for drift, over in await quality.close_windows(at + timedelta(hours=1)) if drift.signal == "empty"]
        _, drifting = await quality.windows(ACME, "help", at + timedelta(hours=1))
        assert ("empty" in {drift.signal for drift in drifting}) == (hour in {4, 5})
    assert said == [("empty", False), ("empty", True)]
    events = [memory_events_pb2.QualityDrifted.FromString(one) for one in await subjects(pool, "quality.drifted")]
    assert [event.over for event in events if event.drift.signal == "empty"] == [False, True]


async def test_searches_older_than_a_week_are_forgotten(quality: PostgresQuality, log: OutboxSearchLog) -> None:
    old, new = search(1), search(2, NOON + timedelta(days=9))
    for one in (old, new):
        await log.record(one)
        await quality.close_windows(one.started_at + timedelta(hours=1))
    assert await quality.passages(ACME, old.receipt.search_id) is None
    assert await quality.passages(ACME, new.receipt.search_id) is not None


async def test_a_failed_search_is_published_and_one_that_could_not_be_is_owed(log: OutboxSearchLog, pool: asyncpg.Pool) -> None:
    failure = Failure(category=Category.UPSTREAM_UNAVAILABLE, reason="DATABASE_UNAVAILABLE", message="away", retryable=True)
    await pool.execute("alter table outbox rename to outbox_away")
    with pytest.raises(PlimsollError):
        await log.record(search(1, failure=failure))
    await pool.execute("alter table outbox_away rename to outbox")
    await log.record(search(2))
    events = [memory_events_pb2.SearchCompleted.FromString(one) for one in await subjects(pool, "search.completed")]
    assert [(event.failure.reason, event.failure.retryable) for event in events] == [("", False), ("DATABASE_UNAVAILABLE", True)]
