"""Operations and runs in Postgres: written in batches, read page by page."""

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import asyncpg
from plimsoll_runtime.failures import Category, Failure
from plimsoll_runtime.json_types import dump_json
from plimsoll_runtime.usage import Usage

from plimsoll_feedback.adapters.postgres_session import ingesting, reading
from plimsoll_feedback.domain.operation import (
    FailureCount,
    FailureCounts,
    Operation,
    OperationFilter,
    OperationId,
    OperationKind,
    Run,
    RunId,
    Window,
)
from plimsoll_feedback.domain.paging import PageRequest

Cell: TypeAlias = Any  # whatever a column holds

REASONS_CAP: Final = 5

_COLUMNS: Final = (
    ("tenant", "text"),
    ("started_at", "timestamptz"),
    ("operation_id", "text"),
    ("kind", "text"),
    ("run_id", "text"),
    ("step", "bigint"),
    ("agent", "text"),
    ("agent_version", "text"),
    ("node", "text"),
    ("name", "text"),
    ("duration_s", "double precision"),
    ("category", "text"),
    ("reason", "text"),
    ("message", "text"),
    ("retryable", "boolean"),
    ("retry_after_s", "double precision"),
    ("place", "text"),
    ("evidence", "text"),
    ("input_tokens", "bigint"),
    ("output_tokens", "bigint"),
    ("cached_input_tokens", "bigint"),
    ("reasoning_tokens", "bigint"),
    ("cost_micros", "bigint"),
    ("facts", "jsonb"),
)
_NAMES: Final = ", ".join(name for name, _ in _COLUMNS)
_ARRAYS: Final = ", ".join(f"${place}::{kind.replace('jsonb', 'text')}[]" for place, (_, kind) in enumerate(_COLUMNS, start=1))
_VALUES: Final = ", ".join(f"{name}::{kind}" for name, kind in _COLUMNS)
_SELECT: Final = f"select {_NAMES} from operations where"
_INSERT: Final = f"""
insert into operations ({_NAMES}) select {_VALUES} from unnest({_ARRAYS}) as new ({_NAMES}) on conflict do nothing
"""

# A known run is only read: locking it again for each of its steps would make writers of the same run wait for each other.
# The earliest start wins, because steps may arrive before the entry that started the run.
_INSERT_RUNS: Final = """
insert into runs (tenant, run_id, agent, agent_version, started_at)
select * from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[]) as new (tenant, run_id, agent, agent_version, started_at)
where not exists (
    select from runs where runs.tenant = new.tenant and runs.run_id = new.run_id and runs.started_at <= new.started_at
)
on conflict (tenant, run_id) do update set started_at = least(runs.started_at, excluded.started_at)
"""

# Bounds a run's operations in time, so that days before it need not be searched. Clocks of different machines may differ a little.
_SINCE_RUN: Final = """started_at >= coalesce(
    (select started_at - interval '1 hour' from runs where tenant = $1 and run_id = $2), '-infinity'::timestamptz)"""

_HAS_OPERATION: Final = f"select exists ({_SELECT} tenant = $1 and run_id = $2 and operation_id = $3 and {_SINCE_RUN})"

# A failure is often reported at several levels: by the call, the step around it and the run that ends with it. Within a run each
# category counts as often as the level that saw it most.
_COUNT_FAILURES: Final = """
with failed as (
    select category, reason, kind, started_at, case when run_id = '' then operation_id else run_id end as subject
    from operations
    where tenant = $1 and started_at >= $2 and started_at < $3 and ($4::text is null or agent = $4) and category is not null
), levels as (
    select category, subject, kind, count(*) as seen, max(started_at) as last_at from failed group by category, subject, kind
), subjects as (
    select category, subject, max(seen) as seen, max(last_at) as last_at from levels group by category, subject
), ranked as (
    select category, reason, row_number() over (partition by category order by count(*) desc, reason) as place from failed group by category, reason
)
select category, sum(seen)::bigint as seen, max(last_at) as last_at,
    array(select reason from ranked where ranked.category = subjects.category and place <= $5 order by place) as reasons
from subjects group by category order by seen desc, category
"""

_COUNT_ALL: Final = """
select count(*) from operations where tenant = $1 and started_at >= $2 and started_at < $3 and ($4::text is null or agent = $4)
"""


