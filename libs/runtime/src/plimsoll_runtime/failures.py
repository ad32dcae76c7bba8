"""Failures as values: the shared taxonomy, and its form on the wire."""

from dataclasses import dataclass
from enum import StrEnum

from plimsoll.common.v1 import failure_pb2

from plimsoll_runtime.errors import DeadlineExpired, ErrorKind, PlimsollError, unwrap
from plimsoll_runtime.wire import duration_from_proto, duration_to_proto


class Category(StrEnum):
    """What kind of thing went wrong; the words of common/v1/failure.proto."""

    TOOL_ERROR = "tool_error"
    INVALID_ARGUMENTS = "invalid_arguments"
    UNKNOWN_TOOL = "unknown_tool"
    WRONG_TOOL = "wrong_tool"
    MALFORMED_RESULT = "malformed_result"
    CONTEXT_TRUNCATED = "context_truncated"
    CONTEXT_INVALID = "context_invalid"
    UPSTREAM_REJECTED = "upstream_rejected"
    UPSTREAM_UNAVAILABLE = "upstream_unavailable"
    RATE_LIMITED = "rate_limited"
    TIMEOUT = "timeout"
    POLICY_DENIED = "policy_denied"
    APPROVAL_REJECTED = "approval_rejected"
    BUDGET_EXCEEDED = "budget_exceeded"
    MODEL_REFUSED = "model_refused"
    MODEL_MALFORMED = "model_malformed"
    RETRIEVAL_EMPTY = "retrieval_empty"
    OUTCOME_UNKNOWN = "outcome_unknown"
    INTERNAL = "internal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Attributes:
    reason         stable UPPER_SNAKE word, finer than the category
    message        for people; holds no secret, prompt, argument or result
    retry_after_s  when a repeat makes sense, in seconds; None when unknown
    where          node, tool, model or collection
    """

    category: Category
    reason: str
    message: str
    retryable: bool = False
    retry_after_s: float | None = None
    where: str = ""


_BY_KIND: dict[ErrorKind, Category] = {
    ErrorKind.INVALID: Category.INTERNAL,
    ErrorKind.UNAUTHENTICATED: Category.INTERNAL,
    ErrorKind.DENIED: Category.POLICY_DENIED,
    ErrorKind.NOT_FOUND: Category.UPSTREAM_REJECTED,
    ErrorKind.CONFLICT: Category.UPSTREAM_REJECTED,
    ErrorKind.EXHAUSTED: Category.RATE_LIMITED,
    ErrorKind.UNAVAILABLE: Category.UPSTREAM_UNAVAILABLE,
    ErrorKind.TIMEOUT: Category.TIMEOUT,
    ErrorKind.CANCELLED: Category.INTERNAL,
    ErrorKind.INTERNAL: Category.INTERNAL,
}


def failure_from_error(error: BaseException, where: str) -> Failure:
    """The failure that an error of a call means to the one who made the call; the text of an unknown error is not shown."""
    leaf = unwrap(error)
    if isinstance(leaf, TimeoutError):
        leaf = DeadlineExpired()
    if isinstance(leaf, PlimsollError):
        return Failure(
            category=_BY_KIND[leaf.kind],
            reason=leaf.reason,
            message=leaf.message,
            retryable=leaf.retryable,
            retry_after_s=leaf.retry_after_s,
            where=where,
        )
    return Failure(category=Category.INTERNAL, reason="INTERNAL", message=f"unexpected {type(leaf).__name__}", where=where)


def failure_to_proto(failure: Failure) -> failure_pb2.Failure:
    message = failure_pb2.Failure(
        category=failure_pb2.FailureCategory.Value(f"FAILURE_CATEGORY_{failure.category.name}"),
        reason=failure.reason,
        message=failure.message,
        retryable=failure.retryable,
        where=failure.where,
    )
    if failure.retry_after_s is not None:
        message.retry_after.CopyFrom(duration_to_proto(failure.retry_after_s))
    return message


def failure_from_proto(message: failure_pb2.Failure) -> Failure:
    """An unknown category, as a newer peer may send, becomes `internal` with its reason kept."""
    name = failure_pb2.FailureCategory.Name(message.category) if message.category in failure_pb2.FailureCategory.values() else ""
    return Failure(
        category=Category.__members__.get(name.removeprefix("FAILURE_CATEGORY_"), Category.INTERNAL),
        reason=message.reason,
        message=message.message,
        retryable=message.retryable,
        retry_after_s=duration_from_proto(message.retry_after) if message.HasField("retry_after") else None,
        where=message.where,
    )
