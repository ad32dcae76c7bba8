"""Operations and runs in Postgres: written in batches, read page by page."""

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import asyncpg
from plimsoll_runtime.failures import Category
from plimsoll_runtime.json_types import dump_json

from plimsoll_feedback.adapters.failure_counts import COUNT_ALL, COUNT_FAILURES, REASONS_CAP
from plimsoll_feedback.adapters.operation_rows import INSERT, NAMES, SINCE_RUN, operation_from_row, operation_to_row
from plimsoll_feedback.adapters.postgres_runs import upsert_runs
from plimsoll_feedback.adapters.postgres_session import ingesting, reading
from plimsoll_feedback.adapters.postgres_signals import Announce, announce_signals
from plimsoll_feedback.adapters.signal_rows import INSERT as INSERT_SIGNALS
from plimsoll_feedback.adapters.signal_rows import SELECT as SIGNALS
from plimsoll_feedback.adapters.signal_rows import signal_from_row, signal_to_row
from plimsoll_feedback.domain.operation import FailureCount, FailureCounts, Operation, OperationFilter, OperationId, Run, RunId, Window
from plimsoll_feedback.domain.paging import PageRequest
from plimsoll_feedback.domain.trace import glimpses
from plimsoll_feedback.ports.operations import NONE, Decisions

Cell: TypeAlias = Any  # whatever a column holds

_SELECT: Final = f"select {NAMES} from operations where"
_HAS_OPERATION: Final = f"select exists ({_SELECT} tenant = $1 and run_id = $2 and operation_id = $3 and {SINCE_RUN})"

_GET: Final = f"{_SELECT} tenant = $1 and run_id = $2 and operation_id = $3 and {SINCE_RUN}"
_HAS_RUN: Final = "select exists (select from runs where tenant = $1 and run_id = $2 and journal)"
_PROPOSE: Final = """
insert into proposals (tenant, run_id, approval_id, context, asked_at)
select * from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[]) on conflict do nothing
"""
_DECIDED: Final = f"{SIGNALS} where signals.tenant = $1 and signal_id = $2"


class PostgresOperationStore:
    """Keeps operations in a table partitioned by day."""

    def __init__(self, pool: asyncpg.Pool, announce: Announce) -> None:
        self._pool = pool
        self._announce = announce

    async def record(self, operations: Sequence[Operation], runs: Sequence[Run], decisions: Decisions = NONE) -> None:
        """Everything in one transaction; what is there already stays as it is."""
        # In the order of the key, so that two writers of the same events cannot lock each other out.
        rows = sorted(map(operation_to_row, operations), key=lambda row: row[:3])
        seen = glimpses(operations, runs)
        async with ingesting(self._pool) as connection:
            await upsert_runs(connection, seen)
            if rows:
                await connection.execute(INSERT, *map(list, zip(*rows, strict=True)))
            await self._decide(connection, decisions)

    async def _decide(self, connection: asyncpg.Connection, decisions: Decisions) -> None:
        asked = sorted(decisions.proposals, key=lambda one: (one.tenant, one.run_id, one.approval_id))
        if asked:
            rows = [(one.tenant, one.run_id, one.approval_id, dump_json(one.context), one.asked_at) for one in asked]
            await connection.execute(_PROPOSE, *map(list, zip(*rows, strict=True)))
        said = sorted(decisions.signals, key=lambda one: (one.tenant, one.id))
        if not said:
            return
        cells = [signal_to_row(one, None) for one in said]
        new = {row["signal_id"] for row in await connection.fetch(INSERT_SIGNALS, *map(list, zip(*cells, strict=True)))}
        full = [await connection.fetchrow(_DECIDED, one.tenant, one.id) for one in said if one.id in new]
        await announce_signals(connection, [signal_from_row(row) for row in full], self._announce)

    async def has_run(self, tenant: str, run_id: RunId) -> bool:
        """Whether an entry of the run's journal has arrived, for this tenant."""
        async with reading(self._pool, tenant) as connection:
            return bool(await connection.fetchval(_HAS_RUN, tenant, run_id))

    async def has_operation(self, tenant: str, run_id: RunId, operation_id: OperationId) -> bool:
        """Whether the run has this operation, for this tenant."""
        async with reading(self._pool, tenant) as connection:
            return bool(await connection.fetchval(_HAS_OPERATION, tenant, run_id, operation_id))

    async def get(self, tenant: str, run_id: RunId, operation_id: OperationId) -> Operation | None:
        """The operation, if the run has it."""
        async with reading(self._pool, tenant) as connection:
            row = await connection.fetchrow(_GET, tenant, run_id, operation_id)
        return None if row is None else operation_from_row(tenant, row)

    async def find(self, tenant: str, where: OperationFilter, page: PageRequest) -> Sequence[Operation]:
        """A page: in order of time within a run, newest first across runs."""
        query = _Query(tenant, where, page)
        async with reading(self._pool, tenant) as connection:
            rows = await connection.fetch(query.text, *query.arguments)
        return [operation_from_row(tenant, row) for row in rows]

    async def count_failures(self, tenant: str, window: Window, agent: str | None) -> FailureCounts:
        """Failures by category, beside the number of all operations in the window."""
        async with reading(self._pool, tenant) as connection:
            rows = await connection.fetch(COUNT_FAILURES, tenant, window.after, window.before, agent, REASONS_CAP)
            operations = await connection.fetchval(COUNT_ALL, tenant, window.after, window.before, agent)
        counts = (
            FailureCount(category=Category(row["category"]), count=row["seen"], reasons=tuple(row["reasons"]), last_at=row["last_at"])
            for row in rows
        )
        return FailureCounts(counts=tuple(counts), operations=operations)


class _Query:
    """The statement of one page, with only the conditions that are asked for: the planner sees what it can use."""

    def __init__(self, tenant: str, where: OperationFilter, page: PageRequest) -> None:
        self.arguments: list[Cell] = [tenant]
        conditions = ["tenant = $1"]
        if where.run_id is not None:
            conditions += [f"run_id = {self._place(where.run_id)}", SINCE_RUN]  # the run is $2, as the bound expects
        conditions += self._asked(where)
        if where.failed_only or where.category is not None:
            conditions.append("category is not null")  # names the partial index
        order, beyond = ("asc", ">") if where.run_id is not None else ("desc", "<")
        if page.after is not None:
            at, last = self._place(page.after.at), self._place(page.after.id)
            # The first half follows from the second, but only a plain comparison tells the planner which days to leave out.
            conditions.append(f"started_at {beyond}= {at} and (started_at, operation_id) {beyond} ({at}, {last})")
        self.text = f"{_SELECT} {' and '.join(conditions)} order by started_at {order}, operation_id {order} limit {self._place(page.size)}"

    def _asked(self, where: OperationFilter) -> Sequence[str]:
        wanted = {
            "agent =": where.agent,
            "agent_version =": where.agent_version,
            "name =": where.name,
            "prompt_digest =": where.prompt_digest,
            "kind =": where.kind.value if where.kind else None,
            "category =": where.category.value if where.category else None,
            "started_at >=": where.after,
            "started_at <": where.before,
        }
        return [f"{condition} {self._place(value)}" for condition, value in wanted.items() if value is not None]

    def _place(self, value: Cell) -> str:
        self.arguments.append(value)
        return f"${len(self.arguments)}"
