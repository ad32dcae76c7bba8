"""What improvement needs: a store whose methods are whole transactions, and what monitors noticed."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from plimsoll_runtime.audit import AuditRecord

from plimsoll_feedback.domain.learning.improvements import Improvement, ImprovementId, Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldTry:
    """An improvement that this process works on; a higher epoch always wins."""

    improvement: Improvement
    epoch: int


class ImprovementStore(Protocol):
    """Keeps plans, and tries of them."""

    async def put_plan(self, tenant: str, plan: Plan, at: datetime, told: AuditRecord) -> Plan:
        """Keep it instead of the prompt's plan before, and tell of it in the audit log."""
        ...

    async def plan(self, tenant: str, prompt: str) -> Plan | None: ...

    async def plans(self, tenant: str) -> Sequence[Plan]: ...

    async def due(self, now: datetime) -> Sequence[tuple[str, Plan]]:
        """Plans of all tenants whose time has come; each is due again after its own time, and given to one process only."""
        ...

    async def alarmed(self) -> Sequence[tuple[str, Plan]]:
        """Plans of all tenants that want to be tried on alerts, whose prompt has an open one, and enough that was learned since."""
        ...

    async def start(self, improvement: Improvement, key: str) -> Improvement:
        """Keep it, or return the one that was started under the key. Raises ImprovementUnderWay or KeyReused."""
        ...

    async def get(self, tenant: str, improvement_id: ImprovementId) -> Improvement:
        """Raises ImprovementNotFound."""
        ...

    async def list(self, tenant: str, prompt: str, limit: int) -> Sequence[Improvement]: ...

    async def claim(self, lease_s: float) -> HeldTry | None: ...

    async def change(self, held: HeldTry, after: Improvement, again_in_s: float) -> bool:
        """Keep what it came to, and leave it for `again_in_s`; False when another process has it."""
        ...

    async def promoted(self) -> Sequence[Improvement]:
        """Those of all tenants that are still watched."""
        ...

    async def rolled_back(self, improvement: Improvement, reason: str, at: datetime) -> bool:
        """False when that was noted before."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Noticed:
    """An alert that speaks against a version."""

    alert_id: str
    what: str


class Alerts(Protocol):
    """What monitors noticed in production."""

    async def against(self, tenant: str, prompt: str, version: str, before: str, since: datetime) -> Noticed | None:
        """The first alert since then about harm by this version, unless the version before it did as badly."""
        ...
