"""Operations and signals, read as selection looks at them: calls of a prompt with everything that was said of them."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

import asyncpg
from plimsoll_runtime.failures import Category
from plimsoll_runtime.json_types import JsonValue, parse_json

from plimsoll_feedback.adapters.postgres_session import reading
from plimsoll_feedback.domain.learning.datasets import DatasetSpec
from plimsoll_feedback.domain.learning.rules import Correcting, Subject
from plimsoll_feedback.domain.paging import Position
from plimsoll_feedback.ports.learning import Scan

_CALL: Final = """o.tenant = $1 and o.kind = 'model_call' and o.prompt = $2 and ($3 = '' or o.agent = $3)
    and coalesce(o.facts ->> 'purpose', '') <> 'evaluation'"""

# A call is looked at when it arrives, when something is said of it, its step or its run, and when its run ends badly.
_ACTIVE: Final = f"""
with active as (
    select o.operation_id, o.started_at, o.recorded_at as active_at from operations o where {_CALL} and o.recorded_at > $4
    union all
    select o.operation_id, o.started_at, s.created_at from signals s
        join operations o on {_CALL} and o.run_id = s.run_id
        left join operations about on about.tenant = s.tenant and about.run_id = s.run_id and about.operation_id = s.operation_id
    where s.tenant = $1 and s.created_at > $4
      and (s.operation_id is null or s.operation_id = o.operation_id or (about.kind <> 'model_call' and about.node = o.node))
    union all
    select o.operation_id, o.started_at, ended.recorded_at from operations ended join operations o on {_CALL} and o.run_id = ended.run_id
    where ended.tenant = $1 and ended.kind = 'run' and ended.category is not null and ended.recorded_at > $4 and ended.run_id <> ''
), latest as (
    select operation_id, started_at, max(active_at) as active_at from active group by operation_id, started_at
    having $6::timestamptz is null or (max(active_at), operation_id) > ($6, $7)
    order by max(active_at), operation_id limit $5
)
select latest.active_at, o.*, coalesce(nullif(r.thread_id, ''), nullif(o.run_id, ''), o.operation_id) as conversation,
    exists (select from operations e where e.tenant = $1 and e.run_id = o.run_id and o.run_id <> '' and e.kind = 'run'
        and e.category is not null) as run_failed,
    exists (select from operations e where e.tenant = $1 and e.run_id = o.run_id and o.run_id <> '' and e.kind = 'approval'
        and e.category = 'approval_rejected') as rejected
from latest join operations o on o.tenant = $1 and o.started_at = latest.started_at and o.operation_id = latest.operation_id
left join runs r on r.tenant = $1 and r.run_id = o.run_id
order by latest.active_at, o.operation_id
"""
_SAID: Final = """
select s.*, about.kind as about_kind, about.node as about_node from signals s
left join operations about on about.tenant = s.tenant and about.run_id = s.run_id and about.operation_id = s.operation_id
where s.tenant = $1 and s.run_id = any($2) order by s.created_at, s.signal_id
"""


class PostgresProduction:
    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def scan(self, tenant: str, spec: DatasetSpec, since: datetime, after: Position | None, limit: int) -> Scan:
        behind = (after.at, after.id) if after is not None else (None, "")
        async with reading(self._pool, tenant) as connection:
            now = await connection.fetchval("select now()")
            calls = await connection.fetch(_ACTIVE, tenant, spec.prompt, spec.agent, since, limit, *behind)
            said = await connection.fetch(_SAID, tenant, list({row["run_id"] for row in calls if row["run_id"]}))
        by_run: dict[str, list[asyncpg.Record]] = defaultdict(list)
        for row in said:
            by_run[row["run_id"]].append(row)
        subjects = tuple(_subject(row, [one for one in by_run[row["run_id"]] if _is_about(one, row)]) for row in calls)
        if len(calls) < limit:
            return Scan(subjects=subjects, seen_to=now)
        last = Position(at=calls[-1]["active_at"], id=calls[-1]["operation_id"])
        return Scan(subjects=subjects, seen_to=last.at, last=last)


def _is_about(signal: asyncpg.Record, call: asyncpg.Record) -> bool:
    if signal["operation_id"] is None or signal["operation_id"] == call["operation_id"]:
        return True
    return signal["about_kind"] not in {None, "model_call"} and signal["about_node"] == call["node"]


def _subject(call: asyncpg.Record, said: Sequence[asyncpg.Record]) -> Subject:
    confidence = call["confidence"]
    return Subject(
        operation_id=call["operation_id"],
        call_id=call["call_id"] or "",
        run_id=call["run_id"],
        conversation=call["conversation"],
        agent=call["agent"],
        prompt_digest=call["prompt_digest"] or "",
        at=call["started_at"],
        confidence=confidence if confidence is not None and confidence >= 0 else None,
        run_failed=call["run_failed"],
        outcome_bad=any(one["outcome"] is False for one in said),
        overridden=call["rejected"],
        opinions=tuple(_opinions(said)),
        corrections=tuple(
            Correcting(signal_id=one["signal_id"], by=_who(one), answer=_json(one["demonstration"]), at=one["created_at"])
            for one in said
            if one["demonstration"] is not None and one["operation_id"] is not None  # of a whole run it is the run's answer, not the call's
        ),
        categories=frozenset(Category(one) for one in (call["category"], *(one["category"] for one in said)) if one is not None),
        signal_ids=tuple(one["signal_id"] for one in said),
    )


def _who(said: asyncpg.Record) -> str:
    """Signals of the mesh itself have nobody behind them but their source, and so have those of before it was kept who recorded them."""
    return str(said["recorded_by"] or said["source"])


def _opinions(said: Iterable[asyncpg.Record]) -> Iterable[tuple[str, bool]]:
    for one in said:
        if one["verdict"] is not None:
            yield (one["source"], one["verdict"] == "good")
        if one["score"] is not None:
            yield (one["source"], one["score"] >= 0.5)


def _json(text: str) -> JsonValue:
    return parse_json(text, field="demonstration")
