"""Batching: who shares a commit shares its cost, never its faults."""

import asyncio
from collections.abc import Sequence

import pytest
from plimsoll_runtime.batching import Batcher
from plimsoll_runtime.errors import Internal, Invalid, PlimsollError, Unavailable


async def outcomes(batcher: Batcher[int, int], items: Sequence[int]) -> list[int | BaseException]:
    async with batcher.running():
        return await asyncio.gather(*(batcher.submit(item) for item in items), return_exceptions=True)


@pytest.mark.parametrize("error", [Invalid(), Internal()])
async def test_an_item_that_cannot_be_done_fails_alone(error: PlimsollError) -> None:
    async def flush(batch: Sequence[int]) -> Sequence[int]:
        if 3 in batch:
            raise error
        return batch

    found = await outcomes(Batcher(flush, flushers=1), range(8))
    assert found == [0, 1, 2, error, 4, 5, 6, 7]


async def test_an_error_that_nobody_foresaw_ends_neither_the_flusher_nor_the_others_work() -> None:
    async def flush(batch: Sequence[int]) -> Sequence[int]:
        if 3 in batch:
            raise RecursionError("too deep")
        return batch

    batcher = Batcher(flush, flushers=1)
    async with batcher.running():
        found = await asyncio.gather(*(batcher.submit(item) for item in range(8)), return_exceptions=True)
        assert isinstance(found[3], Internal)
        assert [item for item in found if not isinstance(item, Internal)] == [0, 1, 2, 4, 5, 6, 7]
        assert await batcher.submit(9) == 9


async def test_a_batch_whose_outcome_is_unknown_is_not_done_again() -> None:
    flushed: list[list[int]] = []

    async def flush(batch: Sequence[int]) -> Sequence[int]:
        flushed.append(list(batch))
        raise Unavailable

    found = await outcomes(Batcher(flush, flushers=1), range(4))
    assert all(isinstance(item, Unavailable) for item in found)
    assert sorted(item for batch in flushed for item in batch) == [0, 1, 2, 3]


async def test_items_that_come_fast_wait_for_each_other_and_one_that_comes_alone_does_not() -> None:
    batches: list[int] = []

    async def flush(batch: Sequence[int]) -> Sequence[int]:
        batches.append(len(batch))
        return batch

    batcher: Batcher[int, int] = Batcher(flush, linger_s=0.02)
    async with batcher.running(), asyncio.TaskGroup() as group:
        assert await batcher.submit(0) == 0
        assert batches == [1]
        for number in range(200):  # as fast as a loop turns: far more than some within the time
            group.create_task(batcher.submit(number))
            await asyncio.sleep(0)
    assert len(batches) < 60
    assert sum(batches) == 201


async def test_callers_who_are_fewer_than_the_company_are_not_made_to_wait() -> None:
    async def flush(batch: Sequence[int]) -> Sequence[int]:
        return batch

    batcher: Batcher[int, int] = Batcher(flush, linger_s=60, company=10**9)

    async def caller() -> None:
        for number in range(50):
            assert await batcher.submit(number) == number

    async with asyncio.timeout(30), batcher.running(), asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(caller())


async def test_an_item_that_comes_alone_is_done_by_who_hands_it_in_and_what_comes_meanwhile_is_a_batch() -> None:
    by_task: list[tuple[bool, int]] = []
    go_on = asyncio.Event()

    async def flush(batch: Sequence[int]) -> Sequence[int]:
        by_task.append((asyncio.current_task() is first, len(batch)))
        await go_on.wait()
        return batch

    batcher: Batcher[int, int] = Batcher(flush, flushers=1, at_once=True)
    async with batcher.running(), asyncio.TaskGroup() as group:
        first = group.create_task(batcher.submit(0))
        await asyncio.sleep(0)
        others = [group.create_task(batcher.submit(number)) for number in range(1, 4)]
        await asyncio.sleep(0)
        go_on.set()
    assert [first.result(), *(task.result() for task in others)] == [0, 1, 2, 3]
    assert by_task == [(True, 1), (False, 3)]


async def test_an_item_that_comes_alone_fails_with_an_error_of_ours() -> None:
    async def flush(batch: Sequence[int]) -> Sequence[int]:
        raise RecursionError("too deep")

    batcher: Batcher[int, int] = Batcher(flush, at_once=True)
    async with batcher.running():
        with pytest.raises(Internal):
            await batcher.submit(1)
        with pytest.raises(Internal):
            await batcher.submit(2)
