"""What the service needs from outside."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from plimsoll_runtime.audit import Anchor, AuditEntry, AuditVerdict
from plimsoll_runtime.breaker import Verdict
from plimsoll_runtime.clock import Clock
from plimsoll_runtime.failures import Failure
from plimsoll_runtime.guard import Decision, Entered, Upstream
from plimsoll_runtime.ids import Ids
from plimsoll_runtime.json_types import JsonObject, JsonValue

from plimsoll_tool_dispatcher.domain.call import Call, Outcome, Secrets
from plimsoll_tool_dispatcher.domain.execution import Attempt, Invocation
from plimsoll_tool_dispatcher.domain.history import KeptCall, Page
from plimsoll_tool_dispatcher.domain.ledger import Claim, Completed, Doubt, Finding, Found, Reservation, Reserved, Unfinished
from plimsoll_tool_dispatcher.domain.policy import Policy
from plimsoll_tool_dispatcher.domain.registry import KeptVersion, Names, Offering, Resolved, Standing
from plimsoll_tool_dispatcher.domain.tool import Tool

Pause: TypeAlias = Callable[[float], Awaitable[None]]
"""Waits for that many seconds."""

Draw: TypeAlias = Callable[[], float]
"""A random number from 0 up to 1."""


class ToolRegistry(Protocol):
    """The tools that there are now."""

    def find(self, tenant: str, name: str) -> Resolved:
        """What the name means to the tenant: a definition, one that is barred, or None when the tenant has no such tool."""
        ...

    def list(self, tenant: str) -> Sequence[Tool]:
        """All tools of the tenant that may run, by name."""
        ...


class Catalogue(Protocol):
    """Where sources put their tools."""

    async def offer(self, offering: Offering) -> None:
        """Replace what the origin offered before; cheap when nothing changed."""
        ...

    async def withdraw(self, origin: str) -> None:
        """The origin offers nothing any more."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelved:
    """What the shelf holds at one revision: decisions, the definitions that pins name, and the tools registered by a call."""

    revision: int
    standings: Mapping[Names, Standing]
    pinned: Sequence[JsonObject]
    registered: Sequence[JsonObject]


class ToolShelf(Protocol):
    """What is kept of tools for all replicas: every version that was ever offered, what was registered, and what operators decided."""

    async def revision(self) -> int:
        """Rises with every registration and decision."""
        ...

    async def load(self) -> Shelved:
        """Everything that counts now."""
        ...

    async def keep(self, tools: Sequence[Tool], *, first_accepted: bool) -> None:
        """Keep the versions that are new; with `first_accepted`, a name without an accepted digest gets this one."""
        ...

    async def register(self, tools: Sequence[Tool], by: str) -> None:
        """Keep versions, and let their names mean them; all or none."""
        ...

    async def unregister(self, tenant: str, name: str, by: str) -> bool:
        """The name means nothing any more; False when it did not before. Its versions stay."""
        ...

    async def decide(self, tenant: str, name: str, standing: Standing, by: str) -> None:
        """Replace what was decided about a name."""
        ...

    async def versions(self, tenant: str, name: str) -> Sequence[KeptVersion]:
        """Every version of a name that was ever offered to the tenant, its own and shared ones, newest first."""
        ...


class Policies(Protocol):
    """The rules as they are now."""

    def current(self) -> Policy: ...


class Vault(Protocol):
    """The credentials that the dispatcher was given."""

    def secrets(self, names: Sequence[str]) -> Secrets:
        """Those of these names, as they are now."""
        ...


class Executor(Protocol):
    """Runs one attempt of one admitted call. Whatever goes wrong with the tool comes back as a value.

    No retry, limit, breaker, bulkhead or check of the result: those stand around it, once for all sources. What comes back tells
    the truth about whether the call may have acted (`Stopped.mishap`); the effect table is built on it.
    """

    async def execute(self, tool: Tool, invocation: Invocation) -> Attempt:
        """Never takes much longer than the invocation's timeout. When cancelled, the attempt is stopped as well."""
        ...


class Gate(Protocol):
    """Rate limits and circuit breakers of upstreams, for the whole fleet (`plimsoll_runtime.guard.Guard`)."""

    async def enter(self, upstream: Upstream, token: str) -> Decision:
        """Whether the attempt that `token` names may go now."""
        ...

    async def report(self, entered: Entered, verdict: Verdict) -> None:
        """What became of it."""
        ...


class ResultCache(Protocol):
    """The last good result per tool, tenant and arguments, for tools that fall back to it."""

    async def put(self, tenant: str, tool: str, arguments_digest: str, result: JsonValue) -> None: ...

    async def get(self, tenant: str, tool: str, arguments_digest: str, max_age_s: float) -> tuple[JsonValue, float] | None:
        """The result and its age in seconds, None when there is none so young."""
        ...


