"""Connections that stay with whoever asks all the time: taking one from the pool and giving it back costs a tenth of a short statement."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self

import asyncpg

_ACQUIRE_CAP_S = 5.0


class KeptConnections:
    """Runs statements on the pool's connections and keeps up to `most` of them between two. Use it as a context manager."""

    def __init__(self, pool: asyncpg.Pool, *, most: int) -> None:
        self._pool = pool
        self._most = most
        self._idle: list[asyncpg.pool.PoolConnectionProxy] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        while self._idle:
            await self._pool.release(self._idle.pop())

    async def fetch(self, statement: str, *arguments: object) -> list[asyncpg.Record]:
        """One statement, its own transaction. A connection on which it failed goes back: whatever state it is in is the pool's to mend."""
        connection = await self._take(_ACQUIRE_CAP_S)
        try:
            rows: list[asyncpg.Record] = await connection.fetch(statement, *arguments)
        except BaseException:
            await self._pool.release(connection)
            raise
        await self._keep(connection)
        return rows

    @asynccontextmanager
    async def acquire(self, *, timeout: float = _ACQUIRE_CAP_S) -> AsyncIterator[asyncpg.pool.PoolConnectionProxy]:
        """A connection for several statements, as from the pool."""
        connection = await self._take(timeout)
        try:
            yield connection
        except BaseException:
            await self._pool.release(connection)
            raise
        await self._keep(connection)

    async def _keep(self, connection: asyncpg.pool.PoolConnectionProxy) -> None:
        if len(self._idle) < self._most:
            self._idle.append(connection)
        else:
            await self._pool.release(connection)

    async def _take(self, timeout: float) -> asyncpg.pool.PoolConnectionProxy:
        while self._idle:
            connection = self._idle.pop()
            if _is_open(connection):
                return connection
            await self._pool.release(connection)
        return await self._pool.acquire(timeout=timeout)


def _is_open(connection: asyncpg.pool.PoolConnectionProxy) -> bool:
    try:
        return not connection.is_closed()
    except asyncpg.InterfaceError:  # it ended, and the pool has taken it back
        return False
