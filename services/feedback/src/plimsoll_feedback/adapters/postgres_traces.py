"""Runs and their timelines, read from Postgres by index only."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

import asyncpg
from plimsoll_runtime.failures import Category
from plimsoll_runtime.usage import Usage

from plimsoll_feedback.adapters.operation_rows import NAMES, SINCE_RUN, operation_from_row
from plimsoll_feedback.adapters.postgres_runs import ADD_WORDS
from plimsoll_feedback.adapters.postgres_session import reading, writing
from plimsoll_feedback.domain.labels import Finding
from plimsoll_feedback.domain.operation import OperationId, OperationKind, RunId
from plimsoll_feedback.domain.paging import PageRequest
from plimsoll_feedback.domain.trace import TAGS_CAP, Frame, Trace, TraceEntry, TraceFilter, TracePage, TraceStatus, depth_of, parents
from plimsoll_feedback.errors import TooManyTags
from plimsoll_feedback.ports.traces import Subject

Cell: TypeAlias = Any  # whatever a column holds

CHILDREN_CAP: Final = 500
_COLUMNS: Final = (
    "tenant, run_id, agent, agent_version, status, started_at, finished_at, duration_s, category, reason, steps, input_tokens, output_tokens,"
    " cost_micros, categories, tags, parent_run_id, thread_id"
)
_ONE: Final = f"select {_COLUMNS} from runs where tenant = $1 and run_id = $2 and journal"
_CHILDREN: Final = f"""
select {_COLUMNS} from runs where tenant = $1 and parent_run_id = $2 and parent_run_id <> '' and journal
order by started_at, run_id limit {CHILDREN_CAP}
"""
_PAGE: Final = f"""
select {NAMES} from operations where tenant = $1 and run_id = $2 and {SINCE_RUN}
and ($4::timestamptz is null or (started_at >= $4 and (started_at, operation_id) > ($4, $5)))
order by started_at, operation_id limit $3
"""
_STEPS: Final = f"""
select operation_id, kind, step, node from operations
where tenant = $1 and run_id = $2 and kind = 'transition' and {SINCE_RUN} and node = any($3::text[])
"""
_LABELS: Final = "select * from labels where tenant = $1 and run_id = $2 order by created_at, rule"
_CORRECTIONS: Final = """
select operation_id, category, comment, source, created_at from signals
where tenant = $1 and run_id = $2 and kind = 'category' order by created_at, signal_id
"""
_TAGGED: Final = """
select wanted.tag, array(
    select run_id from runs where tenant = $1 and journal and tag_marks @@ wanted.lexeme::tsquery order by run_id limit 2
) as run_ids from unnest($2::text[], $3::text[]) as wanted (tag, lexeme)
"""
_KNOWN_RUNS: Final = "select run_id from runs where tenant = $1 and run_id = any($2::text[]) and journal"
_KNOWN_OPERATIONS: Final = """
select wanted.run_id, wanted.operation_id from unnest($2::text[], $3::text[]) as wanted (run_id, operation_id)
where exists (select from operations where tenant = $1 and operations.run_id = wanted.run_id and operations.operation_id = wanted.operation_id)
"""


class PostgresTraceStore:
    """Reads runs; writes their tags."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def find(self, tenant: str, where: TraceFilter, page: PageRequest) -> Sequence[Trace]:
        """A page of runs, newest first."""
        query = TraceQuery(tenant, where, page)
        async with reading(self._pool, tenant) as connection:
            rows = await connection.fetch(query.text, *query.arguments)
        return [_trace(row) for row in rows]

    async def get(self, tenant: str, run_id: RunId, page: PageRequest) -> TracePage | None:
        """The run with a page of its timeline; None when there is none."""
        after = page.after
        async with reading(self._pool, tenant) as connection:
            row = await connection.fetchrow(_ONE, tenant, run_id)
            if row is None:
                return None
            position = (after.at, after.id) if after else (None, "")
            rows = await connection.fetch(_PAGE, tenant, run_id, page.size, *position)
            steps = await connection.fetch(_STEPS, tenant, run_id, sorted({one["node"] for one in rows}))
            children = await connection.fetch(_CHILDREN, tenant, run_id)
            findings = await _findings(connection, tenant, run_id, row)
        operations = [operation_from_row(tenant, one) for one in rows]
        frames = [Frame(id=one["operation_id"], kind=OperationKind(one["kind"]), step=one["step"], node=one["node"]) for one in steps]
        frames += [Frame(id=one.id, kind=one.kind, step=one.step, node=one.node) for one in operations if depth_of(one.kind) == 2]
        places = parents(frames)
        entries = (
            TraceEntry(
                operation=one,
                parent=places.get(one.id, OperationId("")),
                depth=depth_of(one.kind),
                findings=tuple(findings.get(one.id, ())),
            )
            for one in operations
        )
        return TracePage(trace=_trace(row), entries=tuple(entries), children=tuple(map(_trace, children)))

    async def annotate(self, tenant: str, run_id: RunId, add: Sequence[str], remove: Sequence[str]) -> Trace | None:
        """Change the run's tags under its lock. Raises TooManyTags."""
        async with writing(self._pool, tenant) as connection:
            row = await connection.fetchrow(f"{_ONE} for update", tenant, run_id)
            if row is None:
                return None
            tags = sorted(({*row["tags"]} - {*remove}) | {*add})
            if len(tags) > TAGS_CAP:
                raise TooManyTags(f"run {run_id} would bear {len(tags)} tags", remedy=f"remove some: {TAGS_CAP} is the most")
            await connection.execute("update runs set tags = $3 where tenant = $1 and run_id = $2", tenant, run_id, tags)
            await connection.execute(ADD_WORDS, tenant, run_id, [], " ".join(add))
            return _trace(await connection.fetchrow(_ONE, tenant, run_id))

    async def tagged(self, tenant: str, tags: Sequence[str]) -> Mapping[str, Sequence[RunId]]:
        """Up to two bearers of each tag."""
        async with reading(self._pool, tenant) as connection:
            rows = await connection.fetch(_TAGGED, tenant, list(tags), list(map(_lexeme, tags)))
        return {row["tag"]: [RunId(run_id) for run_id in row["run_ids"]] for row in rows}

    async def known(self, tenant: str, subjects: Sequence[Subject]) -> frozenset[Subject]:
        """Those that exist."""
        wanted = [(run_id, operation_id) for run_id, operation_id in subjects if operation_id is not None]
        async with reading(self._pool, tenant) as connection:
            runs = await connection.fetch(_KNOWN_RUNS, tenant, sorted({run_id for run_id, _ in subjects}))
            rows = (
                await connection.fetch(_KNOWN_OPERATIONS, tenant, [run_id for run_id, _ in wanted], [one for _, one in wanted])
                if wanted
                else []
            )
        found: set[Subject] = {(RunId(row["run_id"]), None) for row in runs}
        return frozenset(found | {(RunId(row["run_id"]), OperationId(row["operation_id"])) for row in rows})