class CallLedger(Protocol):
    """What was dispatched and what became of it. Every method is one transaction; times are the database's."""

    async def reserve(self, reservation: Reservation) -> Reserved:
        """Take the call key, spend the grant and raise the run's epoch, all or nothing; or tell what stands in the way."""
        ...

    async def find(self, call: Call) -> Found:
        """What is known about the call, without beginning it."""
        ...

    async def look_up(self, call: Call) -> Found:
        """As `find`, for a call that will not be reserved; raises the run's epoch like a reservation. One that is the `first` is taken at
        its caller's word: nothing is known of it, and nothing raised before it is recorded."""
        ...

    async def record(self, reservation: Reservation, outcome: Outcome, completed: Completed) -> bool:
        """Record and announce a call that ran without a reservation; False, and nothing recorded, when its key has an entry by now or a
        higher epoch acts for its run."""
        ...

    async def labels(self, tenant: str, run_id: str) -> tuple[str, ...]:
        """The labels of all tools that were called for the run so far."""
        ...

    async def take_over(self, reservation: Reservation, entry: Unfinished) -> Claim | None:
        """Become the owner of a call whose owner went away; None when it changed meanwhile or must not run again."""
        ...

    async def mark_dispatched(self, claim: Claim, lease_s: float) -> bool:
        """Note that the call is about to be sent; False when the claim is lost."""
        ...

    async def renew(self, claims: Sequence[Claim], lease_s: float) -> None:
        """Keep the claims alive."""
        ...

    async def settle(self, claim: Claim, outcome: Outcome, completed: Completed) -> bool:
        """Record the outcome and announce it; False when the claim is lost, and then nothing is recorded."""
        ...

    async def release(self, claim: Claim, completed: Completed | None) -> None:
        """Give the claim back without an outcome, because nothing was sent or it may be sent again: the next dispatch may run the call."""
        ...

    async def announce(self, completed: Completed) -> None:
        """Announce a call that was refused before it was reserved."""
        ...

    async def revoke(self, tenant: str, grant_id: str, by: str) -> bool:
        """Take a grant back; False when it was spent before."""
        ...


class DoubtLedger(Protocol):
    """The calls whose outcome nobody knows. Every method is one transaction; times are the database's."""

    async def abandoned(self, limit: int) -> Sequence[Unfinished]:
        """Calls that were sent, must not be repeated, and whose owner went away."""
        ...

    async def give_up(self, entry: Unfinished, failure: Failure, event_id: str) -> bool:
        """Record an abandoned call as unknown and announce it; False when it changed meanwhile."""
        ...

    async def due(self, limit: int, again_s: float) -> Sequence[Doubt]:
        """Doubts that are to be looked into now. Each is given to one caller only, and again after `again_s` if it stays open."""
        ...

    async def escalate(self, doubt: Doubt, event_id: str) -> bool:
        """Leave the doubt to a person and announce it; False when that was done before or it is settled."""
        ...

    async def settle_doubt(self, doubt: Doubt, finding: Finding, by: str, event_id: str) -> bool:
        """Record what became of the call and announce it; False when it was settled before."""
        ...

    async def open_doubts(self, tenant: str, limit: int) -> Sequence[Doubt]:
        """The tenant's calls with an unknown outcome that nobody has settled, oldest first."""
        ...

    async def doubt(self, tenant: str, call_id: str) -> Doubt | None:
        """One of them."""
        ...


class Records(Protocol):
    """What is kept for those who look back. Of another tenant's nothing is there."""

    async def call(self, tenant: str, call_key: str) -> KeptCall | None: ...

    async def calls_of_run(self, tenant: str, run_id: str, after: str, limit: int) -> Page:
        """Oldest first, those whose call id is greater than `after`; fewer than `limit` when they are large."""
        ...

    async def calls(self, tenant: str, call_keys: Sequence[str], after: str, limit: int) -> Page:
        """Those of these keys that there are, in the same way."""
        ...

    async def audit_entries(self, tenant: str, before: int, limit: int, action: str, subject: str) -> Sequence[AuditEntry]:
        """Newest first, those below the position `before` (0: from the end); of one action or subject where they are given."""
        ...

    async def verify_audit(self, tenant: str, anchor: Anchor | None) -> AuditVerdict:
        """Whether the log is as it was written, and still holds what is known from before."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """Every port that the pipeline stands on."""

    registry: ToolRegistry
    policies: Policies
    vault: Vault
    executor: Executor
    gate: Gate
    ledger: CallLedger
    doubts: DoubtLedger
    cache: ResultCache
    clock: Clock
    ids: Ids
    pause: Pause
    draw: Draw
