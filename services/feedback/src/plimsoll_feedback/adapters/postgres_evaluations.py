"""Evaluations in Postgres: claimed under a lease, every result kept as it comes, reports for ever."""

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

import asyncpg
from plimsoll_runtime.json_types import JsonObject, JsonValue, dump_json, parse_json

from plimsoll_feedback.adapters.postgres_session import ingesting, reading, writing
from plimsoll_feedback.domain.learning.comparison import Rules
from plimsoll_feedback.domain.learning.datasets import DatasetName
from plimsoll_feedback.domain.learning.evaluations import Evaluation, EvaluationId, EvaluationSpec, Result, Side, State
from plimsoll_feedback.domain.learning.reports import Report, SubjectKind
from plimsoll_feedback.errors import EvaluationNotFound, KeyReused, ReportNotFound
from plimsoll_feedback.ports.learning import Held

Seal: TypeAlias = Callable[[Report], tuple[str, str]]
Unseal: TypeAlias = Callable[[str], Report]
Row: TypeAlias = dict[str, Any]  # a column of JSON

_TRIES: Final = 20

_START: Final = """
insert into evaluations (tenant, evaluation_id, dataset, dataset_version, spec, state, idempotency_key, created_at)
values ($1, $2, $3, $4, $5, 'waiting', $6, $7) on conflict (tenant, idempotency_key) where idempotency_key is not null do nothing
returning evaluation_id
"""
_SEEN: Final = """
select e.*, (select count(*) from evaluation_results r where r.tenant = e.tenant and r.evaluation_id = e.evaluation_id) as answered
from evaluations e where e.tenant = $1
"""
# An evaluation that took its process with it again and again is not given to another one.
_CLAIM: Final = """
with next as (
    select tenant, evaluation_id from evaluations where state in ('waiting', 'running') and held_until <= now()
    order by held_until, created_at, evaluation_id limit 1 for update skip locked
)
update evaluations e set state = case when tries >= $2 then 'failed' else 'running' end, epoch = epoch + 1, tries = tries + 1,
    held_until = now() + make_interval(secs => $1), finished_at = case when tries >= $2 then now() end,
    problem = case when tries >= $2 then 'it was begun too often and never came to its end' else '' end
from next where e.tenant = next.tenant and e.evaluation_id = next.evaluation_id
returning e.*, 0 as answered
"""
_MINE: Final = "tenant = $1 and evaluation_id = $2 and epoch = $3 and state = 'running'"
_ADD: Final = f"""
insert into evaluation_results (tenant, evaluation_id, example_id, side, value, scores, note)
select $1, $2, * from unnest($4::text[], $5::text[], $6::text[], $7::text[]::jsonb[], $8::text[])
where exists (select from evaluations where {_MINE} for share)
on conflict do nothing
"""
_REPORT: Final = """
insert into evaluation_reports (tenant, digest, evaluation_id, report, created_at) values ($1, $2, $3, $4, $5) on conflict do nothing
"""


