"""A call as it is shown to those who look back: what was asked, who allowed it, and what became of it."""

from dataclasses import dataclass
from datetime import datetime

from plimsoll_runtime.json_types import JsonObject
from plimsoll_runtime.work import WorkContext

from plimsoll_tool_dispatcher.domain.call import Outcome
from plimsoll_tool_dispatcher.domain.effects import EffectClass
from plimsoll_tool_dispatcher.domain.ledger import CallState


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptCall:
    """A row of the ledger; `outcome` and `finished_at` are None while it runs, `arguments` where an older ledger did not keep them."""

    call_id: str
    call_key: str
    work: WorkContext
    tool: str
    tool_digest: str
    effect: EffectClass
    state: CallState
    arguments: JsonObject | None
    outcome: Outcome | None
    attempts: int
    duration_s: float
    started_at: datetime
    finished_at: datetime | None
    call_digest: str
    policy: str
    rules: tuple[str, ...]
    grant_id: str
    approved_by: tuple[str, ...]
    resolved_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some calls, and where the next page begins: after this call id; empty when this is the last."""

    calls: tuple[KeptCall, ...]
    after: str = ""
