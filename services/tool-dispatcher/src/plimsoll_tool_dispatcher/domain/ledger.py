"""The call ledger in words: its states, what a reservation may meet, and what becomes of a call whose owner went away.

reserved ──▶ dispatched ──▶ succeeded │ failed │ unknown ──▶ succeeded (it had acted) │ reserved (it had not)
    └───────────────────────▶ (the same, for tools that may be repeated)
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TypeAlias

from plimsoll_runtime.failures import Category, Failure
from plimsoll_runtime.json_types import JsonObject, JsonValue
from plimsoll_runtime.work import WorkContext

from plimsoll_tool_dispatcher.domain.call import Call, Failed, Grant, Outcome, Proposal, Succeeded
from plimsoll_tool_dispatcher.domain.effects import EffectClass, Mishap, Move, move_after
from plimsoll_tool_dispatcher.domain.policy import Ruling, Verb
from plimsoll_tool_dispatcher.domain.tool import OtherTool, Tool


class CallState(StrEnum):
    RESERVED = "reserved"  # nothing was sent that this entry would have to account for
    DISPATCHED = "dispatched"  # about to be sent, or sent
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    UNKNOWN = "unknown"  # it may have acted, and nobody knows


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """A call that passed every check and asks the ledger for leave to run. A grant is spent with it or not at all."""

    call_id: str
    call: Call
    tool: Tool
    proposal: Proposal
    grant: Grant | None
    lease_s: float
    ruling: Ruling

    @property
    def may_begin(self) -> bool:
        """Whether this may be the first dispatch of the call; without a grant, one that people decide about can only be continued."""
        return self.grant is not None or self.ruling.verb is Verb.ALLOW

    @property
    def needs_none(self) -> bool:
        """Whether the call may run without being reserved: running it twice does no harm, nobody's leave is spent, and no tool that may act
        stands in for it. What it brings is recorded once, when it has ended."""
        return (
            self.tool.effect is EffectClass.READ_ONLY
            and self.grant is None
            and self.may_begin
            and not isinstance(self.tool.fallback, OtherTool)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The right to run one reserved call: it ends when the lease does, and a later claim has a higher fence."""

    tenant: str
    call_key: str
    call_id: str
    fence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """The call has ended."""

    call_id: str
    outcome: Outcome
    attempts: int
    duration_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfinished:
    """The call has begun and not ended. `held` says that its owner still renews the lease."""

    claim: Claim
    tool: str
    state: CallState
    effect: EffectClass
    call_digest: str
    held: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StaleEpoch:
    """A claim with a higher epoch has acted for this run already."""

    highest: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyTaken:
    """Another request has used this call key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantSpent:
    """The grant was used for another call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantRevoked:
    """The grant was taken back before it was used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantExpired:
    """The grant's time was over, by the database's clock, when it was to be spent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoEntry:
    """The ledger has nothing under this call key, and nothing was begun."""


Found: TypeAlias = Recorded | Unfinished | StaleEpoch | KeyTaken | NoEntry
"""What the ledger knows about a call."""

Reserved: TypeAlias = Claim | GrantSpent | GrantRevoked | GrantExpired | Found
"""What a reservation meets: leave to run, or the reason why not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """A call that ended, as it is announced. `resolved_by` names who settled an outcome that was unknown: a person, or `reconcile`."""

    event_id: str
    tenant: str
    call_id: str
    call_key: str
    work: WorkContext
    tool: str
    tool_digest: str
    started_at: datetime
    duration_s: float
    attempts: int
    failure: Failure | None
    grant_id: str
    effect: EffectClass | None = None
    call_digest: str = ""
    policy: str = ""
    rules: tuple[str, ...] = ()
    approved_by: tuple[str, ...] = ()
    degraded: str = ""
    resolved_by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """A call with an unknown outcome that nobody has settled yet. `tries` counts the times that the upstream was asked in vain."""

    claim: Claim
    work: WorkContext
    tool: str
    tool_digest: str
    arguments: JsonObject | None
    reason: str
    since: datetime
    tries: int
    escalated: bool
    grant_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Acted:
    """It did act, with this result."""

    result: JsonValue


@dataclass(frozen=True, slots=True, kw_only=True)
class NotActed:
    """It did nothing: the call may run."""


Finding: TypeAlias = Acted | NotActed
"""What became of a call whose outcome was unknown."""


def may_run_again(entry: Unfinished) -> bool:
    """Whether a call whose owner went away may be run by another."""
    return entry.state is CallState.RESERVED or move_after(Mishap.KILLED, entry.effect) is Move.REPEAT


def state_of(outcome: Outcome) -> CallState:
    """The final state that an outcome leaves in the ledger."""
    match outcome:
        case Succeeded():
            return CallState.SUCCEEDED
        case Failed(failure=failure):
            return CallState.UNKNOWN if failure.category is Category.OUTCOME_UNKNOWN else CallState.FAILED


def abandoned(entry: Unfinished) -> Failure:
    """The failure of a call that must not be repeated and whose owner went away."""
    return outcome_unknown(entry.tool, "DISPATCHER_LOST", "the dispatcher went away while the call was in flight; it may have acted")


def outcome_unknown(tool: str, reason: str, message: str) -> Failure:
    """The failure of a call that may have acted: never retried by itself, for a person or a reconciliation to settle."""
    return Failure(category=Category.OUTCOME_UNKNOWN, reason=reason, message=message, where=tool)
