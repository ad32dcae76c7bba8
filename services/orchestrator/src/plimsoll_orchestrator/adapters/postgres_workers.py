"""The workers that are there, in PostgreSQL, on the database's clock."""

from collections.abc import Sequence

import asyncpg
from plimsoll_runtime.postgres import translating

from plimsoll_orchestrator.ports.workers import SeenWorker

_BEAT = """
with gone as (
    delete from workers where seen_at < now() - interval '1 day' and name <> $1
)
insert into workers (name, slots, held, version) values ($1, $2, $3, $4)
on conflict (name) do update set slots = excluded.slots, held = excluded.held, version = excluded.version, seen_at = now()
"""


class PostgresWorkers:
    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def beat(self, name: str, slots: int, held: int, version: str) -> None:
        with translating():
            await self._pool.execute(_BEAT, name, slots, held, version)

    async def seen(self, within_s: float) -> Sequence[SeenWorker]:
        with translating():
            rows = await self._pool.fetch(
                "select name, slots, held, version, seen_at from workers where seen_at > now() - make_interval(secs => $1) order by name",
                within_s,
            )
        return [SeenWorker(**row) for row in rows]
