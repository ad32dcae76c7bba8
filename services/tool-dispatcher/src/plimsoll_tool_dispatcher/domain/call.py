"""One call: what was asked, the digests that identify it, what a person is asked to allow, and how it ended."""

from dataclasses import dataclass
from typing import TypeAlias

from plimsoll_runtime.failures import Failure
from plimsoll_runtime.json_types import JsonObject, JsonValue, digest
from plimsoll_runtime.work import WorkContext


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """A single-use approval of the exact call that has this digest."""

    id: str
    call_digest: str
    granted_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What was asked, before anything is decided about it.

    `key` is fixed before the first dispatch and unique per tenant; `arguments` are as sent, before defaults, and any JSON value:
    what they must be is for the tool's schema to say. `arguments_chars` is the length of their text; over the limit it was not read.
    `request_digest` tells a repeat from another request under the same key, whatever became of the tool's definition meanwhile.
    """

    tenant: str
    key: str
    tool: str
    arguments: JsonValue
    arguments_chars: int
    work: WorkContext
    request_digest: str
    grants: tuple[Grant, ...] = ()


def request_digest(tool: str, arguments: JsonValue) -> str:
    """Over what was asked, as it was asked."""
    return digest({"tool": tool, "arguments": arguments})


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """What a person is asked to allow: exactly what would execute."""

    tool: str
    tool_digest: str
    effective_arguments: JsonObject
    call_digest: str


def propose(call: Call, tool_digest: str, effective_arguments: JsonObject) -> Proposal:
    """The exact call that would execute, with the digest that a grant has to carry."""
    return Proposal(
        tool=call.tool,
        tool_digest=tool_digest,
        effective_arguments=effective_arguments,
        call_digest=digest(
            {
                "tenant": call.tenant,
                "run": call.work.run_id,
                "call_key": call.key,
                "tool_digest": tool_digest,
                "arguments": effective_arguments,
            }
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Succeeded:
    """The tool answered, and its answer fits its schema."""

    result: JsonValue


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The call ended without a result. The category `outcome_unknown` means that it may have acted."""

    failure: Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalRequired:
    """Nothing was done: a person has to decide first."""

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
