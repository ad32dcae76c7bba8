"""Where operations stand in their runs, for those that export them."""

from collections.abc import Mapping, Sequence
from typing import Final

import asyncpg

from plimsoll_feedback.adapters.postgres_session import ingesting
from plimsoll_feedback.domain.operation import Operation, OperationId, OperationKind
from plimsoll_feedback.domain.spans import Surroundings
from plimsoll_feedback.domain.trace import Frame, depth_of, parents

_RUNS: Final = """
select tenant, run_id, thread_id, parent_run_id, tags from runs
where (tenant, run_id) in (select * from unnest($1::text[], $2::text[]))
"""
_STEPS: Final = """
select operations.tenant, operations.run_id, operation_id, step, node
from unnest($1::text[], $2::text[]) as wanted (tenant, run_id) cross join lateral (
    select * from operations
    where operations.tenant = wanted.tenant and operations.run_id = wanted.run_id and kind = 'transition'
) as operations
"""


class PostgresSurroundings:
    """The SurroundingsStore."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def around(self, operations: Sequence[Operation]) -> Mapping[tuple[str, OperationId], Surroundings]:
        """By tenant and operation."""
        runs = sorted({(one.tenant, str(one.run_id)) for one in operations if one.run_id})
        calling = sorted({(one.tenant, str(one.run_id)) for one in operations if one.run_id and depth_of(one.kind) == 2})
        async with ingesting(self._pool) as connection:
            told = await connection.fetch(_RUNS, *_columns(runs)) if runs else []
            steps = await connection.fetch(_STEPS, *_columns(calling)) if calling else []
        known = {(row["tenant"], row["run_id"]): row for row in told}
        above = _parents(operations, steps)
        return {
            (one.tenant, one.id): _surroundings(known.get((one.tenant, one.run_id)), above.get((one.tenant, one.id))) for one in operations
        }


def _columns(pairs: Sequence[tuple[str, str]]) -> tuple[list[str], list[str]]:
    return [first for first, _ in pairs], [second for _, second in pairs]


def _parents(operations: Sequence[Operation], steps: Sequence[asyncpg.Record]) -> Mapping[tuple[str, OperationId], OperationId]:
    frames: dict[tuple[str, str], list[Frame]] = {}
    for row in steps:
        frame = Frame(id=row["operation_id"], kind=OperationKind.TRANSITION, step=row["step"], node=row["node"])
        frames.setdefault((row["tenant"], row["run_id"]), []).append(frame)
    for one in operations:
        if one.run_id and depth_of(one.kind) == 2:
            frames.setdefault((one.tenant, one.run_id), []).append(Frame(id=one.id, kind=one.kind, step=one.step, node=one.node))
    return {(tenant, call): step for (tenant, _), found in frames.items() for call, step in parents(found).items()}


def _surroundings(run: asyncpg.Record | None, parent: OperationId | None) -> Surroundings:
    if run is None:
        return Surroundings(parent=parent or "")
    return Surroundings(parent=parent or "", thread_id=run["thread_id"], parent_run_id=run["parent_run_id"], tags=tuple(run["tags"]))
