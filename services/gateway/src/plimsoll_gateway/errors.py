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
│   └── RevokedKey           401  somebody took the key back
├── Denied
│   └── ScopeMissing         403  the key may not do this
├── NotFound
│   ├── NoSuchPath           404  no method has this path
│   ├── MethodNotAllowed     405  the path has other HTTP methods
│   └── KeyNotFound          404  no key has this id (command line)
├── Exhausted
│   └── TooManyInFlight      429  as much as this gateway carries is under way
├── Unavailable
│   └── DependencyAway       503  a service behind the gateway cannot be reached
└── DeadlineExpired
    ├── BodyTooSlow          408  the client sends too slowly
    └── DependencySlow       504  a service behind the gateway did not answer in time
"""

from collections.abc import Sequence

from plimsoll_runtime.errors import DeadlineExpired, Denied, Exhausted, FieldProblem, Invalid, NotFound, Unauthenticated, Unavailable


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


class ScopeMissing(Denied):
    """The API key may not do this."""

    reason = "SCOPE_MISSING"


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


class TooManyInFlight(Exhausted):
    """The gateway carries as much as it can."""

    reason = "TOO_MANY_IN_FLIGHT"


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