class PostgresOperationStore:
    """Keeps operations in a table partitioned by day."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def record(self, operations: Sequence[Operation], runs: Sequence[Run]) -> None:
        """Everything in one transaction; what is there already stays as it is."""
        # In the order of the key, so that two writers of the same events cannot lock each other out.
        rows = sorted(map(_to_row, operations), key=lambda row: row[:3])
        known = sorted(_earliest(runs), key=lambda run: (run.tenant, run.id))
        async with ingesting(self._pool) as connection:
            if known:
                await connection.execute(
                    _INSERT_RUNS,
                    [run.tenant for run in known],
                    [run.id for run in known],
                    [run.agent for run in known],
                    [run.agent_version for run in known],
                    [run.started_at for run in known],
                )
            if rows:
                await connection.execute(_INSERT, *map(list, zip(*rows, strict=True)))

    async def has_run(self, tenant: str, run_id: RunId) -> bool:
        """Whether an entry of the run's journal has arrived, for this tenant."""
        async with reading(self._pool, tenant) as connection:
            return bool(await connection.fetchval("select exists (select from runs where tenant = $1 and run_id = $2)", tenant, run_id))

    async def has_operation(self, tenant: str, run_id: RunId, operation_id: OperationId) -> bool:
        """Whether the run has this operation, for this tenant."""
        async with reading(self._pool, tenant) as connection:
            return bool(await connection.fetchval(_HAS_OPERATION, tenant, run_id, operation_id))

    async def find(self, tenant: str, where: OperationFilter, page: PageRequest) -> Sequence[Operation]:
        """A page: in order of time within a run, newest first across runs."""
        query = _Query(tenant, where, page)
        async with reading(self._pool, tenant) as connection:
            rows = await connection.fetch(query.text, *query.arguments)
        return [_from_row(tenant, row) for row in rows]

    async def count_failures(self, tenant: str, window: Window, agent: str | None) -> FailureCounts:
        """Failures by category, beside the number of all operations in the window."""
        async with reading(self._pool, tenant) as connection:
            rows = await connection.fetch(_COUNT_FAILURES, tenant, window.after, window.before, agent, REASONS_CAP)
            operations = await connection.fetchval(_COUNT_ALL, tenant, window.after, window.before, agent)
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
            conditions += [f"run_id = {self._place(where.run_id)}", _SINCE_RUN]  # the run is $2, as the bound expects
        if where.agent is not None:
            conditions.append(f"agent = {self._place(where.agent)}")
        if where.kind is not None:
            conditions.append(f"kind = {self._place(where.kind.value)}")
        if where.category is not None:
            conditions.append(f"category = {self._place(where.category.value)}")
        if where.failed_only or where.category is not None:
            conditions.append("category is not null")  # names the partial index
        order, beyond = ("asc", ">") if where.run_id is not None else ("desc", "<")
        if page.after is not None:
            at, last = self._place(page.after.at), self._place(page.after.id)
            # The first half follows from the second, but only a plain comparison tells the planner which days to leave out.
            conditions.append(f"started_at {beyond}= {at} and (started_at, operation_id) {beyond} ({at}, {last})")
        self.text = f"{_SELECT} {' and '.join(conditions)} order by started_at {order}, operation_id {order} limit {self._place(page.size)}"

    def _place(self, value: Cell) -> str:
        self.arguments.append(value)
        return f"${len(self.arguments)}"


def _earliest(runs: Sequence[Run]) -> Sequence[Run]:
    first: dict[tuple[str, RunId], Run] = {}
    for run in runs:
        known = first.get((run.tenant, run.id))
        if known is None or run.started_at < known.started_at:
            first[run.tenant, run.id] = run
    return list(first.values())


def _to_row(operation: Operation) -> tuple[Cell, ...]:
    failure, usage = operation.failure, operation.usage
    return (
        operation.tenant,
        operation.started_at,
        operation.id,
        operation.kind.value,
        operation.run_id,
        operation.step,
        operation.agent,
        operation.agent_version,
        operation.node,
        operation.name,
        operation.duration_s,
        failure.category.value if failure else None,
        failure.reason if failure else None,
        failure.message if failure else None,
        failure.retryable if failure else None,
        failure.retry_after_s if failure else None,
        failure.where if failure else None,
        operation.evidence,
        usage.input_tokens,
        usage.output_tokens,
        usage.cached_input_tokens,
        usage.reasoning_tokens,
        usage.cost_micros,
        dump_json(operation.facts),
    )


def _from_row(tenant: str, row: asyncpg.Record) -> Operation:
    return Operation(
        id=OperationId(row["operation_id"]),
        tenant=tenant,
        kind=OperationKind(row["kind"]),
        run_id=RunId(row["run_id"]),
        step=row["step"],
        agent=row["agent"],
        agent_version=row["agent_version"],
        node=row["node"],
        name=row["name"],
        started_at=row["started_at"],
        duration_s=row["duration_s"],
        failure=_failure_from_row(row),
        evidence=row["evidence"],
        usage=Usage(
            input_tokens=row["input_tokens"],
            output_tokens=row["output_tokens"],
            cached_input_tokens=row["cached_input_tokens"],
            reasoning_tokens=row["reasoning_tokens"],
            cost_micros=row["cost_micros"],
        ),
        facts=row["facts"],
    )


def _failure_from_row(row: asyncpg.Record) -> Failure | None:
    if row["category"] is None:
        return None
    return Failure(
        category=Category(row["category"]),
        reason=row["reason"],
        message=row["message"],
        retryable=row["retryable"],
        retry_after_s=row["retry_after_s"],
        where=row["place"],
    )
