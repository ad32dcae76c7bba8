"""Errors over HTTP: RFC 9457 problem details with the same reasons as over gRPC."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import orjson
from plimsoll_runtime.errors import ErrorKind, Internal, PlimsollError
from plimsoll_runtime.status import code_name

from plimsoll_gateway.errors import BodyTooLarge, BodyTooSlow, MethodNotAllowed, RequestKeyReused, UnsupportedBody

MEDIA_TYPE = "application/problem+json"

STATUS: Mapping[ErrorKind, int] = MappingProxyType(
    {
        ErrorKind.INVALID: 400,
        ErrorKind.UNAUTHENTICATED: 401,
        ErrorKind.DENIED: 403,
        ErrorKind.NOT_FOUND: 404,
        ErrorKind.CONFLICT: 409,
        ErrorKind.EXHAUSTED: 429,
        ErrorKind.CANCELLED: 499,
        ErrorKind.INTERNAL: 500,
        ErrorKind.UNAVAILABLE: 503,
        ErrorKind.TIMEOUT: 504,
    }
)
"""The status of each kind of error."""

FINER: Mapping[type[PlimsollError], int] = MappingProxyType(
    {BodyTooLarge: 413, UnsupportedBody: 415, MethodNotAllowed: 405, BodyTooSlow: 408, RequestKeyReused: 422}
)
"""Where HTTP has a finer word."""

TITLES: Mapping[ErrorKind, str] = MappingProxyType(
    {
        ErrorKind.INVALID: "The request breaks its contract",
        ErrorKind.UNAUTHENTICATED: "The caller is not known",
        ErrorKind.DENIED: "The caller may not do this",
        ErrorKind.NOT_FOUND: "There is no such thing",
        ErrorKind.CONFLICT: "The present state forbids this",
        ErrorKind.EXHAUSTED: "A limit is reached",
        ErrorKind.CANCELLED: "The caller went away",
        ErrorKind.INTERNAL: "A fault on our side",
        ErrorKind.UNAVAILABLE: "A dependency is away",
        ErrorKind.TIMEOUT: "The time given was used up",
    }
)


@dataclass(frozen=True, slots=True)
class Problem:
    """An error as HTTP shows it."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def problem_of(error: PlimsollError, trace_id: str) -> Problem:
    """The answer for an error. The trace id finds it in logs and traces."""
    status = FINER.get(type(error), STATUS[error.kind])
    document: dict[str, object] = {
        "type": f"urn:plimsoll:reason:{error.reason}",
        "title": TITLES[error.kind],
        "status": status,
        "detail": error.message,
        "reason": error.reason,
        "code": code_name(error),
        "retryable": error.retryable,
        "traceId": trace_id,
    }
    if error.remedy:
        document["remedy"] = error.remedy
    if error.problems:
        document["violations"] = [{"field": one.field, "problem": one.problem, "remedy": one.remedy} for one in error.problems]
    if error.retry_after_s is not None:
        document["retryAfter"] = error.retry_after_s
    return Problem(status, _headers(error), orjson.dumps(document))


def _headers(error: PlimsollError) -> dict[str, str]:
    headers = {"Content-Type": MEDIA_TYPE}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s)))
    if error.kind is ErrorKind.UNAUTHENTICATED:
        headers["WWW-Authenticate"] = 'Bearer realm="plimsoll"'
    if isinstance(error, MethodNotAllowed):
        headers["Allow"] = ", ".join(error.allowed)
    return headers


def hidden(error: PlimsollError) -> PlimsollError:
    """The error as a stranger may see it: a fault of ours keeps its reason and loses its words."""
    return Internal(reason=error.reason) if error.kind is ErrorKind.INTERNAL else error
