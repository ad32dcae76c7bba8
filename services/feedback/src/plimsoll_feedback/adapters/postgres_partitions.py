"""The partitions of the operations table: one a day, made some days ahead."""

import asyncio
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

import asyncpg
from plimsoll_runtime.clock import Clock
from plimsoll_runtime.errors import PlimsollError
from plimsoll_runtime.logs import Log
from plimsoll_runtime.postgres import translating

from plimsoll_feedback.adapters.operation_rows import NAMES

_EVERY_S: Final = 3600.0
_SOON_S: Final = 10.0
_LOCK_SPACE: Final = 0x706C6670  # "plfp": one replica at a time makes partitions
_KEPT: Final = f"{NAMES}, recorded_at, recorded_in"  # all columns that are not generated
_EXISTING: Final = (
    "select child.relname from pg_inherits join pg_class child on child.oid = inhrelid where inhparent = 'operations'::regclass"
)


class OperationPartitions:
    """Sees to it that every day from yesterday to `days_ahead` from now has its partition."""

    def __init__(self, pool: asyncpg.Pool, clock: Clock, days_ahead: int, log: Log) -> None:
        self._pool = pool
        self._clock = clock
        self._days_ahead = days_ahead
        self._log = log

    async def ensure(self) -> None:
        """Make the partitions that are missing; safe when replicas do it at once."""
        today = self._clock.now().date()
        with translating():
            async with self._pool.acquire(timeout=10.0) as connection:
                for offset in range(-1, self._days_ahead + 1):
                    await self._ensure_day(connection, today + timedelta(days=offset))

    async def run(self, stop: asyncio.Event) -> None:
        """Look after them every hour until `stop` is set, whatever happens to the database meanwhile."""
        while not stop.is_set():
            try:
                await self.ensure()
                pause_s = _EVERY_S
            except PlimsollError as error:  # rows go to the default partition meanwhile: nothing is lost
                self._log.warning("feedback.partitions_late", {"reason": error.reason})
                pause_s = _SOON_S
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await stop.wait()

    async def _ensure_day(self, connection: asyncpg.Connection, day: date) -> None:
        name = f"operations_{day:%Y%m%d}"
        async with connection.transaction():
            await connection.execute("select pg_advisory_xact_lock($1, hashtext(current_schema()))", _LOCK_SPACE)
            if name in {row["relname"] for row in await connection.fetch(_EXISTING)}:
                return
            await connection.execute(_creation(name, day))
        self._log.info("feedback.partition_made", {"partition": name})


def _creation(name: str, day: date) -> str:
    """Rows of the day that came too early for it wait in the default partition, which must give them up first."""
    begin = datetime.combine(day, time(), tzinfo=UTC)
    after, before = f"timestamptz '{begin.isoformat()}'", f"timestamptz '{(begin + timedelta(days=1)).isoformat()}'"
    return f"""
create table {name} (like operations including all);
lock table operations_default in access exclusive mode;
with moved as (delete from operations_default where started_at >= {after} and started_at < {before} returning *)
insert into {name} ({_KEPT}) select {_KEPT} from moved;
alter table operations attach partition {name} for values from ({after}) to ({before});
"""
