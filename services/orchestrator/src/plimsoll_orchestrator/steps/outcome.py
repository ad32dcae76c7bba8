"""What performing a step can come to."""

from dataclasses import dataclass, field
from typing import TypeAlias

from plimsoll_runtime.json_types import JsonObject
from plimsoll_runtime.usage import Usage

from plimsoll_orchestrator.domain.actions import Done, Failed
from plimsoll_orchestrator.domain.journal import Proposal, Turn


@dataclass(frozen=True, slots=True, kw_only=True)
class Progressed:
    """One more turn is done and worth keeping; the step goes on."""

    turn: Turn
    usage: Usage
    rehearsal: bool = False
    prompts: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """People have to decide before the step can go on."""

    summary: str
    details: JsonObject
    expires_s: float
    proposal: Proposal | None = None
    call_key: str = ""
    proposed_by: str = ""


Outcome: TypeAlias = Done | Failed | Progressed | Ask
