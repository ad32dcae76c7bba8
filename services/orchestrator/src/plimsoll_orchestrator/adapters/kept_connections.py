"""Connections that stay with whoever commits all the time: taking one from the pool for each commit takes a tenth of its time."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

ACQUIRE_CAP_S = 5.0
_MOST = 2  # as many as commit side by side


class KeptConnections:
    """Acquires as the pool does, and keeps what it is given back."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._idle: list[asyncpg.pool.PoolConnectionProxy] = []

    @classmethod
    @asynccontextmanager
    async def of(cls, pool: asyncpg.Pool) -> AsyncIterator["KeptConnections"]:
        kept = cls(pool)
        try:
            yield kept
        finally:
            while kept._idle:
                await pool.release(kept._idle.pop())

    @asynccontextmanager
    async def acquire(self, *, timeout: float = ACQUIRE_CAP_S) -> AsyncIterator[asyncpg.pool.PoolConnectionProxy]:
        connection = await self._take(timeout)
        try:
            yield connection
        except BaseException:  # whatever state it was left in is the pool's to mend
            await self._pool.release(connection)
            raise
        if len(self._idle) < _MOST:
            self._idle.append(connection)
        else:
            await self._pool.release(connection)

    async def fetch(self, statement: str, *arguments: object) -> list[asyncpg.Record]:
        async with self.acquire() as connection:
            rows: list[asyncpg.Record] = await connection.fetch(statement, *arguments)
        return rows

    async def _take(self, timeout: float) -> asyncpg.pool.PoolConnectionProxy:
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
            await self._pool.release(connection)
        return await self._pool.acquire(timeout=timeout)
