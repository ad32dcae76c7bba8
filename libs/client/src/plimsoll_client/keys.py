"""API keys, who asks, and how much was asked."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key without its secret. `replaces` is the key that it came after by rotation."""

    key_id: str
    name: str
    scopes: tuple[str, ...]
    created_at: datetime | None
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    replaces: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NewApiKey:
    """A key just made; `text` is told this once."""

    key: ApiKey
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks, as the gateway sees it."""

    key_id: str
    name: str
    tenant: str
    scopes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyEvent:
    """Something that was done with a key, as the audit log has it."""

    seq: int
    at: datetime
    actor: str
    action: str
    subject: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyUsage:
    """What one key asked on one day (UTC): requests let in, and those over a limit."""

    day: str
    key_id: str
    name: str
    requests: int
    refused: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetUse:
    """What model calls consumed of a budget; a cap of zero is none."""

    scope: str
    subject: str
    period: str
    spent_tokens: int
    max_tokens: int
    spent_cost_micros: int
    max_cost_micros: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Newest day first."""

    keys: tuple[KeyUsage, ...]
    budgets: tuple[BudgetUse, ...]
