"""One call: what was asked, the digests that identify it, what a person is asked to allow, and how it ended."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias

from plimsoll_runtime.failures import Failure
from plimsoll_runtime.json_types import JsonObject, JsonValue, digest
from plimsoll_runtime.work import WorkContext

from plimsoll_tool_dispatcher.domain.policy import Ruling, Terms


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """A single-use approval of the exact call that has this digest.

    `granted_by` decided last; `approved_by` are all who approved, `requested_by` is who asked for the run, when the orchestrator says so.
    """

    id: str
    call_digest: str
    granted_by: str
    approved_by: tuple[str, ...] = ()
    requested_by: str = ""
    expires_at: datetime | None = None

    @property
    def approvers(self) -> frozenset[str]:
        return frozenset(name for name in (self.granted_by, *self.approved_by) if name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What was asked, before anything is decided about it.

    `key` is fixed before the first dispatch and unique per tenant; `arguments` are as sent, before defaults, and any JSON value:
    what they must be is for the tool's schema to say. `arguments_chars` is the length of their text; over the limit it was not read.
    `request_digest` tells a repeat from another request under the same key, whatever became of the tool's definition meanwhile.
    `service` and `principal` are who asks, as the connection and its metadata say.
    `first` is the caller's word that this key was never sent before, and that its claim of the run is the first.
    """

    tenant: str
    key: str
    tool: str
    arguments: JsonValue
    arguments_chars: int
    work: WorkContext
    request_digest: str
    grants: tuple[Grant, ...] = ()
    service: str = ""
    principal: str = ""
    first: bool = False


def request_digest(tool: str, arguments: JsonValue) -> str:
    """Over what was asked, as it was asked."""
    return digest({"tool": tool, "arguments": arguments})


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """What a person is asked to allow: exactly what would execute, under which rules and credentials, and what an approval takes."""

    tool: str
    tool_digest: str
    effective_arguments: JsonObject
    call_digest: str
    policy: str = ""
    credentials: str = ""
    terms: Terms = field(default_factory=Terms)
    message: str = ""


def propose(
    call: Call,
    tool_digest: str,
    effective_arguments: JsonObject,
    *,
    policy: str = "",
    credentials: str = "",
    terms: Terms | None = None,
    message: str = "",
) -> Proposal:
    """The exact call that would execute, with the digest that a grant has to carry. The call key stands for the run's step as well."""
    bound: JsonObject = {
        "tenant": call.tenant,
        "run": call.work.run_id,
        "call_key": call.key,
        "tool_digest": tool_digest,
        "arguments": effective_arguments,
        "policy": policy,
        "credentials": credentials,
    }
    return Proposal(
        tool=call.tool,
        tool_digest=tool_digest,
        effective_arguments=effective_arguments,
        call_digest=digest(bound),
        policy=policy,
        credentials=credentials,
        terms=terms or Terms(),
        message=message,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Secrets:
    """The credentials that a tool names: their values, those that are not there, and a version that changes with any of them."""

    values: Mapping[str, str] = field(default_factory=dict, repr=False)
    missing: tuple[str, ...] = ()
    version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Degraded:
    """The result is not the tool's own of now. `by` is `tool:NAME`, `cached` or `fixed`; `failure` is why."""

    by: str
    failure: Failure
    age_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Succeeded:
    """The tool answered, and its answer fits its schema; or what it declares for when it fails did."""

    result: JsonValue
    degraded: Degraded | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The call ended without a result. The category `outcome_unknown` means that it may have acted. `ruling` is there when policy decided.

    `unsettled` says that no attempt at a keyed tool got a definite answer: whoever tries again has to do so under the same call key.
    """

    failure: Failure
    unsettled: bool = False
    ruling: Ruling | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalRequired:
    """Nothing was done: people have to decide first."""

    proposal: Proposal


Outcome: TypeAlias = Succeeded | Failed
"""How a call ended, as the ledger keeps it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a dispatch is answered with.

    `recorded` says that an earlier dispatch under the same call key brought the outcome; `attempts` and `duration_s` are those of
    the execution, not of this answer.
    """

    outcome: Outcome | ApprovalRequired
    call_id: str
    recorded: bool = False
    attempts: int = 0
    duration_s: float = 0.0
