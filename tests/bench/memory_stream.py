"""Memory's own memory while a document of a gigabyte comes in as a stream: the service as a process, and its readers and learners beside it.

PLIMSOLL_BENCH_INGEST_MB sets another size, from about 20 on: a gigabyte is 1.35 million passages, an hour and more. The
slope is that of the second half: learners and pools have come up by then. The text is made up, each passage once; upkeep learns and
indexes meanwhile, as it would.
"""

import asyncio
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass

from memory_corpus import Corpus
from plimsoll.memory.v1 import memory_service_pb2 as pb
from plimsoll.memory.v1 import memory_service_pb2_grpc as rpc
from plimsoll_devstack.servers import Servers
from plimsoll_runtime.context import acting_for
from plimsoll_runtime.errors import PlimsollError
from plimsoll_runtime.rpc_client import call, open_channel, stream
from plimsoll_runtime.settings import TlsSettings
from results import Row

MEGABYTES = int(os.environ.get("PLIMSOLL_BENCH_INGEST_MB", "1000"))
STEP = 100 if MEGABYTES >= 500 else 25
TENANT, COLLECTION = "bench", "streamed"
_PIECE = 512 * 1024
_MOST_GROWTH_MIB = 64
_CAP_S = 3 * 3600.0


async def measure_memory(servers: Servers) -> list[Row]:
    """Resident MiB of the service along the way: flat when the last third is like the first. Its children end with their work."""
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{place.getsockname()[1]}"
    environ = {
        "PATH": os.environ["PATH"],
        "PLIMSOLL_MEMORY_INSECURE": "true",
        "PLIMSOLL_MEMORY_GRPC_LISTEN": address,
        "PLIMSOLL_MEMORY_POSTGRES_DSN": servers.postgres.dsn("memory"),
        "PLIMSOLL_MEMORY_NATS_URL": servers.nats.url("memory"),
        "PLIMSOLL_MEMORY_LOG_LEVEL": "WARNING",
    }
    with tempfile.TemporaryFile() as log:
        child = await asyncio.to_thread(
            subprocess.Popen, [sys.executable, "-m", "plimsoll_memory"], env=environ, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            with acting_for(TENANT):
                return await _stream(address, child.pid)
        finally:
            child.terminate()
            await asyncio.to_thread(child.wait)


async def _stream(address: str, pid: int) -> list[Row]:
    seen: list[_Sample] = []
    passages = 0
    async with open_channel(address, TlsSettings(), "memory") as channel:
        stub = rpc.MemoryServiceStub(channel)
        await _ready(stub)
        started = time.perf_counter()
        print(f"  idle: {_resident_mib(pid)[0]:.0f} MiB")
        async with aclosing(stream(stub.IngestDocuments, _requests(), cap_s=_CAP_S)) as answers:
            async for answer in answers:
                if answer.HasField("failure"):
                    raise RuntimeError(answer.failure.message)
                mark = answer.stored if answer.HasField("stored") else answer.progress
                own, children = _resident_mib(pid)
                megabytes = mark.offset / 1e6
                if seen and megabytes // STEP > seen[-1].megabytes // STEP:
                    pace = f"{mark.chunks} passages, {mark.chunks / (time.perf_counter() - started):.0f}/s"
                    print(f"  {megabytes:6.0f} MB, {pace}: {own:.0f} MiB, and {children:.0f} MiB in readers and learners", flush=True)
                seen.append(_Sample(megabytes, own))
                passages = mark.chunks
    rate = passages / (time.perf_counter() - started)
    return [*_judged(seen), Row(name="ingest-stream-rate", value=rate, unit="passages/s", target="")]


def _judged(seen: "list[_Sample]") -> list[Row]:
    resident = [one.resident for one in seen]
    third = max(1, len(resident) // 3)
    growth = max(resident[-third:]) - max(resident[:third])
    later = seen[len(seen) // 2 :]
    slope, _ = statistics.linear_regression([one.megabytes / 100 for one in later], [one.resident for one in later])
    return [
        Row(name="ingest-resident", value=max(resident), unit="MiB", target=""),
        Row(name="ingest-resident-growth", value=growth, unit="MiB", target=f"<= {_MOST_GROWTH_MIB}", passed=growth <= _MOST_GROWTH_MIB),
        Row(name="ingest-resident-slope", value=slope, unit="MiB/100 MB", target=""),
    ]


@dataclass(frozen=True)
class _Sample:
    """What was stored when the service had so many MiB resident."""

    megabytes: float
    resident: float


async def _ready(stub: "rpc.MemoryServiceAsyncStub") -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                await call(stub.ListCollections, pb.ListCollectionsRequest(), cap_s=2)
            except PlimsollError:
                await asyncio.sleep(0.2)
            else:
                return


async def _requests() -> AsyncIterator[pb.IngestDocumentsRequest]:
    corpus, draw = Corpus(seed=2), random.Random(2)
    known = [corpus.passage() for _ in range(5_000)]
    yield pb.IngestDocumentsRequest(
        header=pb.IngestHeader(collection=COLLECTION, source="stream.txt", media_type="text/plain", upload_key="bench")
    )
    sent, piece = 0, bytearray()
    while sent < MEGABYTES * 1_000_000:
        first, second = draw.choice(known), draw.choice(known)
        piece += f"Number {sent + len(piece)}. {first[: draw.randrange(200, 600)]} {second[draw.randrange(100) :]}.\n\n".encode()
        if len(piece) >= _PIECE:
            yield pb.IngestDocumentsRequest(content=bytes(piece))
            sent += len(piece)
            piece.clear()
    yield pb.IngestDocumentsRequest(end=pb.IngestEnd())


def _resident_mib(pid: int) -> tuple[float, float]:
    """Of a process, and of its children, in MiB."""
    listed = subprocess.run(["ps", "-e", "-o", "pid=,ppid=,rss="], capture_output=True, text=True, check=True).stdout
    rows = [tuple(map(int, line.split())) for line in listed.splitlines()]
    return sum(rss for own, _, rss in rows if own == pid) / 1024, sum(rss for _, parent, rss in rows if parent == pid) / 1024
