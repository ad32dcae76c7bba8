"""Conversations in Postgres keep the promises of the port, also when many speak at once."""

import asyncio

import asyncpg
import pytest
from memory_samples import ACME, NOON
from memory_thread_behaviour import ADA, TEN, ThreadStoreBehaviour, claim, request
from plimsoll_memory.adapters.postgres_threads import PostgresThreads
from plimsoll_testkit.ids import FakeIds


@pytest.fixture
def threads(pool: asyncpg.Pool, ids: FakeIds) -> PostgresThreads:
    return PostgresThreads(pool, ids, "english")


class TestPostgresThreads(ThreadStoreBehaviour):
    """All of the suite."""


async def test_fifty_identical_writes_at_once_are_one_memory(threads: PostgresThreads) -> None:
    one = claim("likes tea")
    async with asyncio.TaskGroup() as group:
        for number in range(50):
            told = request(key=f"k{number}", thread_id=f"th_{number % 5}", claims=[one])
            group.create_task(threads.remember(ACME, told, [one], (), NOON))
    (fact,) = await threads.facts(ACME, ADA, "", TEN, superseded=True)
    assert fact.times == 50


async def test_one_key_sent_by_many_at_once_stores_once(threads: PostgresThreads) -> None:
    told = request("hello", "good day")
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(threads.remember(ACME, told, (), (), NOON)) for _ in range(10)]
    assert sum(task.result().changed for task in tasks) == 1
    assert (await threads.head(ACME, "th_1")).turns == 2


async def test_values_told_at_once_leave_one_that_holds_and_a_whole_chain(threads: PostgresThreads) -> None:
    async with asyncio.TaskGroup() as group:
        for number in range(8):
            one = claim(f"lives in town {number}", attribute="home")
            group.create_task(threads.remember(ACME, request(key="k", thread_id=f"th_{number}", claims=[one]), [one], (), NOON))
    facts = await threads.facts(ACME, ADA, "", TEN, superseded=True)
    assert len(facts) == 8
    assert sum(not fact.superseded_by for fact in facts) == 1
    assert len({fact.superseded_by for fact in facts}) == 8, "each was superseded by another"


async def test_requests_on_one_thread_at_once_are_numbered_without_a_gap(threads: PostgresThreads) -> None:
    async with asyncio.TaskGroup() as group:
        for number in range(10):
            group.create_task(threads.remember(ACME, request("a", "b", key=f"k{number}"), (), (), NOON))
    assert [turn.number for turn in await threads.latest(ACME, "th_1", tokens=1000)] == list(range(20, 0, -1))


async def test_a_thread_and_a_subject_are_capped(pool: asyncpg.Pool, ids: FakeIds) -> None:
    threads = PostgresThreads(pool, ids, "english", most_turns=5, most_facts=3)
    for number in range(4):
        both = [claim(f"number {number}"), claim(f"lives at {number}", attribute="home")]
        await threads.remember(ACME, request("a", "b", key=f"k{number}", claims=both), both, (), NOON)
    assert [turn.number for turn in await threads.latest(ACME, "th_1", tokens=1000)] == [8, 7, 6, 5, 4]
    kept = await threads.facts(ACME, ADA, "", TEN, superseded=True)
    assert len(kept) == 3
    assert not any(fact.superseded_by for fact in kept), "what no longer holds goes first"
