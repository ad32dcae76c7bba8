"""An inbox gives what was put into it, in order, and holds back whoever puts too much."""

import asyncio

import pytest
from plimsoll_gateway.service.inbox import Inbox


async def test_everything_arrives_once_and_in_order_and_never_more_waits_than_may():
    inbox, most = Inbox[int](3), 0

    async def write() -> None:
        for number in range(200):
            await inbox.put(number)

    async with asyncio.TaskGroup() as group:
        group.create_task(write())
        for number in range(200):
            assert await inbox.get() == number
            most = max(most, len(inbox))
            if number % 7 == 0:
                await asyncio.sleep(0)
    assert 0 < most <= 3
    assert len(inbox) == 0


async def test_a_reader_that_gives_up_loses_nothing():
    inbox = Inbox[str](1)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await inbox.get()
    inbox.add("kept")
    assert await inbox.get() == "kept"


async def test_a_reader_that_is_cancelled_in_the_moment_of_an_arrival_loses_nothing():
    inbox = Inbox[str](1)
    async with asyncio.TaskGroup() as group:
        reader = group.create_task(inbox.get())
        await asyncio.sleep(0)
        inbox.add("kept")
        reader.cancel()
    assert len(inbox) == 1
    assert inbox.take() == "kept"


async def test_a_writer_that_gives_up_adds_nothing():
    inbox = Inbox[int](1)
    await inbox.put(1)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await inbox.put(2)
    assert inbox.take() == 1
    await inbox.put(3)
    assert inbox.take() == 3


async def test_a_last_word_is_taken_above_the_bound():
    inbox = Inbox[str](1)
    await inbox.put("an entry")
    assert inbox.is_full
    inbox.add("the last word")
    assert [inbox.take(), inbox.take()] == ["an entry", "the last word"]
