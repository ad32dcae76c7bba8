"""The thread in which gRPC reads."""

import os
import sys
import threading

import pytest
from runtime_probe import asking, serving

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="threads have no priorities of their own")


async def test_the_poller_stands_back_behind_the_loop_and_nobody_else_does() -> None:
    async with serving() as served, asking(served.address):
        nice = {thread.name: os.getpriority(os.PRIO_PROCESS, thread.native_id) for thread in threading.enumerate() if thread.native_id}
        own = os.getpriority(os.PRIO_PROCESS, 0)
    pollers = {name: value for name, value in nice.items() if "_poll_wrapper" in name}
    assert pollers
    assert all(value == own + 10 for value in pollers.values()), nice
    assert all(value == own for name, value in nice.items() if name not in pollers), nice
