"""Webhooks: who outside is told that runs finished, and what became of the telling."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from plimsoll_client.models import RunStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookDraft:
    """What is put as a webhook.

    Attributes:
    agent     only runs of this agent; empty means all
    statuses  only runs that end like this; none means all final ones
    """

    name: str
    url: str
    agent: str = ""
    statuses: tuple[RunStatus, ...] = ()
    disabled: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """A webhook as the mesh keeps it; its secret is told by `put` only."""

    draft: WebhookDraft
    created_at: datetime | None

    @property
    def name(self) -> str:
        return self.draft.name


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedWebhook:
    """What putting did. `secret` (whsec_…, Standard Webhooks) is there once, when it was made just now; empty afterwards."""

    webhook: Webhook
    secret: str = field(repr=False)


class DeliveryStatus(StrEnum):
    """What became of one message."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"  # every try failed
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One message to one webhook. `last_result` is what the last try came to, without the body."""

    id: str
    webhook: str
    run_id: str
    status: DeliveryStatus
    attempts: int
    last_result: str
    created_at: datetime | None
    next_at: datetime | None
    delivered_at: datetime | None