class PostgresEvaluationStore:
    """`seal` makes a report's digest and text, `unseal` reads the text again."""

    def __init__(self, pool: asyncpg.Pool, seal: Seal, unseal: Unseal) -> None:
        self._pool = pool
        self._seal = seal
        self._unseal = unseal

    async def start(self, evaluation: Evaluation, key: str) -> Evaluation:
        told, spec = evaluation.tenant, spec_to_row(evaluation.spec)
        row = (told, evaluation.id, evaluation.spec.dataset, evaluation.dataset_version, spec, key or None, evaluation.created_at)
        async with writing(self._pool, told) as connection:
            if await connection.fetchval(_START, *row) is not None:
                return evaluation
            found = await connection.fetchrow(f"{_SEEN} and e.idempotency_key = $2", told, key)
        known = _evaluation(found)
        if known.spec != evaluation.spec:
            raise KeyReused(f"the key {key} started evaluation {known.id}", remedy="use a new key for another evaluation")
        return known

    async def get(self, tenant: str, evaluation_id: EvaluationId) -> Evaluation:
        async with reading(self._pool, tenant) as connection:
            row = await connection.fetchrow(f"{_SEEN} and e.evaluation_id = $2", tenant, evaluation_id)
        if row is None:
            raise EvaluationNotFound(f"no evaluation {evaluation_id}", remedy="take the id from the list of evaluations")
        return _evaluation(row)

    async def list(self, tenant: str, dataset: str, limit: int) -> Sequence[Evaluation]:
        query = f"{_SEEN} and ($2 = '' or e.dataset = $2) order by e.created_at desc, e.evaluation_id desc limit $3"
        async with reading(self._pool, tenant) as connection:
            rows = await connection.fetch(query, tenant, dataset, limit)
        return [_evaluation(row) for row in rows]

    async def cancel(self, tenant: str, evaluation_id: EvaluationId) -> bool:
        query = """update evaluations set state = 'cancelled', finished_at = now(), epoch = epoch + 1
            where tenant = $1 and evaluation_id = $2 and state in ('waiting', 'running') returning true"""
        async with writing(self._pool, tenant) as connection:
            return bool(await connection.fetchval(query, tenant, evaluation_id))

    async def claim(self, lease_s: float) -> Held | None:
        async with ingesting(self._pool) as connection:
            row = await connection.fetchrow(_CLAIM, lease_s, _TRIES)
        return Held(evaluation=_evaluation(row), epoch=row["epoch"]) if row is not None and row["state"] == "running" else None

    async def renew(self, held: Held, lease_s: float) -> bool:
        query = f"update evaluations set held_until = now() + make_interval(secs => $4) where {_MINE} returning true"
        async with writing(self._pool, held.evaluation.tenant) as connection:
            return bool(await connection.fetchval(query, *_key(held), lease_s))

    async def release(self, held: Held) -> None:
        """For another process, or for later, at once."""
        query = f"update evaluations set held_until = now(), tries = tries - 1 where {_MINE}"
        async with writing(self._pool, held.evaluation.tenant) as connection:
            await connection.execute(query, *_key(held))

    async def begin(self, held: Held, wanted: int) -> None:
        async with writing(self._pool, held.evaluation.tenant) as connection:
            await connection.execute(f"update evaluations set wanted = $4 where {_MINE}", *_key(held), wanted)

    async def results(self, held: Held) -> Sequence[Result]:
        query = "select * from evaluation_results where tenant = $1 and evaluation_id = $2"
        async with reading(self._pool, held.evaluation.tenant) as connection:
            rows = await connection.fetch(query, held.evaluation.tenant, held.evaluation.id)
        return [_result(row) for row in rows]

    async def add(self, held: Held, results: Sequence[Result]) -> bool:
        columns: tuple[list[str], ...] = (
            [one.example_id for one in results],
            [one.side.value for one in results],
            [dump_json(one.value) for one in results],
            [dump_json(dict(one.scores)) for one in results],
            [one.note for one in results],
        )
        async with writing(self._pool, held.evaluation.tenant) as connection:
            await connection.execute(_ADD, *_key(held), *columns)
            return bool(await connection.fetchval(f"select exists (select from evaluations where {_MINE})", *_key(held)))

    async def finish(self, held: Held, report: Report) -> bool:
        tenant = held.evaluation.tenant
        digest, text = self._seal(report)
        query = (
            f"""update evaluations set state = 'done', report_digest = $4, verdict = $5, finished_at = $6 where {_MINE} returning true"""
        )
        async with writing(self._pool, tenant) as connection:
            if not await connection.fetchval(query, *_key(held), digest, report.verdict.value, report.created_at):
                return False
            await connection.execute(_REPORT, tenant, digest, held.evaluation.id, text, report.created_at)
            return True

    async def fail(self, held: Held, problem: str) -> None:
        query = f"update evaluations set state = 'failed', problem = $4, finished_at = now() where {_MINE}"
        async with writing(self._pool, held.evaluation.tenant) as connection:
            await connection.execute(query, *_key(held), problem)

    async def report(self, tenant: str, digest: str) -> Report:
        async with reading(self._pool, tenant) as connection:
            text = await connection.fetchval("select report from evaluation_reports where tenant = $1 and digest = $2", tenant, digest)
        if text is None:
            raise ReportNotFound(f"no report {digest}", remedy="take the digest from its evaluation")
        return self._unseal(text)


def spec_to_row(spec: EvaluationSpec) -> JsonObject:
    return {
        "dataset": spec.dataset,
        "subject": spec.subject.value,
        "name": spec.name,
        "candidate_digest": spec.candidate_digest,
        "baseline_digest": spec.baseline_digest,
        "rules": rules_to_row(spec.rules),
    }


def rules_to_row(rules: Rules) -> JsonObject:
    return {
        "scorers": list[JsonValue](rules.scorers),
        "minimum_examples": rules.minimum_examples,
        "minimum_slice": rules.minimum_slice,
        "margin": rules.margin,
        "must_be_better": rules.must_be_better,
        "cost_ratio": rules.cost_ratio,
        "latency_ratio": rules.latency_ratio,
        "most_examples": rules.most_examples,
        "judge_prompt": rules.judge_prompt,
    }


def rules_from_row(row: Row) -> Rules:
    return Rules(
        scorers=tuple(row["scorers"]),
        minimum_examples=row["minimum_examples"],
        minimum_slice=row["minimum_slice"],
        margin=float(row["margin"]),
        must_be_better=row["must_be_better"],
        cost_ratio=float(row["cost_ratio"]),
        latency_ratio=float(row["latency_ratio"]),
        most_examples=row["most_examples"],
        judge_prompt=row["judge_prompt"],
    )


def _evaluation(row: asyncpg.Record) -> Evaluation:
    spec = row["spec"]
    return Evaluation(
        id=EvaluationId(row["evaluation_id"]),
        tenant=row["tenant"],
        spec=EvaluationSpec(
            dataset=DatasetName(spec["dataset"]),
            subject=SubjectKind(spec["subject"]),
            name=spec["name"],
            candidate_digest=spec["candidate_digest"],
            baseline_digest=spec["baseline_digest"],
            rules=rules_from_row(spec["rules"]),
        ),
        dataset_version=row["dataset_version"],
        state=State(row["state"]),
        created_at=row["created_at"],
        wanted=row["wanted"],
        answered=row["answered"],
        report_digest=row["report_digest"] or "",
        verdict=row["verdict"] or "",
        problem=row["problem"],
        finished_at=row["finished_at"],
    )


def _result(row: asyncpg.Record) -> Result:
    value = None if row["value"] is None else parse_json(row["value"], field="value")
    return Result(example_id=row["example_id"], side=Side(row["side"]), value=value, scores=row["scores"], note=row["note"])


def _key(held: Held) -> tuple[str, str, int]:
    return (held.evaluation.tenant, held.evaluation.id, held.epoch)
