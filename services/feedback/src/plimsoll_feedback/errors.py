"""What feedback refuses, and why.

PlimsollError
├── Invalid
│   ├── InvalidQuery           a filter, a window or a page that cannot be served
│   ├── InvalidSignal          a signal without a run, without a value, or with one out of range
│   └── UnreadableEvent        a message that is not the event its subject promises
├── NotFound
│   ├── RunNotFound            no event of this run has arrived, or it belongs to another tenant
│   └── OperationNotFound      the run has no such operation
└── Conflict
    └── IdempotencyKeyReused   the key belongs to another signal
"""

from plimsoll_runtime.errors import Conflict, Invalid, NotFound


class InvalidQuery(Invalid):
    """The query cannot be served."""

    reason = "INVALID_QUERY"


class InvalidSignal(Invalid):
    """The signal cannot be recorded."""

    reason = "INVALID_SIGNAL"


class UnreadableEvent(Invalid):
    """The message is not the event that its subject promises."""

    reason = "UNREADABLE_EVENT"


class RunNotFound(NotFound):
    """No run has this id."""

    reason = "RUN_NOT_FOUND"


class OperationNotFound(NotFound):
    """The run has no operation with this id."""

    reason = "OPERATION_NOT_FOUND"


class IdempotencyKeyReused(Conflict):
    """The idempotency key belongs to another signal."""

    reason = "IDEMPOTENCY_KEY_REUSED"
