"""The threads in which gRPC reads."""

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from plimsoll_runtime.poller import threads_of_grpc
from runtime_probe import asking, serving

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="threads have no priorities of their own")


def nice_by_thread() -> dict[int, int]:
    numbers = [int(task.name) for task in Path("/proc/self/task").iterdir()]
    return {number: os.getpriority(os.PRIO_PROCESS, number) for number in numbers}


@pytest.fixture
def one_core() -> Iterator[None]:
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)
        with suppress(PermissionError):  # only root may take it back
            for number in threads_of_grpc():
                os.setpriority(os.PRIO_PROCESS, number, os.getpriority(os.PRIO_PROCESS, 0))


@pytest.mark.usefixtures("one_core")
async def test_on_one_core_the_threads_of_grpc_stand_back_behind_the_loop_and_nobody_else_does() -> None:
    async with serving() as served, asking(served.address):
        nice, theirs = nice_by_thread(), threads_of_grpc()
    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert len(theirs) > 1, "the poller, and those that have no name in Python"
    assert nice == {number: own + 15 if number in theirs else own for number in nice}


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2, reason="there is one core only")
async def test_on_several_cores_nobody_stands_back() -> None:
    async with serving() as served, asking(served.address):
        assert set(nice_by_thread().values()) == {os.getpriority(os.PRIO_PROCESS, 0)}
