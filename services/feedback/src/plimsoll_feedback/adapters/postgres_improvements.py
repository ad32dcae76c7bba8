"""Improvements in Postgres: plans, and tries of them that any process can go on with."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, TypeAlias

import asyncpg
from plimsoll_runtime import audit
from plimsoll_runtime.audit import AuditRecord
from plimsoll_runtime.json_types import JsonObject

from plimsoll_feedback.adapters.postgres_evaluations import rules_from_row, rules_to_row
from plimsoll_feedback.adapters.postgres_session import ingesting, reading, writing
from plimsoll_feedback.domain.learning.datasets import DatasetName
from plimsoll_feedback.domain.learning.improvements import Improvement, ImprovementId, Plan, Progress
from plimsoll_feedback.errors import ImprovementNotFound, ImprovementUnderWay, KeyReused
from plimsoll_feedback.ports.improving import HeldTry

Row: TypeAlias = dict[str, Any]  # a column of JSON

_OPEN: Final = "state in ('drafting', 'evaluating', 'promoting')"
_PUT: Final = """
insert into improvement_plans (tenant, prompt, plan, due_at, updated_at)
values ($1, $2, $3, case when $4::double precision is not null then $5::timestamptz + make_interval(secs => $4) end, $5)
on conflict (tenant, prompt) do update set plan = excluded.plan, due_at = excluded.due_at, updated_at = excluded.updated_at
"""
_DUE: Final = """
with due as (select tenant, prompt from improvement_plans where due_at <= $1 order by due_at limit 100 for update skip locked)
update improvement_plans p set due_at = $1::timestamptz + make_interval(secs => (plan ->> 'every_s')::double precision)
from due where p.tenant = due.tenant and p.prompt = due.prompt returning p.tenant, p.plan
"""
# What was learned before the first of the open alerts is not about what it noticed; what the last try saw is not new.
_ALARMED: Final = f"""
select p.tenant, p.plan from improvement_plans p,
    lateral (select min(raised_at) as at from alerts a
        where a.tenant = p.tenant and a.subject_kind = 'prompt' and a.subject = p.prompt and a.status = 'open') alarm,
    lateral (select max(created_at) as at from improvements i where i.tenant = p.tenant and i.prompt = p.prompt) tried
where (p.plan ->> 'on_alert')::boolean and alarm.at is not null
  and not exists (select from improvements i where i.tenant = p.tenant and i.prompt = p.prompt and i.{_OPEN})
  and (p.plan ->> 'minimum_new')::bigint <= (
    select count(*) from dataset_items i where i.tenant = p.tenant and i.dataset = p.plan ->> 'dataset' and i.status = 'agreed'
        and i.created_at > greatest(alarm.at, tried.at)
  )
order by p.tenant, p.prompt limit 100
"""
_START: Final = f"""
insert into improvements (tenant, improvement_id, prompt, state, plan, idempotency_key, created_at, changed_at)
select $1, $2, $3, 'drafting', $4, $5, $6, $6
where not exists (select from improvements where tenant = $1 and prompt = $3 and {_OPEN})
on conflict do nothing returning improvement_id
"""
_CLAIM: Final = f"""
with next as (
    select tenant, improvement_id from improvements where {_OPEN} and held_until <= now()
    order by held_until, created_at, improvement_id limit 1 for update skip locked
)
update improvements i set epoch = epoch + 1, held_until = now() + make_interval(secs => $1)
from next where i.tenant = next.tenant and i.improvement_id = next.improvement_id returning i.*
"""
_CHANGE: Final = f"""
update improvements set state = $4, baseline_digest = $5, candidate_digest = $6, evaluation_id = $7, report_digest = $8, reason = $9,
    dataset_version = $10, changed_at = $11, held_until = now() + make_interval(secs => $12)
