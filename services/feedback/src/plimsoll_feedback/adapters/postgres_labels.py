"""Labels that were given afterwards, in Postgres."""

from collections.abc import Mapping, Sequence
from typing import Final

import asyncpg

from plimsoll_feedback.adapters.operation_rows import NAMES, operation_from_row
from plimsoll_feedback.adapters.postgres_feed import move_cursor
from plimsoll_feedback.adapters.postgres_runs import ADD_WORDS
from plimsoll_feedback.adapters.postgres_session import ingesting
from plimsoll_feedback.adapters.signal_rows import SELECT as SIGNALS
from plimsoll_feedback.adapters.signal_rows import signal_from_row
from plimsoll_feedback.domain.labels import Finding
from plimsoll_feedback.domain.operation import Operation, OperationId
from plimsoll_feedback.domain.signal import Signal
from plimsoll_feedback.domain.trace import Frame, depth_of, parents
from plimsoll_feedback.ports.feed import Turn

_OF_RUNS: Final = f"""
select found.* from unnest($1::text[], $2::text[]) as wanted (tenant, run_id) cross join lateral (
    select {NAMES} from operations
    where operations.tenant = wanted.tenant and operations.run_id = wanted.run_id and kind in ('transition', 'tool_call', 'model_call')
) as found
"""
_SIGNALS: Final = f"{SIGNALS} where (signals.tenant, signals.signal_id) in (select * from unnest($1::text[], $2::text[]))"
_OPERATIONS: Final = f"""
select {NAMES} from operations where (tenant, run_id, operation_id) in (select * from unnest($1::text[], $2::text[], $3::text[]))
"""
_ADD: Final = """
insert into labels (tenant, run_id, operation_id, category, rule, evidence, agent, started_at, created_at)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9) on conflict do nothing
"""


class PostgresLabelStore:
    """The LabelStore."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def calls(self, steps: Sequence[Operation]) -> Mapping[tuple[str, OperationId], Sequence[Operation]]:
        """By tenant and step."""
        runs = sorted({(one.tenant, one.run_id) for one in steps})
        async with ingesting(self._pool) as connection:
            rows = await connection.fetch(_OF_RUNS, [tenant for tenant, _ in runs], [run_id for _, run_id in runs])
        by_run: dict[tuple[str, str], list[Operation]] = {}
        for row in rows:
            by_run.setdefault((row["tenant"], row["run_id"]), []).append(operation_from_row(row["tenant"], row))
        found: dict[tuple[str, OperationId], list[Operation]] = {(one.tenant, one.id): [] for one in steps}
        for (tenant, _), operations in by_run.items():
            above = parents([Frame(id=one.id, kind=one.kind, step=one.step, node=one.node) for one in operations])
            for one in operations:
                if depth_of(one.kind) == 2 and (tenant, above.get(one.id, OperationId(""))) in found:
                    found[tenant, above[one.id]].append(one)
        return found

    async def judged(self, signals: Sequence[Signal]) -> Mapping[str, tuple[Signal, Operation]]:
        """By the signal's id."""
        about = [one for one in signals if one.operation_id is not None]
        if not about:
            return {}
        async with ingesting(self._pool) as connection:
            rows = await connection.fetch(_SIGNALS, [one.tenant for one in about], [one.id for one in about])
            columns = [one.tenant for one in about], [one.run_id for one in about], [one.operation_id for one in about]
            operations = [operation_from_row(row["tenant"], row) for row in await connection.fetch(_OPERATIONS, *columns)]
        known = {(one.tenant, one.run_id, one.id): one for one in operations}
        whole = {row["signal_id"]: signal_from_row(row) for row in rows}
        return {
            one.id: (whole[one.id], known[one.tenant, one.run_id, one.operation_id])
            for one in about
            if one.operation_id is not None and one.id in whole and (one.tenant, one.run_id, one.operation_id) in known
        }

    async def add(self, findings: Sequence[Finding], turn: Turn) -> bool:
        """Store what is new, with the follower's place."""
        async with ingesting(self._pool) as connection:
            if not await move_cursor(connection, turn):
                return False
            ordered = sorted(findings, key=lambda one: (one.tenant, one.run_id, one.operation_id, one.rule))
            for one in ordered:
                about = (one.tenant, one.run_id, one.operation_id, one.category.value, one.rule, one.evidence)
                await connection.execute(_ADD, *about, one.agent, one.started_at, one.created_at)
                await connection.execute(ADD_WORDS, one.tenant, one.run_id, [one.category.value], "")
            return True
