"""gRPC's own threads: they read the connections and hand to the event loop what came."""

import os
import sys
import threading
from contextlib import suppress
from pathlib import Path

OLDER = ("GRPC_EXPERIMENTS", "-event_engine_client,-event_engine_listener")
"""gRPC's event engine passes every read and write from thread to thread: its older poller answers a lone call in 0.36 ms instead of 0.48 ms.
A variable that gRPC reads when it starts, and without effect where it no longer knows these names."""

_POLLER = "_poll_wrapper"  # what grpc runs in its thread of Python, and so part of that thread's name
_NATIVE = frozenset({"event_engine", "lifeguard"})  # names of its other threads; the second makes more of the first, which take after it
_NICE, _LEAST = 15, 19
_TASKS = Path("/proc/self/task")


def let_events_gather() -> None:
    """On a single core, let gRPC's threads wait while the loop is busy: what comes meanwhile is handed over in one go. Call it once gRPC runs.

    With the same priority they interrupt the loop for every event, eight times a call, which takes a quarter of the processor's time. While
    the loop rests they run at once, as before; and with a second core they run beside the loop, and need no rule.
    """
    if sys.platform != "linux" or len(os.sched_getaffinity(0)) > 1:
        return
    nice = min(_LEAST, os.getpriority(os.PRIO_PROCESS, 0) + _NICE)
    for number in threads_of_grpc():
        with suppress(OSError):  # it has ended meanwhile
            os.setpriority(os.PRIO_PROCESS, number, nice)


def threads_of_grpc() -> frozenset[int]:
    """By the system's numbers; none where the system does not list threads."""
    pollers = {one.native_id for one in threading.enumerate() if _POLLER in one.name and one.native_id is not None}
    with suppress(OSError):
        pollers |= {int(task.name) for task in _TASKS.iterdir() if (task / "comm").read_text().strip() in _NATIVE}
    return frozenset(pollers)
