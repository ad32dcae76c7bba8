"""Rows of the ledger ↔ domain."""

from datetime import timedelta

import asyncpg
from plimsoll_runtime.failures import Category, Failure
from plimsoll_runtime.json_types import JsonObject, dump_json, parse_json, parse_object
from plimsoll_runtime.work import WorkContext

from plimsoll_tool_dispatcher.domain.call import Call, Degraded, Failed, Outcome, Succeeded
from plimsoll_tool_dispatcher.domain.effects import EffectClass
from plimsoll_tool_dispatcher.domain.history import KeptCall
from plimsoll_tool_dispatcher.domain.ledger import (
    CallState,
    Claim,
    Completed,
    Doubt,
    Found,
    KeyTaken,
    NoEntry,
    Recorded,
    Reservation,
    StaleEpoch,
    Unfinished,
)


def kept_call_of(row: asyncpg.Record) -> KeptCall:
    return KeptCall(
        call_id=row["call_id"],
        call_key=row["call_key"],
        work=_work_of(row),
        tool=row["tool"],
        tool_digest=row["tool_digest"],
        effect=EffectClass(row["effect"]),
        state=CallState(row["state"]),
        arguments=parse_object(row["arguments"]) if row["arguments"] is not None else None,
        outcome=None if row["state"] in {CallState.RESERVED, CallState.DISPATCHED} else _outcome_of(row),
        attempts=row["attempts"],
        duration_s=row["duration_s"],
        started_at=row["reserved_at"],
        finished_at=row["finished_at"],
        call_digest=row["call_digest"],
        policy=row["policy"],
        rules=_words(row["rules"], ","),
        grant_id=row["grant_id"],
        approved_by=_words(row["approved_by"], "\n"),
        resolved_by=row["resolved_by"],
    )


def found_of(row: asyncpg.Record, call: Call) -> Found:
    """What a row tells about a call; `highest` is the epoch that acted for its run."""
    if row["highest"] is not None and row["highest"] > call.work.epoch:
        return StaleEpoch(highest=row["highest"])
    if row["state"] is None:
        return NoEntry()
    if row["request_digest"] != call.request_digest:
        return KeyTaken()
    if row["state"] in {CallState.RESERVED, CallState.DISPATCHED}:
        return unfinished_of(row, call.tenant, call.key)
    return Recorded(call_id=row["call_id"], outcome=_outcome_of(row), attempts=row["attempts"], duration_s=row["duration_s"])


def unfinished_of(row: asyncpg.Record, tenant: str, call_key: str) -> Unfinished:
    return Unfinished(
        claim=Claim(tenant=tenant, call_key=call_key, call_id=row["call_id"], fence=row["fence"]),
        tool=row["tool"],
        state=CallState(row["state"]),
        effect=EffectClass(row["effect"]),
        call_digest=row["call_digest"],
        held=row["held"],
    )


def doubt_of(row: asyncpg.Record) -> Doubt:
    return Doubt(
        claim=Claim(tenant=row["tenant"], call_key=row["call_key"], call_id=row["call_id"], fence=row["fence"]),
        work=_work_of(row),
        tool=row["tool"],
        tool_digest=row["tool_digest"],
        arguments=parse_object(row["arguments"]) if row["arguments"] is not None else None,
        reason=str(row["failure"]["reason"]),
        since=row["finished_at"],
        tries=row["doubt_tries"],
        escalated=row["escalated_at"] is not None,
        grant_id=row["grant_id"],
    )


def completed_of(row: asyncpg.Record, failure: Failure | None, event_id: str) -> Completed:
    """The announcement of a call that another than its owner ended."""
    return Completed(
        event_id=event_id,
        tenant=row["tenant"],
        call_id=row["call_id"],
        call_key=row["call_key"],
        work=_work_of(row),
        tool=row["tool"],
        tool_digest=row["tool_digest"],
        started_at=row["reserved_at"],
        duration_s=row["duration_s"],
        attempts=row["attempts"],
        failure=failure,
        grant_id=row["grant_id"],
        effect=EffectClass(row["effect"]),
        call_digest=row["call_digest"],
        policy=row["policy"],
        rules=_words(row["rules"], ","),
        approved_by=_words(row["approved_by"], "\n"),
        resolved_by=row["resolved_by"],
    )


def failure_to_row(failure: Failure) -> JsonObject:
    return {
        "category": failure.category.value,
        "reason": failure.reason,
        "message": failure.message,
        "retryable": failure.retryable,
        "retry_after_s": failure.retry_after_s,
        "where": failure.where,
    }


def failure_of(row: JsonObject) -> Failure:
    retry_after_s = row["retry_after_s"]
    return Failure(
        category=Category(str(row["category"])),
        reason=str(row["reason"]),
        message=str(row["message"]),
        retryable=bool(row["retryable"]),
        retry_after_s=retry_after_s if isinstance(retry_after_s, float | int) else None,
        where=str(row["where"]),
    )


def degraded_to_row(degraded: Degraded) -> JsonObject:
    return {"by": degraded.by, "age_s": degraded.age_s, "failure": failure_to_row(degraded.failure)}


def degraded_of(row: JsonObject | None) -> Degraded | None:
    match row:
        case {"by": str(by), "age_s": float() | int() as age_s, "failure": dict() as failure}:
            return Degraded(by=by, failure=failure_of(failure), age_s=age_s)
    return None


def kept_arguments(reservation: Reservation) -> str:
    """The arguments, for who has to find out what the call did, and for who looks back."""
    return dump_json(reservation.proposal.effective_arguments)


def lease_of(reservation: Reservation) -> timedelta:
    return timedelta(seconds=reservation.lease_s)


def _outcome_of(row: asyncpg.Record) -> Outcome:
    if row["failure"]:
        return Failed(failure=failure_of(row["failure"]))
    return Succeeded(result=parse_json(row["result"]), degraded=degraded_of(row["degraded"]))


def _words(text: str, separator: str) -> tuple[str, ...]:
    return tuple(text.split(separator)) if text else ()


def _work_of(row: asyncpg.Record) -> WorkContext:
    return WorkContext(
        run_id=row["run_id"],
        step=row["step"],
        node=row["node"],
        agent=row["agent"],
        agent_version=row["agent_version"],
        epoch=row["epoch"],
    )
