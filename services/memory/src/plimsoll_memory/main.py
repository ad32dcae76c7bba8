"""The composition root of memory."""

from contextlib import AsyncExitStack
from functools import partial

from plimsoll_runtime import logs
from plimsoll_runtime.bus import open_bus, service_stream
from plimsoll_runtime.clock import SystemClock
from plimsoll_runtime.ids import RandomIds
from plimsoll_runtime.lifecycle import App, run_service
from plimsoll_runtime.metrics import Metrics
from plimsoll_runtime.outbox import OUTBOX_MIGRATIONS, OutboxRelay
from plimsoll_runtime.postgres import migrate, open_pool, ping
from plimsoll_runtime.rpc_server import PeerCertificates, RpcServer

from plimsoll_memory.adapters.hashing_embedder import HashingEmbedder
from plimsoll_memory.adapters.outbox_search_log import OutboxSearchLog
from plimsoll_memory.adapters.postgres_index import PostgresPassageIndex, index_is_usable
from plimsoll_memory.adapters.postgres_library import PostgresLibrary
from plimsoll_memory.adapters.reader import ProcessReader, ReadingLimits
from plimsoll_memory.adapters.tenancy import MIGRATIONS
from plimsoll_memory.config import Settings
from plimsoll_memory.domain.chunking import ChunkPlan
from plimsoll_memory.service import Defaults, Memory
from plimsoll_memory.transport.codec import search_completed
from plimsoll_memory.transport.grpc import memory_rpcs

NAME = "memory"
CALLERS = frozenset({"gateway", "orchestrator"})


async def build(settings: Settings, stack: AsyncExitStack) -> App:
    """Resources in order, then what stands on them. Raises Unavailable while one of them is away."""
    log = logs.get(NAME)
    metrics = Metrics()

    pool = await stack.enter_async_context(open_pool(settings.postgres, NAME, application=NAME))
    bus = await stack.enter_async_context(open_bus(settings.nats, NAME, metrics))
    await migrate(pool, NAME, [OUTBOX_MIGRATIONS, MIGRATIONS])
    if not await index_is_usable(pool):
        log.warning("search.unindexed", {"remedy": "see 'Full text under row-level security' in the README"})

    plan = ChunkPlan(target=settings.passage.target, limit=settings.passage.limit, overlap=settings.passage.overlap)
    embedder = HashingEmbedder()
    memory = Memory(
        library=PostgresLibrary(pool),
        index=PostgresPassageIndex(pool),
        reader=ProcessReader(plan, _limits(settings), log),
        embedders={embedder.name: embedder},
        search_log=OutboxSearchLog(pool, search_completed),
        defaults=Defaults(embedder=embedder.name, language=settings.language, recipe=plan.recipe),
        clock=SystemClock(),
        ids=RandomIds(),
    )
    relay = OutboxRelay(pool, bus, service_stream(NAME), log)
    authenticate = PeerCertificates(CALLERS, insecure=settings.server.insecure)
    return App(
        name=NAME,
        metrics=metrics,
        pings={"postgres": partial(ping, pool), "nats": bus.ping},
        servers=[RpcServer(settings.server, [memory_rpcs(memory, settings.reader.limit_bytes, log)], authenticate, metrics, log)],
        loops={"relay the outbox": relay.run},
    )


def main() -> None:
    """Run until told to stop."""
    run_service(NAME, Settings, build)


def _limits(settings: Settings) -> ReadingLimits:
    reader = settings.reader
    return ReadingLimits(
        seconds=reader.cap_s,
        memory_mib=reader.memory_mib,
        most_pages=reader.most_pages,
        most_passages=reader.most_passages,
        processes=reader.processes,
    )
