"""What is kept of runs: journals, claims, mailboxes, approvals, threads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from plimsoll_graph.graph import Graph
from plimsoll_runtime.json_types import JsonObject, JsonValue
from plimsoll_runtime.usage import Usage

from plimsoll_orchestrator.domain.actions import Birth
from plimsoll_orchestrator.domain.journal import ApprovalStatus, Entry, RunStarted, RunStatus
from plimsoll_orchestrator.domain.letters import Delivery, Received
from plimsoll_orchestrator.domain.options import CLIENT, USUAL, RunOptions, RunOrigin
from plimsoll_orchestrator.domain.run import Approval, Run


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalEntry:
    """An entry in its place. `epoch` is that of the claim which wrote it; 0 when no worker did. `size` is its stored length."""

    run_id: str
    seq: int
    at: datetime
    epoch: int
    entry: Entry
    size: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A run as it was at a position of its journal. `size` is its stored length."""

    run: Run
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """A run that this worker may advance until its lease ends.

    Attributes:
    snapshot   where to begin; None means at the beginning
    entries    the journal after the snapshot
    letters    what it has not answered
    mail       how many letters were ever sent to it
    abandoned  the workers that it ended, or errors of the engine, since it last got on
    beside     of how many suspects it was one when that happened last; 0: of all that its worker held
    """

    run_id: str
    tenant: str
    agent: str
    agent_digest: str
    epoch: int
    snapshot: Snapshot | None
    entries: Sequence[JournalEntry]
    letters: Sequence[Received] = ()
    mail: int = 0
    abandoned: Sequence[str] = ()
    beside: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """Let go of a run with the append: `status` as it shows from outside, `wake_at` when to look at it again, None for never."""

    status: RunStatus
    wake_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Append:
    """Entries to add to a run's journal, if nobody else holds it meanwhile.

    Attributes:
    expected_seq  position of the last entry that the writer knows
    encoded       the entries in stored form
    run           the run with the entries folded in: what the summary columns show
    release       set when the writer lets go of the run
    births        runs that begin with this append
    deliveries    letters that go out with it
    answered      numbers of the letters that the entries answer
    mail          how many letters the writer knows of; a run that is let go with more is looked at again at once
    snapshot      the run in stored form, when it is time for one
    kept          what the run leaves to its thread, when it ends
    abandoned     what still speaks against the run: the entries only took letters in, which is no progress of its own
    look_at       when to look at the run should it still wait before a gate
    """

    run_id: str
    tenant: str
    epoch: int
    expected_seq: int
    entries: Sequence[Entry]
    encoded: Sequence[str]
    run: Run
    release: Release | None = None
    births: Sequence[Birth] = ()
    deliveries: Sequence[Delivery] = ()
    answered: Sequence[int] = ()
    mail: int = 0
    snapshot: str = ""
    kept: JsonObject | None = None
    abandoned: Sequence[str] = ()
    look_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Appended:
    """`mail` is how many letters were ever sent to the run: more than the writer knows of means that some are to be read."""

    at: datetime
    mail: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """What a batch came to. A run that is missing in `appended` is no longer ours.

    `readied` are other runs that may go on now: born, let through a gate, or with a letter to read.
    """

    appended: Mapping[str, Appended]
    readied: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """A run as it shows in lists."""

    run_id: str
    agent: str
    agent_digest: str
    status: RunStatus
    seq: int
    node: str
    steps: int
    usage: Usage
    rehearsal: bool
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    pruned_seq: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a run stands for the scheduler: what tells why it waits. `held_by` are runs at its gates: id, and "(paused)" and the like."""

    worker: str
    wake_at: datetime | None
    now: datetime
    gated: bool
    ahead: int
    held_by: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A run to be accepted; an empty key means that it is always a new one.

    Attributes:
    fingerprint    what makes two requests with one key the same request
    agent_version  the agent's version that has to be its newest still; 0 when that does not matter
    """

    tenant: str
    run_id: str
    agent: str
    agent_digest: str
    node: str
    first: RunStarted
    idempotency_key: str = ""
    fingerprint: str = ""
    agent_version: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A durable run: a new one made `at`, the one that the idempotency key belongs to, or the one under way that was given the input.

    `readied` are other runs that have a letter to read now.
    """

    run_id: str
    created: bool
    at: datetime
    steered: bool = False
    readied: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalView:
    """An approval and the run it belongs to."""

    run_id: str
    agent: str
    approval: Approval


@dataclass(frozen=True, slots=True, kw_only=True)
class Thread:
    """A conversation. `kept` is what its next run begins with."""

    thread_id: str
    active_run_id: str
    queued_runs: int
    last_run_id: str
    kept: JsonObject
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What a thread carries to its next run, and what the runs had read that left it there."""

    fields: JsonObject
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ties:
    """What a run is tied to, as the tables say it, without its journal: its thread and key, and the runs above and below it."""

    thread_id: str
    concurrency_key: str
    parent_run_id: str
    children: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFilter:
    """Empty and None mean any. Without `parent_run_id`, runs that runs started are left out."""

    agent: str = ""
    status: RunStatus | None = None
    thread_id: str = ""
    parent_run_id: str = ""


