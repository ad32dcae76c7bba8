"""The error tree that all services share.

PlimsollError
├── Invalid            the request breaks its contract; repeating it cannot help
├── Unauthenticated    nobody known is asking
├── Denied             somebody known may not do this
├── NotFound           it does not exist, or not for this tenant
├── Conflict           it exists in a state that forbids this
├── Exhausted          a limit, a quota or a queue is full; later may help
├── Unavailable        a dependency is away; soon may help
├── DeadlineExpired    the time given was used up
├── Cancelled          the caller went away
└── Internal           a fault of ours
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class ErrorKind(StrEnum):
    INVALID = "invalid"
    UNAUTHENTICATED = "unauthenticated"
    DENIED = "denied"
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"
    EXHAUSTED = "exhausted"
    UNAVAILABLE = "unavailable"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    INTERNAL = "internal"


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """One thing wrong with one field of a request."""

    field: str
    problem: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.field}: {self.problem}" + (f" ({self.remedy})" if self.remedy else "")


class PlimsollError(Exception):
    """Something went wrong.

    kind           decides the status code on every protocol
    reason         stable UPPER_SNAKE word that programs may rely on
    problems       what is wrong with which field, all at once
    remedy         what the caller can do
    retry_after_s  when a repeat makes sense, in seconds; None when unknown
    trace_id       of the call that failed with it at a server: finds it in logs and traces; empty when unknown
    """

    kind: ErrorKind = ErrorKind.INTERNAL
    reason: str = "INTERNAL"
    trace_id: str = ""

    def __init__(
        self,
        message: str = "",
        *,
        reason: str = "",
        problems: Sequence[FieldProblem] = (),
        remedy: str = "",
        retry_after_s: float | None = None,
    ) -> None:
        self.problems = tuple(problems)
        self.message = message or "; ".join(map(str, self.problems)) or (type(self).__doc__ or "").partition("\n")[0]
        if reason:
            self.reason = reason
        self.remedy = remedy
        self.retry_after_s = retry_after_s
        super().__init__(self.message)

    @property
    def retryable(self) -> bool:
        """Whether the same request may succeed later."""
        return self.kind in {ErrorKind.EXHAUSTED, ErrorKind.UNAVAILABLE, ErrorKind.TIMEOUT}


class Invalid(PlimsollError):
    """The request breaks its contract."""

    kind = ErrorKind.INVALID
    reason = "INVALID"


class Unauthenticated(PlimsollError):
    """The caller is not known."""

    kind = ErrorKind.UNAUTHENTICATED
    reason = "UNAUTHENTICATED"


class Denied(PlimsollError):
    """The caller may not do this."""

    kind = ErrorKind.DENIED
    reason = "DENIED"


class NotFound(PlimsollError):
    """There is no such thing."""

    kind = ErrorKind.NOT_FOUND
    reason = "NOT_FOUND"


class Conflict(PlimsollError):
    """The present state forbids this."""

    kind = ErrorKind.CONFLICT
    reason = "CONFLICT"


class Exhausted(PlimsollError):
    """A limit is reached."""

    kind = ErrorKind.EXHAUSTED
    reason = "EXHAUSTED"


class Unavailable(PlimsollError):
    """A dependency is away."""

    kind = ErrorKind.UNAVAILABLE
    reason = "UNAVAILABLE"


class DeadlineExpired(PlimsollError):
    """The time given was used up."""

    kind = ErrorKind.TIMEOUT
    reason = "DEADLINE_EXPIRED"


class Cancelled(PlimsollError):
    """The caller went away."""

    kind = ErrorKind.CANCELLED
    reason = "CANCELLED"


class Internal(PlimsollError):
    """A fault on our side."""

    kind = ErrorKind.INTERNAL
    reason = "INTERNAL"


BY_KIND: dict[ErrorKind, type[PlimsollError]] = {
    leaf.kind: leaf
    for leaf in (Invalid, Unauthenticated, Denied, NotFound, Conflict, Exhausted, Unavailable, DeadlineExpired, Cancelled, Internal)
}


def unwrap(error: BaseException) -> BaseException:
    """The one error inside nested groups of one, as a TaskGroup raises it; a group of several yields its worst.

    Worst means: a fault of ours before anything that a caller can mend, so that no bug hides behind a refusal.
    """
    if not isinstance(error, BaseExceptionGroup):
        return error
    return min((unwrap(inner) for inner in error.exceptions), key=_mildness)


def _mildness(error: BaseException) -> int:
    match error:
        case PlimsollError():
            return 1 if error.kind is ErrorKind.INTERNAL else 2
        case TimeoutError():
            return 2
        case _:
            return 0
