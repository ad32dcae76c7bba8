"""Following operations and signals by the transaction that stored them.

A row bears the id of its transaction. Only rows of transactions below the oldest unfinished one are read: nothing can still be stored
before them, so a place in this order never has to go back. The turn is a lease on the follower's row, checked again when it is moved.
"""

from collections.abc import Sequence
from itertools import takewhile
from typing import Any, Final, Generic, TypeAlias, TypeVar

import asyncpg

from plimsoll_feedback.adapters.operation_rows import NAMES, operation_from_row
from plimsoll_feedback.adapters.postgres_session import ingesting
from plimsoll_feedback.adapters.signal_rows import signal_from_row
from plimsoll_feedback.domain.operation import Operation
from plimsoll_feedback.ports.feed import AgentSignal, Batch, Turn

T = TypeVar("T")
Cell: TypeAlias = Any  # whatever a column holds

LEASE_S: Final = 30.0
_PLACE: Final = "select recorded_in::text as recorded_in, tenant, id from cursors where name = $1"
_BEGIN: Final = """
insert into cursors (name) values ($1) on conflict (name) do update set name = excluded.name
returning recorded_in::text as recorded_in, tenant, id
"""
_HOLD: Final = """
update cursors set holder = $2, held_until = clock_timestamp() + make_interval(secs => $3)
where name = $1 and (holder = $2 or held_until < clock_timestamp())
returning recorded_in::text as recorded_in, tenant, id
"""
_MOVE: Final = """
update cursors set recorded_in = $3::text::xid8, tenant = $4, id = $5, held_until = clock_timestamp() + make_interval(secs => $6)
where name = $1 and holder = $2
"""
_BEYOND: Final = """
(recorded_in, {table}.tenant, {id}) > ($1::text::xid8, $2, $3) and recorded_in < pg_snapshot_xmin(pg_current_snapshot())
order by recorded_in, {table}.tenant, {id} limit $4
"""
_OPERATIONS: Final = (
    f"select recorded_in::text as stored_in, extract(epoch from now() - recorded_at)::float8 as stored_s, {NAMES} from operations where "
    + _BEYOND.format(table="operations", id="operation_id")
)
_SIGNALS: Final = """
select recorded_in::text as stored_in, 'infinity'::float8 as stored_s, signals.*, null as proposal, coalesce(runs.agent, '') as agent, coalesce(runs.agent_version, '') as agent_version,
    array(
        select distinct array[prompt, prompt_digest] from operations
        where operations.tenant = signals.tenant and operations.run_id = signals.run_id and operations.kind = 'model_call'
            and (signals.operation_id is null or operations.operation_id = signals.operation_id)
            and prompt is not null and prompt_digest is not null
    ) as prompts
from signals left join runs on runs.tenant = signals.tenant and runs.run_id = signals.run_id where
""" + _BEYOND.format(table="signals", id="signal_id")


class _PostgresFeed(Generic[T]):
    """What both feeds do; they differ in the statement and in the rows."""

    def __init__(self, pool: asyncpg.Pool, statement: str, id_column: str) -> None:
        self._pool = pool
        self._statement = statement
        self._id_column = id_column

    async def _claim(self, follower: str, holder: str, limit: int, settled_s: float) -> tuple[Sequence[asyncpg.Record], Turn] | None:
        async with ingesting(self._pool) as connection:
            place = await connection.fetchrow(_PLACE, follower) or await connection.fetchrow(_BEGIN, follower)
            found = await connection.fetch(self._statement, place["recorded_in"], place["tenant"], place["id"], limit)
            rows = [*takewhile(lambda row: settled_s <= 0 or row["stored_s"] >= settled_s, found)]
            # Only who has something to do takes the turn: looking changes nothing, so an idle service writes nothing.
            if not rows or place != await connection.fetchrow(_HOLD, follower, holder, LEASE_S):
                return None
        last = rows[-1]
        return rows, Turn(follower=follower, holder=holder, recorded_in=last["stored_in"], tenant=last["tenant"], id=last[self._id_column])

    async def move(self, turn: Turn) -> bool:
        """Note that the batch is handled; False when the turn was over before."""
        async with ingesting(self._pool) as connection:
            return await move_cursor(connection, turn)


class PostgresOperationFeed(_PostgresFeed[Operation]):
    """Follows operations."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        super().__init__(pool, _OPERATIONS, "operation_id")

    async def claim(self, follower: str, holder: str, limit: int, settled_s: float = 0.0) -> Batch[Operation] | None:
        """The next operations; None when it is not our turn, or there are none."""
        claimed = await self._claim(follower, holder, limit, settled_s)
        return None if claimed is None else Batch(rows=[operation_from_row(row["tenant"], row) for row in claimed[0]], turn=claimed[1])


class PostgresSignalFeed(_PostgresFeed[AgentSignal]):
    """Follows signals."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        super().__init__(pool, _SIGNALS, "signal_id")

    async def claim(self, follower: str, holder: str, limit: int, settled_s: float = 0.0) -> Batch[AgentSignal] | None:
        """The next signals; None when it is not our turn, or there are none."""
        claimed = await self._claim(follower, holder, limit, settled_s)
        return None if claimed is None else Batch(rows=list(map(_agent_signal, claimed[0])), turn=claimed[1])


async def move_cursor(connection: asyncpg.Connection, turn: Turn) -> bool:
    """In the caller's transaction; False when the turn was over."""
    moved: str = await connection.execute(_MOVE, turn.follower, turn.holder, turn.recorded_in, turn.tenant, turn.id, LEASE_S)
    return moved == "UPDATE 1"


def _agent_signal(row: asyncpg.Record) -> AgentSignal:
    return AgentSignal(
        signal=signal_from_row(row),
        agent=row["agent"],
        agent_version=row["agent_version"],
        prompts=tuple((name, version) for name, version in row["prompts"]),
    )
