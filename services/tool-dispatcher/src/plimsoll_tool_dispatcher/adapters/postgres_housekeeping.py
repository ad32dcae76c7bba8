"""What Postgres keeps no longer: old calls, results kept for fallbacks, and what is known about runs, deleted in small batches.

Never a call whose outcome is unknown or may yet turn out so, however old; nor a grant that was spent or taken back: a grant stays used.
"""

import asyncio
from contextlib import suppress
from datetime import timedelta

import asyncpg
from plimsoll_runtime.errors import PlimsollError
from plimsoll_runtime.logs import Log
from plimsoll_runtime.postgres import translating

_ACQUIRE_CAP_S = 5.0
_BATCH = 1000
_REST_S = 30.0  # between two looks when there is nothing left to delete
_BREATH_S = 0.05  # between two batches, for those who work

# $1 age, $2 limit. Not what runs, waits to be settled, or was sent and must not be repeated.
OLD_CALLS = """
delete from calls where ctid = any(array(
    select ctid from calls
    where reserved_at < now() - $1::interval and coalesce(finished_at, lease_until) < now() - $1::interval
      and (state in ('succeeded', 'failed', 'reserved') or (state = 'dispatched' and effect <> 'non_idempotent'))
    order by reserved_at limit $2 for update skip locked))"""

# $1 age, $2 limit
_OLD_RESULTS = """
delete from cached_results where ctid = any(array(
    select ctid from cached_results where recorded_at < now() - $1::interval order by recorded_at limit $2 for update skip locked))"""

# $1 age, $2 limit. A run of which calls are kept stays known: its epoch fences, and policy asks what it has read.
_OLD_RUNS = """
delete from run_epochs where ctid = any(array(
    select ctid from run_epochs e where touched_at < now() - $1::interval
      and not exists (select from calls c where c.run_id = e.run_id and c.tenant = e.tenant)
    order by touched_at limit $2 for update skip locked))"""


class PostgresHousekeeping:
    """Any number of replicas may keep house side by side."""

    def __init__(self, pool: asyncpg.Pool, log: Log, *, calls_s: float, results_s: float, runs_s: float) -> None:
        self._pool = pool
        self._log = log
        self._chores = (("calls", OLD_CALLS, calls_s), ("cached results", _OLD_RESULTS, results_s), ("runs", _OLD_RUNS, runs_s))

    async def watch(self, stop: asyncio.Event) -> None:
        """Until `stop`: delete what is too old, batch by batch."""
        while not stop.is_set():
            try:
                more = await self.sweep()
            except PlimsollError as error:
                self._log.warning("ledger.not_swept", {"reason": error.reason})
                more = False
            with suppress(TimeoutError):
                async with asyncio.timeout(_BREATH_S if more else _REST_S):
                    await stop.wait()

    async def sweep(self) -> bool:
        """One batch of each; whether any was full."""
        full = False
        for what, statement, age_s in self._chores:
            with translating():
                async with self._pool.acquire(timeout=_ACQUIRE_CAP_S) as connection:
                    deleted = int((await connection.execute(statement, timedelta(seconds=age_s), _BATCH)).split()[-1])
            if deleted:
                self._log.info("ledger.swept", {"what": what, "rows": deleted})
            full = full or deleted == _BATCH
        return full
