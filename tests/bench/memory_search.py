"""Memory at size: ingestion, search latency, and how much of the exact answer the approximate index finds.

The corpus is made up (memory_corpus): 100,000 passages by default, PLIMSOLL_BENCH_PASSAGES sets another number. Everything runs in this
process on real servers: the verbs of the service as its gRPC transport calls them, on the caller's side of no network.
"""

import asyncio
import os
import resource
import statistics
import time

from memory_corpus import Corpus
from memory_desk import MemoryDesk, memory_desk
from plimsoll_devstack.servers import Servers
from plimsoll_memory.domain.document import accept
from plimsoll_memory.domain.search import Configuration, SearchRequest
from results import Row

PASSAGES = int(os.environ.get("PLIMSOLL_BENCH_PASSAGES", "100000"))
TENANT, SMALL_TENANT, COLLECTION = "bench", "small", "made-up"
_A_DOCUMENT = 40  # passages
_AT_ONCE = 3
_SEARCHES, _WARM_UP = 400, 40
_COMPARED = 60


async def measure_search(servers: Servers) -> list[Row]:
    """Fill, let it learn and index, then ask one at a time."""
    corpus = Corpus(seed=1)
    async with memory_desk(servers) as desk:
        rate, growth = await _fill(desk, corpus, TENANT, PASSAGES)
        await _fill(desk, corpus, SMALL_TENANT, 100)
        started = time.perf_counter()
        await desk.tend()
        print(f"  learned and indexed in {time.perf_counter() - started:.0f} s")
        queries = [corpus.query() for _ in range(_SEARCHES)]
        times = [await _timed(desk, TENANT, query) for query in queries][_WARM_UP:]
        small = statistics.mean([await _recall(desk, SMALL_TENANT, query) for query in queries[:_COMPARED]])
        large = statistics.mean([await _recall(desk, TENANT, query) for query in queries[:_COMPARED]])
    median, p99 = statistics.median(times), sorted(times)[int(len(times) * 0.99)]
    return [
        Row(name="ingest-rate", value=rate, unit="passages/s", target=">= 500", passed=rate >= 500),
        Row(name="ingest-growth", value=growth, unit="MiB", target=""),
        Row(name="search-median", value=median, unit="ms", target="<= 20", passed=median <= 20),
        Row(name="search-p99", value=p99, unit="ms", target="<= 60", passed=p99 <= 60),
        Row(name="recall-small-tenant", value=small, unit="", target=">= 0.95", passed=small >= 0.95),
        Row(name="recall-of-index", value=large, unit="", target=">= 0.95", passed=large >= 0.95),
    ]


async def _fill(desk: MemoryDesk, corpus: Corpus, tenant: str, passages: int) -> tuple[float, float]:
    """Passages a second, and by how many MiB this process grew after the first tenth."""
    numbers = iter(range(passages // _A_DOCUMENT or 1))
    size, grown_from = min(_A_DOCUMENT, passages), 0.0

    async def work() -> None:
        nonlocal grown_from
        for number in numbers:
            text = "\n\n".join(corpus.passage() + "." for _ in range(size))
            incoming = accept(
                collection=COLLECTION, source=f"{number}.txt", media_type="text/plain", content=text.encode(),
                metadata={"team": f"t{number % 100}"}, limit_bytes=1 << 24,
            )  # fmt: skip
            await desk.verbs.memory.ingest(tenant, incoming)
            if number == passages // _A_DOCUMENT // 10:
                grown_from = _resident_mib()

    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(_AT_ONCE):
            group.create_task(work())
    seconds = time.perf_counter() - started
    collections = await desk.verbs.memory.list_collections(tenant)
    return collections[0].chunks / seconds, _resident_mib() - grown_from


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
