"""Runs the benchmarks: `make bench`, or `make bench ONLY=name`. Loads are bounded in count and stay on loopback."""

import argparse
import os
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import dispatcher
import durable_steps
import feedback
import front_door
import full_mesh
import loop
import memory_quality
import memory_search
import memory_split
import memory_stream
import model_router
import queues
import rehearsal
import standing
import uvloop
from plimsoll_devstack.servers import Servers, configure, running
from plimsoll_runtime import poller
from results import RESULTS, Row, keep, machine, show

Measure = Callable[[Servers], Awaitable[list[Row]]]
MEASURES: Mapping[str, Measure] = {
    "durable-steps": durable_steps.measure_throughput,
    "step-latency": durable_steps.measure_latency,
    "full-mesh": full_mesh.measure,
    "first-step": queues.measure_first_step,
    "queue-depth": queues.measure_queue_depth,
    "parked-runs": queues.measure_parked_runs,
    "storage-slope": queues.measure_storage,
    "dispatcher-latency": dispatcher.measure_latency,
    "dispatcher-throughput": dispatcher.measure_throughput,
    "dispatcher-decisions": dispatcher.measure_decisions,
    "dispatcher-isolation": dispatcher.measure_isolation,
    "dispatcher-ledger": dispatcher.measure_ledger,
    "dispatcher-validation": dispatcher.measure_validation,
    "router-latency": model_router.measure_latency,
    "router-throughput": model_router.measure_throughput,
    "router-streams": model_router.measure_streams,
    "router-memory": model_router.measure_memory,
    "retrieval-quality": memory_quality.measure_quality,
    "retrieval-split": memory_split.measure_split,
    "search-latency": memory_search.measure_search,
    "ingest-memory": memory_stream.measure_memory,
    "loop": loop.measure,
    "ingest-lag": feedback.measure_ingest,
    "trace-list": feedback.measure_lists,
    "rehearsal-quality": rehearsal.measure,
    "submit-rate": front_door.measure_submit,
    "rest-overhead": front_door.measure_overhead,
    "idle-streams": front_door.measure_streams,
    "noisy-neighbour": front_door.measure_neighbour,
    "overload-p99": front_door.measure_overload,
    "cold-start": standing.measure,
}


async def measure(only: str) -> list[Row]:
    """Start servers of their own, then take the measures one after the other."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="plimsoll-bench-") as folder:
        servers = configure(Path(folder))
        async with running(servers):
            for name, one in MEASURES.items():
                if only in {"", name}:
                    print(f"measuring {name} …", flush=True)
                    rows += await one(servers)
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--only", default="", choices=MEASURES, metavar="NAME", help="take one measure")
    arguments = parser.parse_args()
    os.environ.setdefault(*poller.OLDER)  # callers are services, and call as those do
    rows = uvloop.run(measure(arguments.only))
    print(machine())
    show(rows)
    keep(rows)
    print(f"kept in {RESULTS.parent.parent.name}/{RESULTS.parent.name}/{RESULTS.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
