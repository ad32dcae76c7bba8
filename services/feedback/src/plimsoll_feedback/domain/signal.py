"""Signals: what people, systems and the mesh itself say about how good an answer was."""

import math
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NewType, TypeAlias, assert_never

from plimsoll_runtime.errors import FieldProblem
from plimsoll_runtime.failures import Category
from plimsoll_runtime.json_types import JsonObject, JsonValue, digest, dump_json

from plimsoll_feedback.domain.operation import OperationId, RunId

SignalId = NewType("SignalId", str)

COMMENT_CAP_CHARACTERS = 10_000
DEMONSTRATION_CAP_CHARACTERS = 262_144
NAME_CAP_CHARACTERS = 256


class Verdict(StrEnum):
    GOOD = "good"
    BAD = "bad"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """Good or bad, by someone who looked."""

    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """0 is useless, 1 is perfect."""

    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Relabelled:
    """The category that a failure should have borne."""

    category: Category


@dataclass(frozen=True, slots=True, kw_only=True)
class Demonstrated:
    """The answer that would have been right."""

    answer: JsonValue


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """Whether the workflow around the run succeeded in the end."""

    succeeded: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Remarked:
    """Only the comment counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """People allowed or refused what a run proposed. Comes out of the run's journal, with all that they could see.

    arguments   of a refusal: what they proposed instead
    """

    approved: bool
    approval_id: str
    node: str
    decided_by: tuple[str, ...]
    proposal: JsonValue = None
    arguments: JsonValue = None


SignalValue: TypeAlias = Judged | Scored | Relabelled | Demonstrated | Ended | Remarked | Decided


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalDraft:
    """What somebody wants to record. `operation_id` is None when the whole run is meant; without `run_id` the run is the one with `tag`.

    source        who says so, in the caller's words: a person, a judge, a system
    recorded_by   who asked for it, by the key that was shown; empty for the mesh itself
    """

    run_id: RunId
    operation_id: OperationId | None
    value: SignalValue
    comment: str
    source: str
    tag: str = ""
    recorded_by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalEntry:
    """One of many that are recorded together; an empty key means always a new signal."""

    draft: SignalDraft
    idempotency_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """A recorded signal; corrections are further signals, never changes of this one."""

    id: SignalId
    tenant: str
    run_id: RunId
    operation_id: OperationId | None
    value: SignalValue
    comment: str
    source: str
    created_at: datetime
    recorded_by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """What people were asked: kept so that their decision can be read with all that led to it."""

    tenant: str
    run_id: RunId
    approval_id: str
    context: JsonObject
    asked_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class IdempotencyKey:
    """The key of a request, bound to what the request said."""

    key: str
    fingerprint: str


def problems_of(draft: SignalDraft) -> tuple[FieldProblem, ...]:
    """Everything that forbids recording the draft, at once."""
    problems = [*_problems_of_value(draft)]
    texts = {"run_id": draft.run_id, "operation_id": draft.operation_id or "", "source": draft.source, "tag": draft.tag}
    if not draft.run_id and not draft.tag:
        problems.append(FieldProblem("run_id", "is empty", "say which run the signal is about, by its id or by one of its tags"))
    if draft.run_id and draft.tag:
        problems.append(FieldProblem("tag", "stands beside a run_id", "give one of the two"))
    for name, text in texts.items():
        problems += _too_long(name, text, NAME_CAP_CHARACTERS)
    problems += _too_long("comment", draft.comment, COMMENT_CAP_CHARACTERS)
    texts["comment"] = draft.comment
    problems += [FieldProblem(name, "holds a NUL character", "remove it") for name, text in texts.items() if "\x00" in text]
    return tuple(problems)


def problems_of_key(key: str) -> tuple[FieldProblem, ...]:
    """What forbids using the text as an idempotency key."""
    problems = _too_long("idempotency_key", key, NAME_CAP_CHARACTERS)
    return tuple([*problems, FieldProblem("idempotency_key", "holds a NUL character", "remove it")] if "\x00" in key else problems)


def fingerprint(draft: SignalDraft) -> str:
    """Tells one draft from another under the same idempotency key."""
    said: list[JsonValue] = [draft.run_id, draft.operation_id, type(draft.value).__name__, _plain(draft.value), draft.comment, draft.source]
    return digest([*said, draft.tag] if draft.tag else said)


def _problems_of_value(draft: SignalDraft) -> list[FieldProblem]:
    match draft.value:
        case Scored(score=score) if not (math.isfinite(score) and 0 <= score <= 1):
            return [FieldProblem("score", f"is {score:g}", "use a number from 0 to 1")]
        case Demonstrated(answer=answer):
            return _too_long("demonstration", dump_json(answer), DEMONSTRATION_CAP_CHARACTERS)
        case Remarked() if not draft.comment.strip():
            return [FieldProblem("comment", "is empty", "a remark needs a comment")]
        case Decided():
            return [FieldProblem("approval", "comes from the journal only", "decide the approval itself")]
        case Judged() | Scored() | Relabelled() | Ended() | Remarked():
            return []
        case _:
            assert_never(draft.value)


def _too_long(name: str, text: str, cap: int) -> list[FieldProblem]:
    return [FieldProblem(name, f"has {len(text)} characters", f"use at most {cap}")] if len(text) > cap else []


def _plain(value: SignalValue) -> JsonValue:
    match value:
        case Judged(verdict=verdict):
            return verdict.value
        case Scored(score=score):
            return score
        case Relabelled(category=category):
            return category.value
        case Demonstrated(answer=answer):
            return answer
        case Ended(succeeded=succeeded):
            return succeeded
        case Remarked():
            return None
        case Decided(approval_id=approval_id):
            return approval_id
        case _:
            assert_never(value)
