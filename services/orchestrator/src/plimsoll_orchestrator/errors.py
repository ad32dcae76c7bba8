"""What the orchestrator refuses.

PlimsollError
├── Invalid
│   └── InvalidInput        the input breaks the agent's schema, each place with its path
├── NotFound
│   ├── AgentNotFound
│   ├── RunNotFound
│   └── ApprovalNotFound
├── Conflict
│   ├── RunFinishedAlready
│   ├── ApprovalDecidedAlready
│   ├── ApprovalExpired
│   └── IdempotencyKeyReused
└── Internal
    └── JournalBroken       a journal has a gap or an entry that cannot be read
"""

from plimsoll_runtime.errors import Conflict, Internal, Invalid, NotFound


class InvalidInput(Invalid):
    """The input breaks the agent's schema."""

    reason = "INVALID_INPUT"


class AgentNotFound(NotFound):
    """No agent has this name."""

    reason = "AGENT_NOT_FOUND"


class RunNotFound(NotFound):
    """No run has this id."""

    reason = "RUN_NOT_FOUND"


class ApprovalNotFound(NotFound):
    """No approval has this id."""

    reason = "APPROVAL_NOT_FOUND"


class RunFinishedAlready(Conflict):
    """The run is finished and never changes."""

    reason = "RUN_FINISHED"


class ApprovalDecidedAlready(Conflict):
    """The approval was decided otherwise."""

    reason = "APPROVAL_DECIDED"


class ApprovalExpired(Conflict):
    """The approval is no longer pending: it expired or its run ended."""

    reason = "APPROVAL_EXPIRED"


class IdempotencyKeyReused(Conflict):
    """The idempotency key was used for another request."""

    reason = "IDEMPOTENCY_KEY_REUSED"


class JournalBroken(Internal):
    """The journal of a run cannot be read."""

    reason = "JOURNAL_BROKEN"
