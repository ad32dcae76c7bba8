"""The waiting work, counted in PostgreSQL by the index that claims go by."""

import asyncpg
from plimsoll_runtime.postgres import translating

from plimsoll_orchestrator.ports.load import Load, TenantLoad

COUNTED_MOST = 200_000
_TENANTS = 100
_WINDOW_S = 10

_WAITING = """
select tenant, count(*) as waiting, extract(epoch from now() - min(wake_at))::float8 as oldest
from (select tenant, wake_at from runs where wake_at <= now() and worker is null limit $1) ready
group by tenant order by waiting desc, tenant
"""
_FINISHED = "select count(*) from runs where finished_at > now() - make_interval(secs => $1)"


class PostgresLoadGauge:
    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def read(self) -> Load:
        with translating():
            rows = await self._pool.fetch(_WAITING, COUNTED_MOST)
            finished = await self._pool.fetchval(_FINISHED, float(_WINDOW_S))
        return Load(
            waiting=sum(row["waiting"] for row in rows),
            oldest_wait_s=max((row["oldest"] for row in rows), default=0.0),
            finished_per_s=finished / _WINDOW_S,
            tenants=[TenantLoad(tenant=row["tenant"], waiting=row["waiting"]) for row in rows[:_TENANTS]],
        )
