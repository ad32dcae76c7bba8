"""The fault point within the driver of PostgreSQL: a class that takes the place of the driver's own when faults are enabled."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import asyncpg

from plimsoll_runtime.faults.injection import through
from plimsoll_runtime.faults.plan import Edge

T = TypeVar("T")


class FaultyConnection(asyncpg.Connection):  # type: ignore[misc] # untyped; the pool asks for a subclass
    """A connection to PostgreSQL whose statements meet faults; the operation is a statement's first word."""

    async def execute(self, query: str, *arguments: Any, timeout: float | None = None) -> str:
        return await self._through(query, lambda: super(FaultyConnection, self).execute(query, *arguments, timeout=timeout))

    async def executemany(self, command: str, rows: Any, *, timeout: float | None = None) -> None:
        await self._through(command, lambda: super(FaultyConnection, self).executemany(command, rows, timeout=timeout))

    async def fetch(self, query: str, *arguments: Any, timeout: float | None = None, record_class: Any = None) -> Any:
        return await self._through(
            query, lambda: super(FaultyConnection, self).fetch(query, *arguments, timeout=timeout, record_class=record_class)
        )

    async def fetchrow(self, query: str, *arguments: Any, timeout: float | None = None, record_class: Any = None) -> Any:
        return await self._through(
            query, lambda: super(FaultyConnection, self).fetchrow(query, *arguments, timeout=timeout, record_class=record_class)
        )

    async def fetchval(self, query: str, *arguments: Any, column: int = 0, timeout: float | None = None) -> Any:
        return await self._through(query, lambda: super(FaultyConnection, self).fetchval(query, *arguments, column=column, timeout=timeout))

    async def _through(self, statement: str, act: Callable[[], Awaitable[T]]) -> T:
        operation = statement.lstrip().partition(" ")[0].lower()
        if operation == "rollback":  # what a broken transaction ends with; it must not hide what broke it
            return await act()
        return await through(Edge.POSTGRES, operation, act, away=self._broken)

    def _broken(self) -> Exception:
        """As when the server vanishes: the connection is of no use any more."""
        self.terminate()
        error: Exception = asyncpg.ConnectionDoesNotExistError("the connection was cut (a fault on demand)")
        return error
