"""How much is asked, by key and day, in Postgres."""

from collections.abc import Sequence
from datetime import date, datetime

import asyncpg
from plimsoll_runtime.postgres import translating

from plimsoll_gateway.ports import KeyUsage

_ACQUIRE_CAP_S = 3.0

_ADD = """
with counted as (
    select * from unnest($1::text[], $2::date[], $3::text[], $4::text[], $5::bigint[], $6::bigint[])
        as c (tenant, day, key_id, name, requests, refused)
), seen as (
    update api_keys k set last_used_at = greatest(k.last_used_at, $7)
    from (select distinct tenant, key_id from counted) c where k.tenant = c.tenant and k.key_id = c.key_id
)
insert into key_usage as u (tenant, day, key_id, name, requests, refused)
select tenant, day, key_id, name, requests, refused from counted order by tenant, day, key_id
on conflict (tenant, day, key_id) do update
set requests = u.requests + excluded.requests, refused = u.refused + excluded.refused, name = excluded.name
"""


class PostgresUsageStore:
    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def add(self, at: datetime, counts: Sequence[tuple[str, KeyUsage]]) -> None:
        with translating():
            async with self._pool.acquire(timeout=_ACQUIRE_CAP_S) as connection:
                await connection.execute(
                    _ADD,
                    [tenant for tenant, _ in counts],
                    [one.day for _, one in counts],
                    [one.key_id for _, one in counts],
                    [one.name for _, one in counts],
                    [one.requests for _, one in counts],
                    [one.refused for _, one in counts],
                    at,
                )

    async def of_tenant(self, tenant: str, since: date) -> Sequence[KeyUsage]:
        with translating():
            async with self._pool.acquire(timeout=_ACQUIRE_CAP_S) as connection:
                rows = await connection.fetch(
                    "select key_id, name, day, requests, refused from key_usage where tenant = $1 and day >= $2 order by day desc, key_id",
                    tenant,
                    since,
                )
        return [KeyUsage(**row) for row in rows]
