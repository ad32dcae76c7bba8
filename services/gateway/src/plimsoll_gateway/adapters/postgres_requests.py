"""Requests with an idempotency key, in Postgres, on the database's clock."""

from datetime import timedelta

import asyncpg
from plimsoll_runtime.postgres import translating

from plimsoll_gateway.domain.repeat import RequestKey
from plimsoll_gateway.ports import Answered, Beginning, Begun, OtherRequest, UnderWay

KEPT = timedelta(hours=24)
_ACQUIRE_CAP_S = 3.0
_SWEEP = 1000

# Takes the key when nobody has it, when it is older than a day, or when the attempt that had it is over without an answer.
_BEGIN = """
insert into requests as r (tenant, key, fingerprint, attempt, leased_until)
values ($1, $2, $3, $4, now() + $5)
on conflict (tenant, key) do update
set fingerprint = excluded.fingerprint, attempt = excluded.attempt, leased_until = excluded.leased_until,
    answer = null, made_at = case when r.made_at < now() - $6::interval then now() else r.made_at end
where r.made_at < now() - $6::interval
   or (r.answer is null and r.leased_until < now() and r.fingerprint = excluded.fingerprint)
returning true
"""


class PostgresRequestLedger:
    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def begin(self, key: RequestKey, attempt: str, lease_s: float) -> Beginning:
        with translating():
            async with self._pool.acquire(timeout=_ACQUIRE_CAP_S) as connection:
                if await connection.fetchval(_BEGIN, key.tenant, key.key, key.fingerprint, attempt, timedelta(seconds=lease_s), KEPT):
                    return Begun()
                row = await connection.fetchrow(
                    "select fingerprint, answer from requests where tenant = $1 and key = $2", key.tenant, key.key
                )
        if row is None:  # let go of in between
            return UnderWay()
        if row["fingerprint"] != key.fingerprint:
            return OtherRequest()
        return UnderWay() if row["answer"] is None else Answered(row["answer"])

    async def hold(self, key: RequestKey, attempt: str, lease_s: float) -> None:
        await self._execute(
            "update requests set leased_until = now() + $4 where tenant = $1 and key = $2 and attempt = $3 and answer is null",
            key.tenant,
            key.key,
            attempt,
            timedelta(seconds=lease_s),
        )

    async def answer(self, key: RequestKey, attempt: str, answer: bytes) -> None:
        await self._execute(
            "update requests set answer = $4 where tenant = $1 and key = $2 and attempt = $3", key.tenant, key.key, attempt, answer
        )

    async def let_go(self, key: RequestKey, attempt: str) -> None:
        await self._execute(
            "delete from requests where tenant = $1 and key = $2 and attempt = $3 and answer is null", key.tenant, key.key, attempt
        )

    async def forget_old(self) -> int:
        with translating():
            async with self._pool.acquire(timeout=_ACQUIRE_CAP_S) as connection:
                gone = await connection.execute(
                    """
                    delete from requests where (tenant, key) in (
                        select tenant, key from requests where made_at < now() - $1::interval order by made_at limit $2 for update skip locked
                    )
                    """,
                    KEPT,
                    _SWEEP,
                )
        return int(gone.rpartition(" ")[2])

    async def _execute(self, statement: str, *values: object) -> None:
        with translating():
            async with self._pool.acquire(timeout=_ACQUIRE_CAP_S) as connection:
                await connection.execute(statement, *values)
