"""A finished call as the row that the ledger's function takes, and back."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

import asyncpg
from plimsoll_runtime.failures import Category, Failure
from plimsoll_runtime.json_types import JsonObject
from plimsoll_runtime.usage import Usage
from plimsoll_runtime.work import WorkContext

from plimsoll_model_router.domain import plain
from plimsoll_model_router.domain.calls import CompletedCall, KeptBody, KeptCall
from plimsoll_model_router.domain.generation import Answer, Purpose, Unanswered


def row_of(call: CompletedCall, choice: JsonObject, remembered_until: datetime | None) -> JsonObject:
    """Its columns by name, with the plain form of its choice. The answer is kept when there is a time to remember it until."""
    work, outcome, usage, generation = call.generation.work, call.outcome, call.outcome.usage, call.generation
    failure = outcome.failure if isinstance(outcome, Unanswered) else None
    keeps = remembered_until is not None and isinstance(outcome, Answer)
    provider, model = _asked(call)
    return {
        "tenant": call.tenant,
        "call_id": call.call_id,
        "request_key": generation.request_key,
        "fingerprint": call.fingerprint,
        "run_id": work.run_id,
        "step": work.step,
        "node": work.node,
        "agent": work.agent,
        "agent_version": work.agent_version,
        "task": generation.task,
        "provider": provider,
        "model": model,
        "rehearsal": isinstance(outcome, Answer) and outcome.rehearsal,
        "prompt_name": generation.prompt_name,
        "prompt_version": call.prompt_version,
        "model_digest": call.model_digest,
        "purpose": generation.purpose.value,
        "confidence": outcome.confidence if isinstance(outcome, Answer) else None,
        "prompt_digest": outcome.prompt_digest,
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cached_input_tokens": usage.cached_input_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "cost_micros": usage.cost_micros,
        "attempts": len(outcome.attempts),
        "failure_category": failure.category.value if failure is not None else None,
        "failure_reason": failure.reason if failure is not None else None,
        "failure": {"message": failure.message, "retryable": failure.retryable, "where": failure.where} if failure is not None else None,
        "started_at": call.started_at.isoformat(),
        "duration_s": call.duration_s,
        "answer": plain.answer_to_plain(outcome) if keeps and isinstance(outcome, Answer) else None,
        "remembered_until": remembered_until.isoformat() if keeps and remembered_until is not None else None,
        "api_key": call.key,
        "priced": outcome.priced,
        "cached": isinstance(outcome, Answer) and outcome.cached,
        "cache_key": call.cache_key,
        "tried": plain.attempts_to_plain(outcome.attempts),
        "choice": choice,
    }


def kept_call(row: asyncpg.Record, encode_answer: Callable[[Answer], bytes]) -> KeptCall:
    """The call, with its body when it still has one: the answer is kept there, or in the row, where a request key needs it."""
    failure = None
    if row["failure_category"] is not None:
        more = row["failure"] or {"message": "", "retryable": False, "where": ""}
        failure = Failure(
            category=Category(row["failure_category"]),
            reason=row["failure_reason"],
            message=more["message"],
            retryable=more["retryable"],
            where=more["where"],
        )
    return KeptCall(
        call_id=row["call_id"],
        task=row["task"],
        provider=row["provider"],
        model=row["model"],
        prompt_name=row["prompt_name"],
        prompt_digest=row["prompt_digest"],
        usage=Usage(
            input_tokens=row["input_tokens"],
            output_tokens=row["output_tokens"],
            cached_input_tokens=row["cached_input_tokens"],
            reasoning_tokens=row["reasoning_tokens"],
            cost_micros=row["cost_micros"],
        ),
        priced=row["priced"],
        started_at=row["started_at"],
        duration_s=row["duration_s"],
        work=WorkContext(
            run_id=row["run_id"], step=row["step"], node=row["node"], agent=row["agent"], agent_version=row["agent_version"], epoch=0
        ),
        failure=failure,
        attempts=plain.attempts_from_plain(row["tried"]),
        choice=row["choice"],
        purpose=Purpose(row["purpose"]),
        prompt_version=row["prompt_version"],
        model_digest=row["model_digest"],
        confidence=row["confidence"],
        rehearsal=row["rehearsal"],
        cached=row["cached"],
        body=_body(row, encode_answer) if row["body_question"] is not None else None,
    )


def _body(row: asyncpg.Record, encode_answer: Callable[[Answer], bytes]) -> KeptBody:
    answer = row["body_answer"] or b""
    if row["answer"] is not None:
        answer = encode_answer(replace(plain.answer_from_plain(row["answer"]), recorded=False, attempts=()))
    return KeptBody(question=row["body_question"], answer=answer, until=row["keep_until"])


def _asked(call: CompletedCall) -> tuple[str, str]:
    """Provider and model of the last attempt; empty when nobody was asked."""
    outcome = call.outcome
    if isinstance(outcome, Answer):
        asked_for = next((one.model for one in reversed(outcome.attempts)), outcome.model)
        return outcome.provider, asked_for
    last = outcome.attempts[-1] if outcome.attempts else None
    return (last.provider, last.model) if last is not None else ("", "")
