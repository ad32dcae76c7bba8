"""gRPC's poller: a thread of its own that reads the connections and hands to the event loop what came."""

import os
import sys
import threading
from contextlib import suppress

OLDER = ("GRPC_EXPERIMENTS", "-event_engine_client,-event_engine_listener")
"""gRPC's event engine passes every read and write from thread to thread: its older poller answers a lone call in 0.36 ms instead of 0.48 ms.
A variable that gRPC reads when it starts, and without effect where it no longer knows these names."""

_THREAD = "_poll_wrapper"  # what grpc runs in it, and so part of the thread's name
_NICE = 10


def let_events_gather() -> None:
    """Let the poller wait while the loop is busy: what comes meanwhile is handed over in one go. Call it once gRPC has started.

    With the same priority it interrupts the loop for every event, four times a call, which takes a quarter of the processor's time on one
    core. While the loop is idle the poller runs at once, as before. Where threads have no priorities of their own nothing changes.
    """
    if sys.platform != "linux":
        return
    for thread in threading.enumerate():
        if _THREAD in thread.name and thread.native_id is not None:
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, thread.native_id, os.getpriority(os.PRIO_PROCESS, 0) + _NICE)