class TraceQuery:
    """The statement of one page, with only the conditions that are asked for: the planner sees what it can use."""

    def __init__(self, tenant: str, where: TraceFilter, page: PageRequest) -> None:
        self.arguments: list[Cell] = [tenant]
        conditions = ["tenant = $1", "journal", *self._equal(where), *self._ranges(where)]
        if where.category is not None:
            conditions.append(f"category_marks @@ {self._place(_lexeme(where.category.value))}::text::tsquery")
        if where.tags:
            conditions.append(f"tag_marks @@ {self._place(' & '.join(map(_lexeme, where.tags)))}::text::tsquery")
        if where.text is not None:
            conditions.append(f"search @@ plainto_tsquery('simple', {self._place(where.text)})")
        if page.after is not None:
            at, last = self._place(page.after.at), self._place(page.after.id)
            conditions.append(f"(started_at, run_id) < ({at}, {last})")
        self.text = f"select {_COLUMNS} from runs where {' and '.join(conditions)} order by started_at desc, run_id desc limit {self._place(page.size)}"

    def _equal(self, where: TraceFilter) -> Sequence[str]:
        wanted = {
            "agent": where.agent,
            "agent_version": where.agent_version,
            "status": where.status.value if where.status else None,
            "thread_id": where.thread_id,
            "parent_run_id": where.parent_run_id,
        }
        return [f"{column} = {self._place(value)}" for column, value in wanted.items() if value is not None]

    def _ranges(self, where: TraceFilter) -> Sequence[str]:
        wanted = {
            "started_at >=": where.after,
            "started_at <": where.before,
            "cost_micros >=": where.min_cost_micros,
            "duration_s >=": where.min_duration_s,
        }
        return [f"{condition} {self._place(value)}" for condition, value in wanted.items() if value is not None]

    def _place(self, value: Cell) -> str:
        self.arguments.append(value)
        return f"${len(self.arguments)}"


def _lexeme(text: str) -> str:
    """As a query of full text that means exactly this text."""
    escaped = text.replace("\\", "\\\\").replace("'", "''")
    return f"'{escaped}'"


async def _findings(connection: asyncpg.Connection, tenant: str, run_id: RunId, run: asyncpg.Record) -> Mapping[OperationId, list[Finding]]:
    """Labels that were given afterwards, by operation; a person's word about the whole run belongs to its last operation."""
    found: dict[OperationId, list[Finding]] = {}
    for row in await connection.fetch(_LABELS, tenant, run_id):
        found.setdefault(OperationId(row["operation_id"]), []).append(finding_from_row(row))
    for row in await connection.fetch(_CORRECTIONS, tenant, run_id):
        operation_id = OperationId(row["operation_id"] or "")
        corrected = Finding(
            tenant=tenant,
            run_id=run_id,
            operation_id=operation_id,
            category=Category(row["category"]),
            rule="person",
            evidence=f"{row['source']}: {row['comment']}" if row["comment"] else row["source"],
            agent=run["agent"],
            started_at=run["started_at"],
            created_at=row["created_at"],
        )
        found.setdefault(operation_id, []).append(corrected)
    return found


def finding_from_row(row: asyncpg.Record) -> Finding:
    return Finding(
        tenant=row["tenant"],
        run_id=RunId(row["run_id"]),
        operation_id=OperationId(row["operation_id"]),
        category=Category(row["category"]),
        rule=row["rule"],
        evidence=row["evidence"],
        agent=row["agent"],
        started_at=row["started_at"],
        created_at=row["created_at"],
    )


def _trace(row: asyncpg.Record) -> Trace:
    return Trace(
        run_id=RunId(row["run_id"]),
        tenant=row["tenant"],
        agent=row["agent"],
        agent_version=row["agent_version"],
        status=TraceStatus(row["status"]),
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        duration_s=row["duration_s"],
        usage=Usage(input_tokens=row["input_tokens"], output_tokens=row["output_tokens"], cost_micros=row["cost_micros"]),
        steps=row["steps"],
        category=Category(row["category"]) if row["category"] else None,
        reason=row["reason"] or "",
        categories=tuple(Category(one) for one in row["categories"]),
        tags=tuple(row["tags"]),
        parent_run_id=RunId(row["parent_run_id"]),
        thread_id=row["thread_id"],
    )
