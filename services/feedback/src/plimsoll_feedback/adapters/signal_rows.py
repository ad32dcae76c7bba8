"""Rows of signals: from the domain to columns and back."""

from typing import Any, Final, TypeAlias, assert_never

import asyncpg
from plimsoll_runtime.failures import Category
from plimsoll_runtime.json_types import JsonObject, JsonValue, dump_json, parse_json

from plimsoll_feedback.domain.operation import OperationId, RunId
from plimsoll_feedback.domain.signal import (
    Decided,
    Demonstrated,
    Ended,
    IdempotencyKey,
    Judged,
    Relabelled,
    Remarked,
    Scored,
    Signal,
    SignalId,
    SignalValue,
    Verdict,
)

Cell: TypeAlias = Any  # whatever a column holds

INSERT: Final = """
insert into signals (
    tenant, signal_id, run_id, operation_id, comment, source, created_at, idempotency_key, fingerprint,
    recorded_by, kind, verdict, score, category, demonstration, outcome, approved, context
) select * from unnest(
    $1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::timestamptz[], $8::text[], $9::text[],
    $10::text[], $11::text[], $12::text[], $13::double precision[], $14::text[], $15::text[], $16::boolean[], $17::boolean[], $18::text[]
)
on conflict do nothing
returning signal_id
"""

SELECT: Final = """
select signals.*, (
    select proposals.context from proposals
    where proposals.tenant = signals.tenant and proposals.run_id = signals.run_id
        and signals.kind = 'approval' and proposals.approval_id = signals.context::json ->> 'approval_id'
) as proposal
from signals
"""


def signal_to_row(signal: Signal, key: IdempotencyKey | None) -> tuple[Cell, ...]:
    return (
        signal.tenant,
        signal.id,
        signal.run_id,
        signal.operation_id,
        signal.comment,
        signal.source,
        signal.created_at,
        key.key if key else None,
        key.fingerprint if key else None,
        signal.recorded_by,
        *_value_to_row(signal.value),
    )


def signal_from_row(row: asyncpg.Record) -> Signal:
    return Signal(
        id=SignalId(row["signal_id"]),
        tenant=row["tenant"],
        run_id=RunId(row["run_id"]),
        operation_id=None if row["operation_id"] is None else OperationId(row["operation_id"]),
        value=_value_from_row(row),
        comment=row["comment"],
        source=row["source"],
        created_at=row["created_at"],
        recorded_by=row["recorded_by"],
    )


def _value_to_row(value: SignalValue) -> tuple[Cell, ...]:
    """The columns kind, verdict, score, category, demonstration, outcome, approved and context."""
    match value:
        case Judged(verdict=verdict):
            return ("verdict", verdict.value, None, None, None, None, None, None)
        case Scored(score=score):
            return ("score", None, score, None, None, None, None, None)
        case Relabelled(category=category):
            return ("category", None, None, category.value, None, None, None, None)
        case Demonstrated(answer=answer):
            return ("demonstration", None, None, None, dump_json(answer), None, None, None)
        case Ended(succeeded=succeeded):
            return ("outcome", None, None, None, None, succeeded, None, None)
        case Remarked():
            return ("remark", None, None, None, None, None, None, None)
        case Decided(approved=approved):
            return ("approval", None, None, None, None, None, approved, dump_json(_context(value)))
        case _:
            assert_never(value)


def _context(decided: Decided) -> JsonObject:
    """All but the proposal, which has a row of its own."""
    people: list[JsonValue] = [*decided.decided_by]
    return {"approval_id": decided.approval_id, "node": decided.node, "decided_by": people, "arguments": decided.arguments}


def _value_from_row(row: asyncpg.Record) -> SignalValue:
    match row["kind"]:
        case "verdict":
            return Judged(verdict=Verdict(row["verdict"]))
        case "score":
            return Scored(score=row["score"])
        case "category":
            return Relabelled(category=Category(row["category"]))
        case "demonstration":
            return Demonstrated(answer=parse_json(row["demonstration"], field="demonstration"))
        case "outcome":
            return Ended(succeeded=row["outcome"])
        case "approval":
            return _decided(row)
        case _:
            return Remarked()


def _decided(row: asyncpg.Record) -> Decided:
    match parse_json(row["context"], field="context"):
        case {"approval_id": str(approval_id), "node": str(node), "decided_by": list(people), "arguments": arguments}:
            return Decided(
                approved=row["approved"],
                approval_id=approval_id,
                node=node,
                decided_by=tuple(map(str, people)),
                proposal=None if row["proposal"] is None else parse_json(row["proposal"], field="proposal"),
                arguments=arguments,
            )
        case other:
            raise ValueError(f"a decision's context is {type(other).__name__}")  # written above, in this form only
