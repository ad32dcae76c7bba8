"""What the gateway itself refuses; errors of the services behind pass through with their own reasons.

PlimsollError
├── Invalid
│   ├── BodyTooLarge         413  the body is over the limit
│   ├── UnsupportedBody      415  the body is not JSON, or is encoded
│   ├── BadHeader            400  a header of the request cannot be read
│   └── InvalidOptions       400  a run cannot be started like that; the orchestrator refuses it with the same reason
├── Unauthenticated
│   ├── NoKey                401  no API key came along
│   ├── UnknownKey           401  no key is like this one
│   ├── ExpiredKey           401  the key's time is over
│   ├── RevokedKey           401  somebody took the key back
│   ├── BadToken             401  the token is not one that counts here
│   └── ExpiredToken         401  the token's time is over
├── Denied
│   ├── ScopeMissing         403  the key may not do this
│   └── ScopeNotOwn          403  nobody gives away, or takes over, what they may not do themselves
├── NotFound
│   ├── NoSuchPath           404  no method has this path
│   ├── MethodNotAllowed     405  the path has other HTTP methods
│   └── KeyNotFound          404  no key has this id
├── Conflict
│   ├── KeyOver              409  the key was revoked or has expired, so it has no successor
│   ├── RequestKeyReused     422  the idempotency key belongs to a request that asks something else
│   └── RequestUnderWay      409  the same request is under way, and takes longer than a repeat waits
├── Exhausted
│   ├── TooManyInFlight      429  as much as this gateway carries, or the tenant may have, is under way
│   ├── RateLimited          429  the key or its tenant asks too often
│   └── QueueFull            429  more runs wait, or wait longer, than one of this priority may add to
├── Unavailable
│   └── DependencyAway       503  a service behind the gateway cannot be reached
└── DeadlineExpired
    ├── BodyTooSlow          408  the client sends too slowly
    └── DependencySlow       504  a service behind the gateway did not answer in time
"""

from collections.abc import Sequence

from plimsoll_runtime.errors import (
    Conflict,
    DeadlineExpired,
    Denied,
    Exhausted,
    FieldProblem,
    Invalid,
    NotFound,
    Unauthenticated,
    Unavailable,
)


class BodyTooLarge(Invalid):
    """The body is larger than the gateway takes."""

    reason = "BODY_TOO_LARGE"

    def __init__(self, limit: int) -> None:
        mib = limit / (1024 * 1024)
        super().__init__(
            problems=(FieldProblem("body", f"is larger than {mib:g} MiB", "split it, or raise PLIMSOLL_GATEWAY_HTTP_BODY_MIB"),)
        )


class UnsupportedBody(Invalid):
    """The body is not JSON."""

    reason = "UNSUPPORTED_BODY"


class BadHeader(Invalid):
    """A header cannot be read."""

    reason = "BAD_HEADER"

    def __init__(self, name: str, problem: str, remedy: str) -> None:
        super().__init__(problems=(FieldProblem(name, problem, remedy),))


class InvalidOptions(Invalid):
    """The options of the run cannot be meant."""

    reason = "INVALID_OPTIONS"


class NoKey(Unauthenticated):
    """The request carries no API key."""

    reason = "KEY_MISSING"


class UnknownKey(Unauthenticated):
    """The API key is not known."""

    reason = "KEY_UNKNOWN"


class ExpiredKey(Unauthenticated):
    """The API key has expired."""

    reason = "KEY_EXPIRED"


class RevokedKey(Unauthenticated):
    """The API key was revoked."""

    reason = "KEY_REVOKED"


class BadToken(Unauthenticated):
    """The token does not count here."""

    reason = "TOKEN_INVALID"


class ExpiredToken(Unauthenticated):
    """The token has expired."""

    reason = "TOKEN_EXPIRED"


class ScopeMissing(Denied):
    """The API key may not do this."""

    reason = "SCOPE_MISSING"


class ScopeNotOwn(Denied):
    """Nobody makes a key that may do more than they may."""

    reason = "SCOPE_NOT_OWN"


class NoSuchPath(NotFound):
    """No method has this path."""

    reason = "NO_SUCH_PATH"


class MethodNotAllowed(NotFound):
    """The path has other HTTP methods.

    allowed  those that it has
    """

    reason = "METHOD_NOT_ALLOWED"

    def __init__(self, http: str, allowed: Sequence[str]) -> None:
        super().__init__(f"the path has no {http[:20]}", remedy=f"use {' or '.join(allowed)}")
        self.allowed = tuple(allowed)


class KeyNotFound(NotFound):
    """No key has this id."""

    reason = "KEY_NOT_FOUND"


class KeyOver(Conflict):
    """The key does not work any more."""

    reason = "KEY_OVER"


class TooManyInFlight(Exhausted):
    """The gateway carries as much as it can."""

    reason = "TOO_MANY_IN_FLIGHT"


class RequestKeyReused(Conflict):
    """The idempotency key was used for another request."""

    reason = "IDEMPOTENCY_KEY_REUSED"

    def __init__(self) -> None:
        super().__init__(remedy="use a new key for a new request")


class RequestUnderWay(Conflict):
    """The request with this idempotency key is under way."""

    reason = "IDEMPOTENT_REQUEST_UNDER_WAY"

    def __init__(self) -> None:
        super().__init__(remedy="ask again with the same key", retry_after_s=1.0)


class RateLimited(Exhausted):
    """Requests come too often."""

    reason = "RATE_LIMITED"


class QueueFull(Exhausted):
    """Too many runs wait."""

    reason = "QUEUE_FULL"


class DependencyAway(Unavailable):
    """A service behind the gateway cannot be reached."""

    reason = "DEPENDENCY_UNAVAILABLE"


class DependencySlow(DeadlineExpired):
    """A service behind the gateway did not answer in time."""

    reason = "DEPENDENCY_TIMEOUT"


class BodyTooSlow(DeadlineExpired):
    """The client sends the body too slowly."""

    reason = "BODY_TOO_SLOW"


def wrong(field: str, problem: str, remedy: str) -> Invalid:
    """The refusal of one field of a request."""
    return Invalid(problems=(FieldProblem(field, problem, remedy),), reason="INVALID_REQUEST")
