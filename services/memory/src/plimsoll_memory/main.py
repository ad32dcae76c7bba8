"""The composition root of memory."""

import sys
from contextlib import AsyncExitStack
from functools import partial

import asyncpg
from plimsoll_runtime import logs
from plimsoll_runtime.bus import open_bus, service_stream
from plimsoll_runtime.clock import SystemClock
from plimsoll_runtime.ids import Ids, RandomIds
from plimsoll_runtime.lifecycle import App, run_service
from plimsoll_runtime.metrics import Metrics
from plimsoll_runtime.outbox import OUTBOX_MIGRATIONS, OutboxRelay
from plimsoll_runtime.postgres import migrate, open_pool, ping, upgrade
from plimsoll_runtime.rpc_server import EVERY_METHOD, PeerCertificates, RpcServer

from plimsoll_memory.adapters.allocator import give_memory_back
from plimsoll_memory.adapters.learner import ProcessLearner
from plimsoll_memory.adapters.models import open_embedders, open_rerankers
from plimsoll_memory.adapters.outbox_search_log import OutboxSearchLog
from plimsoll_memory.adapters.postgres_index import PostgresPassageIndex, index_is_usable
from plimsoll_memory.adapters.postgres_library import PostgresLibrary
from plimsoll_memory.adapters.postgres_quality import PostgresQuality, QualityEvents
from plimsoll_memory.adapters.postgres_threads import PostgresThreads
from plimsoll_memory.adapters.postgres_uploads import PostgresUploads
from plimsoll_memory.adapters.postgres_workshop import PostgresWorkshop
from plimsoll_memory.adapters.reader import ProcessReader, ReadingLimits
from plimsoll_memory.adapters.tenancy import MIGRATIONS
from plimsoll_memory.config import Settings
from plimsoll_memory.domain.chunking import ChunkPlan
from plimsoll_memory.domain.upkeep import Rules
from plimsoll_memory.ports import Embedders
from plimsoll_memory.service.conversations import Conversations
from plimsoll_memory.service.evaluating import Evaluating
from plimsoll_memory.service.memory import Defaults, Memory
from plimsoll_memory.service.searching import Searching
from plimsoll_memory.service.upkeep import Upkeep
from plimsoll_memory.service.uploads import Uploads
from plimsoll_memory.service.watching import Watching
from plimsoll_memory.transport.codec import search_completed
from plimsoll_memory.transport.grpc import Verbs, memory_rpcs
from plimsoll_memory.transport.quality_codec import quality_drifted, quality_measured

NAME = "memory"
TABLES = (OUTBOX_MIGRATIONS, MIGRATIONS)
CALLERS = {
    "gateway": EVERY_METHOD,
    "orchestrator": frozenset({"Search", "Remember", "ReadThread", "ReportUse"}),
    "tool-dispatcher": frozenset({"Search", "ListCollections"}),
}
THREAD_SWITCH_S = 0.0005
"""How long the event loop may wait for a thread that embeds or reads: at Python's own ten times that, ingestion is a fifth slower."""


async def build(settings: Settings, stack: AsyncExitStack) -> App:
    """Resources in order, then what stands on them. Raises Unavailable while one of them is away."""
    log = logs.get(NAME)
    metrics, ids = Metrics(), RandomIds()

    pool = await stack.enter_async_context(open_pool(settings.postgres, NAME, application=NAME))
    bus = await stack.enter_async_context(open_bus(settings.nats, NAME, metrics))
    await migrate(pool, NAME, TABLES)
    if not await index_is_usable(pool):
        log.warning("search.unindexed", {"remedy": "see 'Full text under row-level security' in the README"})
    embedders = await open_embedders(settings.embedders, settings.model_router_address, settings.server.tls, stack)

    verbs = assemble(settings, pool, embedders, ids, log)
    upkeep = Upkeep(workshop=PostgresWorkshop(pool), learner=ProcessLearner(log), embedders=embedders, rules=Rules(), log=log)
    relay = OutboxRelay(pool, bus, service_stream(NAME), log)
    authenticate = PeerCertificates(CALLERS, insecure=settings.server.insecure)
    rpcs = memory_rpcs(verbs, settings.reader.limit_bytes, log)
    return App(
        name=NAME,
        metrics=metrics,
        pings={"postgres": partial(ping, pool), "nats": bus.ping},
        servers=[RpcServer(settings.server, [rpcs], authenticate, metrics, log)],
        loops={"relay the outbox": relay.run, "keep collections up": upkeep.run, "watch quality": verbs.watching.run},
    )


def main() -> None:
    """Run until told to stop."""
    sys.setswitchinterval(THREAD_SWITCH_S)
    give_memory_back()
    run_service(NAME, Settings, build, upgrade=lambda settings: upgrade(settings.postgres, NAME, TABLES))


def assemble(settings: Settings, pool: asyncpg.Pool, embedders: Embedders, ids: Ids, log: logs.Log) -> Verbs:
    """The service on its adapters, without servers and loops."""
    passage, clock, library = settings.passage, SystemClock(), PostgresLibrary(pool)
    plan = ChunkPlan(target=passage.target, limit=passage.limit, overlap=passage.overlap)
    rerankers = open_rerankers(settings.rerankers)
    events = QualityEvents(
        measured=lambda tenant, window: quality_measured(ids.new("evt"), tenant, window),
        drifted=lambda tenant, drift, over: quality_drifted(ids.new("evt"), tenant, drift, over=over),
    )
    quality = PostgresQuality(pool, events, settings.quality_window_s)
    memory = Memory(
        library=library,
        reader=ProcessReader(plan, _limits(settings), log),
        embedders=embedders,
        rerankers=rerankers,
        defaults=Defaults(embedder=settings.embedder, language=settings.language, recipe=plan.recipe),
        clock=clock,
        ids=ids,
    )
    searching = Searching(
        library=library,
        index=PostgresPassageIndex(pool),
        embedders=embedders,
        rerankers=rerankers,
        search_log=OutboxSearchLog(pool, search_completed, settings.quality_window_s),
        rerank_cap_s=settings.rerank_cap_s,
        clock=clock,
        ids=ids,
        log=log,
    )
    return Verbs(
        memory=memory,
        searching=searching,
        uploads=Uploads(memory=memory, store=PostgresUploads(pool), limit_bytes=settings.reader.limit_bytes, clock=clock, ids=ids),
        conversations=Conversations(threads=PostgresThreads(pool, ids, settings.language), memory=memory, clock=clock, log=log),
        evaluating=Evaluating(store=quality, searching=searching, clock=clock),
        watching=Watching(store=quality, clock=clock, log=log),
    )


def _limits(settings: Settings) -> ReadingLimits:
    reader = settings.reader
    return ReadingLimits(
        seconds=reader.cap_s,
        memory_mib=reader.memory_mib,
        most_pages=reader.most_pages,
        most_passages=reader.most_passages,
        processes=reader.processes,
    )
