"""Memory in this process, on real servers, for its benches: the service's own verbs and its upkeep, without a network between."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg
from plimsoll_devstack.servers import Servers
from plimsoll_memory.adapters.hashing_embedder import HashingEmbedder
from plimsoll_memory.adapters.learner import ProcessLearner
from plimsoll_memory.adapters.postgres_workshop import PostgresWorkshop
from plimsoll_memory.adapters.tenancy import MIGRATIONS
from plimsoll_memory.config import PassageSettings, ReaderSettings, Settings
from plimsoll_memory.domain.upkeep import Rules
from plimsoll_memory.main import assemble
from plimsoll_memory.service.upkeep import Upkeep
from plimsoll_memory.transport.grpc import Verbs
from plimsoll_runtime import logs
from plimsoll_runtime.ids import RandomIds
from plimsoll_runtime.outbox import OUTBOX_MIGRATIONS
from plimsoll_runtime.postgres import migrate, open_pool
from plimsoll_runtime.settings import NatsSettings, PostgresSettings, Secret, ServerSettings, TlsSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryDesk:
    verbs: Verbs
    upkeep: Upkeep
    pool: asyncpg.Pool

    @asynccontextmanager
    async def tended(self) -> AsyncIterator[None]:
        """With upkeep beside, as in the service: it learns, embeds anew and indexes while documents come."""
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(self.upkeep.run(stop))
            yield
            stop.set()

    async def tend(self) -> None:
        """Until every collection has learned what it can and has its index."""
        while await self.upkeep.tend_next(asyncio.Event()):
            pass


@asynccontextmanager
async def memory_desk(servers: Servers, passage: PassageSettings | None = None) -> AsyncIterator[MemoryDesk]:
    """With the settings that a new installation has, but for the passages' size where one is given."""
    settings = Settings(
        server=ServerSettings(tls=TlsSettings(), insecure=True),
        postgres=PostgresSettings(dsn=Secret(servers.postgres.dsn("memory"))),
        nats=NatsSettings(url=Secret(servers.nats.url("memory"))),
        reader=ReaderSettings(),
        passage=passage or PassageSettings(),
    )
    log = logs.get("bench")
    async with open_pool(settings.postgres, "memory") as pool:
        await migrate(pool, "memory", [OUTBOX_MIGRATIONS, MIGRATIONS])
        embedder = HashingEmbedder()
        embedders = {embedder.name: embedder}
        verbs = assemble(settings, pool, embedders, RandomIds(), log)
        upkeep = Upkeep(workshop=PostgresWorkshop(pool), learner=ProcessLearner(log), embedders=embedders, rules=Rules(), log=log)
        yield MemoryDesk(verbs=verbs, upkeep=upkeep, pool=pool)
