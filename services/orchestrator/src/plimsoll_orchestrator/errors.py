"""What the orchestrator refuses.

PlimsollError
├── Invalid
│   ├── InvalidInput            the input breaks the agent's schema, each place with its path
│   ├── InvalidSchedule         a field of a schedule, each with its problem; a cron expression that never comes
│   └── InvalidWebhook          a field of a webhook, each with its problem; an address that may not be called
├── Denied
│   └── ApproverNotAllowed      who asked for a run may not approve what it does, nor may nobody
├── NotFound
│   ├── AgentNotFound
│   ├── RunNotFound
│   ├── ApprovalNotFound
│   ├── ThreadNotFound
│   ├── ScheduleNotFound
│   ├── WebhookNotFound
│   └── DeliveryNotFound
├── Conflict
│   ├── RunFinishedAlready
│   ├── RunNotStopped           it is neither paused nor quarantined
│   ├── StepPruned              retention has taken that part of the journal
│   ├── NothingToRetry          the run did not fail
│   ├── ThreadBusy              a run of the thread is under way
│   ├── ApprovalDecidedAlready
│   ├── ApprovalExpired
│   ├── TooMany                 the tenant has as many schedules or webhooks as it may have
│   ├── WebhookDisabled
│   ├── AgentSuperseded         a newer version came while a run was submitted; the submission is made again by itself
│   └── IdempotencyKeyReused
├── Exhausted
│   └── MailboxFull         too many letters wait to be read
└── Internal
    └── JournalBroken       a journal has a gap or an entry that cannot be read
"""

from plimsoll_runtime.errors import Conflict, Denied, Exhausted, Internal, Invalid, NotFound


class InvalidInput(Invalid):
    """The input breaks the agent's schema."""

    reason = "INVALID_INPUT"


class InvalidSchedule(Invalid):
    """The schedule cannot be kept."""

    reason = "INVALID_SCHEDULE"


class InvalidWebhook(Invalid):
    """The webhook cannot be kept."""

    reason = "INVALID_WEBHOOK"


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


class ThreadNotFound(NotFound):
    """No thread has this id."""

    reason = "THREAD_NOT_FOUND"


class ScheduleNotFound(NotFound):
    """No schedule has this name."""

    reason = "SCHEDULE_NOT_FOUND"


class WebhookNotFound(NotFound):
    """No webhook has this name."""

    reason = "WEBHOOK_NOT_FOUND"


class DeliveryNotFound(NotFound):
    """No delivery has this id."""

    reason = "DELIVERY_NOT_FOUND"


class TooMany(Conflict):
    """The tenant has as many of these as it may have."""

    reason = "TOO_MANY"


class WebhookDisabled(Conflict):
    """The webhook is disabled."""

    reason = "WEBHOOK_DISABLED"


class RunNotStopped(Conflict):
    """The run is neither paused nor quarantined."""

    reason = "RUN_NOT_STOPPED"


class StepPruned(Conflict):
    """That part of the run's journal is gone."""

    reason = "STEP_PRUNED"


class NothingToRetry(Conflict):
    """The run did not fail at a step."""

    reason = "NOTHING_TO_RETRY"


class ThreadBusy(Conflict):
    """A run of the thread is under way."""

    reason = "THREAD_BUSY"


class MailboxFull(Exhausted):
    """Too many letters wait to be read by the run."""

    reason = "MAILBOX_FULL"


class ApproverNotAllowed(Denied):
    """Policy does not take the approval of this person."""

    reason = "APPROVER_NOT_ALLOWED"


class ApprovalDecidedAlready(Conflict):
    """The approval was decided otherwise."""

    reason = "APPROVAL_DECIDED"


class ApprovalExpired(Conflict):
    """The approval is no longer pending: it expired or its run ended."""

    reason = "APPROVAL_EXPIRED"


class AgentSuperseded(Conflict):
    """A newer version of the agent was registered meanwhile."""

    reason = "AGENT_SUPERSEDED"


class IdempotencyKeyReused(Conflict):
    """The idempotency key was used for another request."""

    reason = "IDEMPOTENCY_KEY_REUSED"


class JournalBroken(Internal):
    """The journal of a run cannot be read."""

    reason = "JOURNAL_BROKEN"
