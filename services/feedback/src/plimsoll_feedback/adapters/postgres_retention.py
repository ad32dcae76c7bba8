"""Forgets what is older than it may be: whole days of operations by dropping their partition, the rest by rows in small steps."""

import asyncio
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

import asyncpg
from plimsoll_runtime.clock import Clock
from plimsoll_runtime.errors import PlimsollError
from plimsoll_runtime.logs import Log
from plimsoll_runtime.postgres import translating
from plimsoll_runtime.retry import pause

from plimsoll_feedback.adapters.postgres_session import ingesting

_EVERY_S: Final = 3600.0
_SOON_S: Final = 60.0
_ROWS: Final = 5000
_DAYS: Final = """
select child.relname from pg_inherits join pg_class child on child.oid = inhrelid
where inhparent = 'operations'::regclass and child.relname ~ '^operations_[0-9]{8}$' order by 1
"""
_TABLES: Final = (
    ("operations_default", "started_at"),
    ("labels", "started_at"),
    ("signals", "created_at"),
    ("proposals", "asked_at"),
    ("alerts", "raised_at"),
    ("runs", "started_at"),
)


class Retention:
    """Runs now and then; nothing is forgotten when `days` is 0."""

    def __init__(self, pool: asyncpg.Pool, clock: Clock, days: int, log: Log) -> None:
        self._pool = pool
        self._clock = clock
        self._days = days
        self._log = log

    async def forget(self) -> None:
        """Once. A partition that somebody reads at length is left for the next time, so that nobody who stores has to wait for it."""
        if not self._days:
            return
        cutoff = self._clock.now() - timedelta(days=self._days)
        with translating():
            async with self._pool.acquire(timeout=10.0) as connection:
                names = [row["relname"] for row in await connection.fetch(_DAYS)]
                for name in names:
                    if _end_of(name) <= cutoff:
                        async with connection.transaction():
                            await connection.execute("set local lock_timeout = '2s'")
                            await connection.execute(f"drop table {name}")
                        self._log.info("feedback.partition_dropped", {"partition": name})
        for table, column in _TABLES:
            while await self._forget_rows(table, column, cutoff) == _ROWS:
                continue

    async def run(self, stop: asyncio.Event) -> None:
        """Every hour until `stop` is set."""
        while not stop.is_set():
            wait_s = _EVERY_S
            try:
                await self.forget()
            except PlimsollError as error:  # nothing depends on its being done at once
                self._log.warning("feedback.retention_late", {"reason": error.reason})
                wait_s = _SOON_S
            await pause(wait_s, stop)

    async def _forget_rows(self, table: str, column: str, cutoff: datetime) -> int:
        statement = f"delete from {table} where ctid = any(array(select ctid from {table} where {column} < $1 limit {_ROWS}))"
        async with ingesting(self._pool) as connection:
            done: str = await connection.execute(statement, cutoff)
        return int(done.removeprefix("DELETE "))


def _end_of(partition: str) -> datetime:
    day = date.fromisoformat(partition.removeprefix("operations_"))
    return datetime.combine(day + timedelta(days=1), time(), tzinfo=UTC)
