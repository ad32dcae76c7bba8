"""Followers of one run share a stream behind the door, and each still gets every entry once, in order, to the end."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

import pytest
from plimsoll.orchestrator.v1 import orchestrator_service_pb2 as pb
from plimsoll.orchestrator.v1 import run_events_pb2
from plimsoll_gateway.service.followers import Followers
from plimsoll_runtime import logs
from plimsoll_runtime.context import acting_for, current_caller
from plimsoll_runtime.errors import Unavailable
from plimsoll_testkit.waiting import eventually


class Journal:
    """A run's journal that grows, and those who read it behind the door."""

    def __init__(self) -> None:
        self.length, self.ended, self.broken = 0, False, False
        self.tenants: list[str] = []
        self.changed = asyncio.Condition()

    async def add(self, entries: int = 1, *, ended: bool = False, broken: bool = False) -> None:
        async with self.changed:
            self.length, self.ended, self.broken = self.length + entries, ended, broken
            self.changed.notify_all()

    async def follow_run(self, request: pb.FollowRunRequest) -> AsyncGenerator[pb.FollowRunResponse, None]:
        self.tenants.append(current_caller().tenant)
        seq = request.after_seq
        try:
            while True:
                async with self.changed:
                    while not (self.length > seq or self.ended or self.broken):
                        await self.changed.wait()
                if self.broken:
                    raise Unavailable
                if self.length == seq:
                    return
                seq += 1
                yield pb.FollowRunResponse(event=run_events_pb2.RunEvent(seq=seq))
        finally:
            self.tenants.pop()


@pytest.fixture
def journal() -> Journal:
    return Journal()


@pytest.fixture
async def followers(journal: Journal) -> AsyncIterator[Followers]:
    made, stop = Followers(journal, logs.get("test")), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(made.carry(stop))
        yield made
        stop.set()


async def read(followers: Followers, got: list[int], *, after: int = 0, tenant: str = "acme", gate: asyncio.Event | None = None) -> None:
    with acting_for(tenant):
        async with aclosing(followers.follow("run_1", after)) as entries:
            async for entry in entries:
                got.append(entry.event.seq)
                if gate is not None:
                    await gate.wait()


async def test_many_followers_of_a_run_cost_two_streams_and_each_gets_everything(followers: Followers, journal: Journal):
    got: list[list[int]] = [[] for _ in range(50)]
    await journal.add(3)
    async with asyncio.TaskGroup() as group:
        for number, mine in enumerate(got):
            group.create_task(read(followers, mine, after=number % 3))
        await eventually(lambda: all(mine and mine[-1] == 3 for mine in got) and len(journal.tenants) == 2)
        for _ in range(20):
            await journal.add()
        await eventually(lambda: all(mine[-1] == 23 for mine in got))
        await journal.add(ended=True)
    assert got == [list(range(1 + number % 3, 25)) for number in range(50)]
    assert journal.tenants == []


async def test_a_shared_stream_that_breaks_is_told_to_each_by_its_own(followers: Followers, journal: Journal):
    await journal.add(1)
    got: list[list[int]] = [[] for _ in range(5)]
    told: list[int] = []

    async def part(number: int) -> None:
        with pytest.raises(Unavailable):
            await read(followers, got[number])
        told.append(number)

    async with asyncio.TaskGroup() as group:
        for number in range(5):
            group.create_task(part(number))
        await eventually(lambda: all(got) and len(journal.tenants) == 2)
        await journal.add(0, broken=True)
    assert sorted(told) == [0, 1, 2, 3, 4]


async def test_a_slow_follower_goes_on_alone_and_misses_nothing(followers: Followers, journal: Journal):
    await journal.add(1)
    quick, other, slow, gate = [], [], [], asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(read(followers, quick))
        group.create_task(read(followers, other))
        await eventually(lambda: quick and other)
        group.create_task(read(followers, slow, gate=gate))
        await eventually(lambda: bool(slow))
        for _ in range(300):
            await journal.add()
        await eventually(lambda: other[-1] == 301)
        gate.set()
        await eventually(lambda: slow[-1] == 301)
        await journal.add(ended=True)
    assert quick == other == slow == list(range(1, 303))


async def test_the_last_to_leave_ends_the_shared_stream(followers: Followers, journal: Journal):
    await journal.add(1)
    got: list[list[int]] = [[] for _ in range(4)]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(read(followers, mine)) for mine in got]
        await eventually(lambda: all(got) and len(journal.tenants) == 2)
        for task in tasks:
            task.cancel()
    await eventually(lambda: journal.tenants == [])


async def test_followers_of_two_tenants_share_nothing(followers: Followers, journal: Journal):
    await journal.add(1)
    got: list[list[int]] = [[] for _ in range(6)]
    async with asyncio.TaskGroup() as group:
        for number, mine in enumerate(got):
            group.create_task(read(followers, mine, tenant="acme" if number % 2 else "other"))
        await eventually(lambda: all(got) and sorted(journal.tenants) == ["acme", "acme", "other", "other"])
        await journal.add(ended=True)
    assert got == [[1, 2]] * 6