where tenant = $1 and improvement_id = $2 and epoch = $3 and {_OPEN} returning true
"""
_WATCHED: Final = """
select * from improvements where state = 'promoted' and not (plan ->> 'no_rollback')::boolean
and changed_at > now() - make_interval(secs => (plan ->> 'watch_s')::double precision) order by changed_at limit 1000
"""


class PostgresImprovementStore:
    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def put_plan(self, tenant: str, plan: Plan, at: datetime, told: AuditRecord) -> Plan:
        async with writing(self._pool, tenant) as connection:
            await connection.execute(_PUT, tenant, plan.prompt, _plan_to_row(plan), plan.every_s, at)
            await audit.append(connection, [told])
        return plan

    async def plan(self, tenant: str, prompt: str) -> Plan | None:
        async with reading(self._pool, tenant) as connection:
            row = await connection.fetchval("select plan from improvement_plans where tenant = $1 and prompt = $2", tenant, prompt)
        return _plan(row) if row is not None else None

    async def plans(self, tenant: str) -> Sequence[Plan]:
        async with reading(self._pool, tenant) as connection:
            rows = await connection.fetch("select plan from improvement_plans where tenant = $1 order by prompt", tenant)
        return [_plan(row["plan"]) for row in rows]

    async def due(self, now: datetime) -> Sequence[tuple[str, Plan]]:
        async with ingesting(self._pool) as connection:
            rows = await connection.fetch(_DUE, now)
        return [(row["tenant"], _plan(row["plan"])) for row in rows]

    async def alarmed(self) -> Sequence[tuple[str, Plan]]:
        async with ingesting(self._pool) as connection:
            rows = await connection.fetch(_ALARMED)
        return [(row["tenant"], _plan(row["plan"])) for row in rows]

    async def start(self, improvement: Improvement, key: str) -> Improvement:
        tenant, prompt = improvement.tenant, improvement.plan.prompt
        row = (tenant, improvement.id, prompt, _plan_to_row(improvement.plan), key or None, improvement.created_at)
        async with writing(self._pool, tenant) as connection:
            if key:
                known = await connection.fetchrow("select * from improvements where tenant = $1 and idempotency_key = $2", tenant, key)
                if known is not None:
                    return _same(_improvement(known), prompt, key)
            if await connection.fetchval(_START, *row) is not None:
                return improvement
            found = await connection.fetchrow(f"select * from improvements where tenant = $1 and prompt = $2 and {_OPEN}", tenant, prompt)
        told = f" by {found['improvement_id']}" if found is not None else ""
        raise ImprovementUnderWay(f"{prompt} is being improved{told}", remedy="wait for its end")

    async def get(self, tenant: str, improvement_id: ImprovementId) -> Improvement:
        query = "select * from improvements where tenant = $1 and improvement_id = $2"
        async with reading(self._pool, tenant) as connection:
            row = await connection.fetchrow(query, tenant, improvement_id)
        if row is None:
            raise ImprovementNotFound(f"no improvement {improvement_id}", remedy="take the id from the list of improvements")
        return _improvement(row)

    async def list(self, tenant: str, prompt: str, limit: int) -> Sequence[Improvement]:
        query = """select * from improvements where tenant = $1 and ($2 = '' or prompt = $2)
            order by created_at desc, improvement_id desc limit $3"""
        async with reading(self._pool, tenant) as connection:
            rows = await connection.fetch(query, tenant, prompt, limit)
        return [_improvement(row) for row in rows]

    async def claim(self, lease_s: float) -> HeldTry | None:
        async with ingesting(self._pool) as connection:
            row = await connection.fetchrow(_CLAIM, lease_s)
        return HeldTry(improvement=_improvement(row), epoch=row["epoch"]) if row is not None else None

    async def change(self, held: HeldTry, after: Improvement, again_in_s: float) -> bool:
        told = (
            after.baseline_digest,
            after.candidate_digest,
            after.evaluation_id,
            after.report_digest,
            after.reason,
            after.dataset_version,
        )
        async with writing(self._pool, after.tenant) as connection:
            row = (after.tenant, after.id, held.epoch, after.state.value, *told, after.changed_at, again_in_s)
            return bool(await connection.fetchval(_CHANGE, *row))

    async def promoted(self) -> Sequence[Improvement]:
        async with ingesting(self._pool) as connection:
            rows = await connection.fetch(_WATCHED)
        return [_improvement(row) for row in rows]

    async def rolled_back(self, improvement: Improvement, reason: str, at: datetime) -> bool:
        query = """update improvements set state = 'rolled_back', reason = $3, changed_at = $4
            where tenant = $1 and improvement_id = $2 and state = 'promoted' returning true"""
        async with writing(self._pool, improvement.tenant) as connection:
            return bool(await connection.fetchval(query, improvement.tenant, improvement.id, reason, at))


def _same(known: Improvement, prompt: str, key: str) -> Improvement:
    if known.plan.prompt != prompt:
        raise KeyReused(f"the key {key} started improvement {known.id}", remedy="use a new key for another prompt")
    return known


def _plan_to_row(plan: Plan) -> JsonObject:
    return {
        "prompt": plan.prompt,
        "dataset": plan.dataset,
        "label": plan.label,
        "every_s": plan.every_s,
        "minimum_new": plan.minimum_new,
        "example_tokens": plan.example_tokens,
        "rules": rules_to_row(plan.rules),
        "watch_s": plan.watch_s,
        "no_rollback": plan.no_rollback,
        "reflection": plan.reflection,
        "on_alert": plan.on_alert,
    }


def _plan(row: Row) -> Plan:
    return Plan(
        prompt=row["prompt"],
        dataset=DatasetName(row["dataset"]),
        label=row["label"],
        every_s=row["every_s"],
        minimum_new=row["minimum_new"],
        example_tokens=row["example_tokens"],
        rules=rules_from_row(row["rules"]),
        watch_s=row["watch_s"],
        no_rollback=row["no_rollback"],
        reflection=row["reflection"],
        on_alert=row["on_alert"],
    )


def _improvement(row: asyncpg.Record) -> Improvement:
    return Improvement(
        id=ImprovementId(row["improvement_id"]),
        tenant=row["tenant"],
        plan=_plan(row["plan"]),
        state=Progress(row["state"]),
        created_at=row["created_at"],
        changed_at=row["changed_at"],
        baseline_digest=row["baseline_digest"],
        candidate_digest=row["candidate_digest"],
        evaluation_id=row["evaluation_id"],
        report_digest=row["report_digest"],
        reason=row["reason"],
        dataset_version=row["dataset_version"],
    )
