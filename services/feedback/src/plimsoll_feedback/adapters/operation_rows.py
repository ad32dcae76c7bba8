"""Rows of operations: from the domain to columns and back."""

from typing import Any, Final, TypeAlias

import asyncpg
from plimsoll_runtime.failures import Category, Failure
from plimsoll_runtime.json_types import dump_json
from plimsoll_runtime.usage import Usage

from plimsoll_feedback.domain.operation import Operation, OperationId, OperationKind, RunId

Cell: TypeAlias = Any  # whatever a column holds

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
NAMES: Final = ", ".join(name for name, _ in _COLUMNS)
_ARRAYS: Final = ", ".join(f"${place}::{kind.replace('jsonb', 'text')}[]" for place, (_, kind) in enumerate(_COLUMNS, start=1))
_VALUES: Final = ", ".join(f"{name}::{kind}" for name, kind in _COLUMNS)
INSERT: Final = f"""
insert into operations ({NAMES}) select {_VALUES} from unnest({_ARRAYS}) as new ({NAMES}) on conflict do nothing
"""

# Bounds a run's operations in time, so that days before it need not be searched. Clocks of different machines may differ a little.
SINCE_RUN: Final = """started_at >= coalesce(
    (select started_at - interval '1 hour' from runs where tenant = $1 and run_id = $2), '-infinity'::timestamptz)"""


def operation_to_row(operation: Operation) -> tuple[Cell, ...]:
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


def operation_from_row(tenant: str, row: asyncpg.Record) -> Operation:
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
