"""Memory at size: ingestion, search latency, and how much of the exact answer the approximate index finds.

The corpus is made up (memory_corpus): 100,000 passages by default, PLIMSOLL_BENCH_PASSAGES sets another number. Everything runs in this
process on real servers: the verbs of the service as its gRPC transport calls them, on the caller's side of no network.
"""

import asyncio
import os
import resource
import statistics
import sys
import time
from collections.abc import Sequence

from memory_corpus import Corpus
from memory_desk import MemoryDesk, memory_desk
from plimsoll_devstack.servers import Servers
from plimsoll_memory.domain.document import accept
from plimsoll_memory.domain.search import Configuration, SearchRequest
from plimsoll_memory.main import THREAD_SWITCH_S
from results import Row

PASSAGES = int(os.environ.get("PLIMSOLL_BENCH_PASSAGES", "100000"))
TENANT, SMALL_TENANT, COLLECTION = "bench", "small", "made-up"
_A_DOCUMENT = 40  # passages
_AT_ONCE = 3
_SEARCHES, _WARM_UP = 400, 40
_COMPARED = 60


async def measure_search(servers: Servers) -> list[Row]:
    """Fill with upkeep beside, wait until that has learned and indexed all, then ask one at a time."""
    sys.setswitchinterval(THREAD_SWITCH_S)
    corpus = Corpus(seed=1)
    async with memory_desk(servers) as desk:
        load = await _load(desk, corpus)
        await _fill(desk, _documents(corpus, 100), SMALL_TENANT)
        queries = [corpus.query() for _ in range(_SEARCHES)]
        times = [await _timed(desk, TENANT, query) for query in queries][_WARM_UP:]
        small = statistics.mean([await _recall(desk, SMALL_TENANT, query) for query in queries[:_COMPARED]])
        large = statistics.mean([await _recall(desk, TENANT, query) for query in queries[:_COMPARED]])
    median, p99 = statistics.median(times), sorted(times)[int(len(times) * 0.99)]
    return [
        *load,
        Row(name="search-median", value=median, unit="ms", target="<= 20", passed=median <= 20),
        Row(name="search-p99", value=p99, unit="ms", target="<= 60", passed=p99 <= 60),
        Row(name="recall-small-tenant", value=small, unit="", target=">= 0.95", passed=small >= 0.95),
        Row(name="recall-of-index", value=large, unit="", target=">= 0.95", passed=large >= 0.95),
    ]


async def _load(desk: MemoryDesk, corpus: Corpus) -> list[Row]:
    """How fast passages become searchable, and how fast all is done: learned, embedded anew and indexed."""
    documents = _documents(corpus, PASSAGES)
    grown_from, started = _resident_mib(), time.perf_counter()
    async with desk.tended():
        await _fill(desk, documents, TENANT)
        searchable_s = time.perf_counter() - started
    growth = _resident_mib() - grown_from
    await desk.tend()
    settled_s = time.perf_counter() - started
    (collection,) = await desk.verbs.memory.list_collections(TENANT)
    print(f"  {collection.chunks} passages searchable after {searchable_s:.0f} s; learned and indexed after {settled_s:.0f} s")
    rate = collection.chunks / searchable_s
    return [
        Row(name="ingest-rate", value=rate, unit="passages/s", target=">= 500", passed=rate >= 500),
        Row(name="ingest-settled-rate", value=collection.chunks / settled_s, unit="passages/s", target=""),
        Row(name="ingest-growth", value=growth, unit="MiB", target=""),
    ]


def _documents(corpus: Corpus, passages: int) -> list[str]:
    size = min(_A_DOCUMENT, passages)
    return ["\n\n".join(corpus.passage() + "." for _ in range(size)) for _ in range(passages // size)]


async def _fill(desk: MemoryDesk, documents: Sequence[str], tenant: str) -> None:
    """Several senders at once; returns when the last document is acknowledged, which is when a search finds it."""
    waiting = iter(enumerate(documents))

    async def work() -> None:
        for number, text in waiting:
            incoming = accept(
                collection=COLLECTION, source=f"{number}.txt", media_type="text/plain", content=text.encode(),
                metadata={"team": f"t{number % 100}"}, limit_bytes=1 << 24,
            )  # fmt: skip
            await desk.verbs.memory.ingest(tenant, incoming)

    async with asyncio.TaskGroup() as group:
        for _ in range(_AT_ONCE):
            group.create_task(work())


async def _timed(desk: MemoryDesk, tenant: str, query: str) -> float:
    started = time.perf_counter()
    await desk.verbs.searching.search(tenant, SearchRequest(collection=COLLECTION, query=query, limit=10, filter={}))
    return (time.perf_counter() - started) * 1e3


async def _recall(desk: MemoryDesk, tenant: str, query: str) -> float:
    """Of the ten nearest by vectors alone, the share that the search as it is configured finds."""

    async def nearest(configuration: Configuration) -> set[str]:
        request = SearchRequest(collection=COLLECTION, query=query, limit=10, filter={}, configuration=configuration)
        answer = await desk.verbs.searching.search(tenant, request)
        return {one.candidate.chunk_id for one in answer.passages}

    exact = await nearest(Configuration(text_weight=0, exact=True))
    return len(exact & await nearest(Configuration(text_weight=0))) / len(exact) if exact else 1.0


def _resident_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
