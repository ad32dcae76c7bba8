"""Bulkheads."""

import asyncio

import pytest
from plimsoll_tool_dispatcher.bulkhead import Bulkheads, Full


async def test_a_slot_that_does_not_come_free_in_time_is_refused() -> None:
    bulkheads = Bulkheads()
    async with bulkheads.slot("a", 1, 1.0):
        with pytest.raises(Full):
            async with bulkheads.slot("a", 1, 0.001):
                pass


async def test_bulkheads_are_independent() -> None:
    bulkheads = Bulkheads()
    async with bulkheads.slot("a", 1, 1.0), bulkheads.slot("b", 1, 0.001):
        pass


async def test_a_slot_is_free_again_after_an_error_and_after_a_cancelled_wait() -> None:
    bulkheads = Bulkheads()
    with pytest.raises(ZeroDivisionError):
        async with bulkheads.slot("a", 1, 1.0):
            raise ZeroDivisionError
    async with bulkheads.slot("a", 1, 1.0):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001), bulkheads.slot("a", 1, 10.0):
                pass
    async with bulkheads.slot("a", 1, 0.001):
        pass


async def test_an_unused_bulkhead_is_forgotten() -> None:
    bulkheads = Bulkheads()
    async with bulkheads.slot("a", 1, 1.0):
        assert bulkheads._bulkheads
    assert not bulkheads._bulkheads
