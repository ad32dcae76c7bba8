"""Collections to keep up: made-up texts of three subjects, and upkeep with rules as small as they are."""

import asyncio
import random
from dataclasses import replace

import asyncpg
from memory_samples import ACME, draft, question
from plimsoll_memory.adapters.learner import ProcessLearner
from plimsoll_memory.adapters.postgres_library import PostgresLibrary
from plimsoll_memory.adapters.postgres_workshop import PostgresWorkshop
from plimsoll_memory.adapters.tenancy import working_for
from plimsoll_memory.domain.document import Collection, Draft
from plimsoll_memory.domain.embedding import LATENT
from plimsoll_memory.domain.hashing import HashingSpace
from plimsoll_memory.domain.search import Question, VectorQuestion
from plimsoll_memory.domain.upkeep import Rules
from plimsoll_memory.ports import Embedder
from plimsoll_memory.service.upkeep import Upkeep
from plimsoll_runtime import logs
from plimsoll_testkit.waiting import eventually

SUBJECTS = {
    "sea": "harbour ship anchor sail captain crew deck storm tide wharf",
    "kitchen": "kettle oven flour butter spoon recipe bread cake sugar bowl",
    "garden": "rose spade seed soil hedge lawn tulip bulb rake compost",
}
SPACE = HashingSpace()
GO = asyncio.Event()


def texts(count: int, *, seed: int = 1) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(draw.sample(draw.choice(list(SUBJECTS.values())).split(), 5)) for _ in range(count)]


def hashed(*passages: str, source: str = "a.md", document_id: str = "doc_1", target: str = LATENT) -> Draft:
    vectors = tuple(SPACE.embed(one) for one in passages)
    made = draft(*passages, source=source, document_id=document_id, vectors=vectors, embedder="hashing-384-v1", title="")
    return replace(made, target=target)


def upkeep(pool: asyncpg.Pool, *embedders: Embedder, learn_from: int = 100, index_from: int = 1_000_000) -> Upkeep:
    return Upkeep(
        workshop=PostgresWorkshop(pool),
        learner=ProcessLearner(logs.get("memory")),
        embedders={one.name: one for one in embedders},
        rules=Rules(learn_from=learn_from, index_from=index_from),
        log=logs.get("memory"),
    )


async def collection(library: PostgresLibrary, tenant: str = ACME) -> Collection:
    found = await library.find_collection(tenant, "help")
    assert found is not None
    return found


def by_meaning(query: str, embedder: str, *, exact: bool = True, keep: int = 10, team: str = "") -> Question:
    vector = VectorQuestion(embedder=embedder, vector=None, floor=0.1, exact=exact)
    return replace(question(query, keep=keep, metadata={"team": team} if team else None), vector=vector, words=False)


async def vectors_by_embedder(pool: asyncpg.Pool) -> dict[str, int]:
    async with working_for(pool, ACME) as connection:
        return {
            row["embedder"]: row["count"] for row in await connection.fetch("select embedder, count(*) as count from embeddings group by 1")
        }


async def somebody_waits_for(connection: asyncpg.Connection, pool: asyncpg.Pool) -> None:
    """Return when another transaction waits for what this connection's holds."""
    pid = await connection.fetchval("select pg_backend_pid()")

    async def waits() -> bool:
        return bool(await pool.fetchval("select exists (select from pg_stat_activity where $1 = any (pg_blocking_pids(pid)))", pid))

    await eventually(waits)