class RunStore(Protocol):
    """Every method is one transaction."""

    async def accept(self, submission: Submission) -> Accepted:
        """Make a run durable, or find the one that the key belongs to. Raises IdempotencyKeyReused, ThreadBusy."""
        ...

    async def summary(self, tenant: str, run_id: str) -> RunSummary | None: ...

    async def list_runs(self, tenant: str, filter_: RunFilter, before: str, limit: int) -> Sequence[RunSummary]:
        """Newest first; ids before `before`."""
        ...

    async def journal(self, tenant: str, run_id: str, after_seq: int, limit: int) -> Sequence[JournalEntry]: ...

    async def snapshot(self, tenant: str, run_id: str) -> Snapshot | None: ...

    async def intervene(self, append: Append) -> Committed:
        """Append from outside of a claim, taking the run from whoever holds it; nothing is appended when the journal moved on meanwhile."""
        ...

    async def deliver(self, tenant: str, delivery: Delivery) -> bool:
        """Put a letter into a run's mailbox, once. False when there is no such run or it is finished. Raises MailboxFull."""
        ...

    async def standing(self, tenant: str, run_id: str) -> Standing | None: ...

    async def ties(self, tenant: str, run_id: str) -> Ties | None:
        """`children` are those that have not finished."""
        ...

    async def approval(self, tenant: str, approval_id: str) -> ApprovalView | None: ...

    async def list_approvals(
        self, tenant: str, status: ApprovalStatus | None, run_id: str, after: str, limit: int
    ) -> Sequence[ApprovalView]: ...

    async def thread(self, tenant: str, thread_id: str) -> Thread | None: ...

    async def list_threads(self, tenant: str, after: str, limit: int) -> Sequence[Thread]: ...


class ClaimStore(Protocol):
    async def claim(self, worker: str, limit: int, held: Mapping[str, int]) -> Sequence[Claimed]:
        """Take runs that are ready, due or abandoned; raises each one's epoch and sets its lease.

        `held` is how many runs of each tenant this worker holds: those with fewer come first. Suspects are left out.
        """
        ...

    async def claim_suspects(self, worker: str, on_trial: Sequence[int]) -> Sequence[Claimed]:
        """Take runs that may be poison, as many as may be tried together with those on trial, which have so many losses each."""
        ...

    async def renew(self, held: Mapping[str, int]) -> Sequence[str]:
        """Extend the leases of run id → epoch; returns the ids that are still ours."""
        ...

    async def release(self, held: Mapping[str, int]) -> None:
        """Give runs back, ready for another worker."""
        ...

    async def set_aside(self, run_id: str, epoch: int, fault: str, *, unreadable: bool = False) -> None:
        """Give a run back that the engine broke on, to be tried again after a pause that grows with the number of faults;
        one that cannot be read waits for people."""
        ...

    async def append(self, batch: Sequence[Append]) -> Committed:
        """Commit what is not fenced off, all in one."""
        ...

    async def letters(self, run_id: str, after: int) -> Sequence[Received]:
        """All letters with higher numbers than `after`."""
        ...

    async def kept(self, tenant: str, thread_id: str) -> Kept:
        """What a thread carries to its next run; nothing when it is new."""
        ...


def submission(
    tenant: str,
    run_id: str,
    graph: Graph,
    value: JsonValue,
    *,
    options: RunOptions = USUAL,
    origin: RunOrigin = CLIENT,
    idempotency_key: str = "",
    fingerprint: str = "",
) -> Submission:
    """A plain run of a graph from its start."""
    return Submission(
        tenant=tenant,
        run_id=run_id,
        agent=graph.agent,
        agent_digest=graph.digest,
        node=graph.start,
        first=RunStarted(input=value, options=options, origin=origin),
        idempotency_key=idempotency_key,
        fingerprint=fingerprint,
    )
