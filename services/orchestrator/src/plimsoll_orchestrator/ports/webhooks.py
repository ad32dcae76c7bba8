"""What is kept of webhooks and of what they were told, and the way out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from plimsoll_runtime.settings import Secret

from plimsoll_orchestrator.domain.webhook import DeliveryStatus, Ended, Webhook


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptWebhook:
    """A webhook, without its secrets."""

    webhook: Webhook
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A message to a webhook, as it shows in lists. `next_at` is None when it is not sent any more."""

    delivery_id: str
    webhook: str
    run_id: str
    status: DeliveryStatus
    attempts: int
    last_result: str
    created_at: datetime
    next_at: datetime | None
    delivered_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryFilter:
    """Empty and None mean any."""

    webhook: str = ""
    run_id: str = ""
    status: DeliveryStatus | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """A message that is due, held for a while by the process that claimed it.

    Attributes:
    claim    counts the claims of this message: only the last one may record
    tries    how often it was sent, this time included
    secrets  the present one, and the one before while it still counts
    ended    None when the run is no longer kept, or its end cannot be read
    """

    delivery_id: str
    tenant: str
    webhook: str
    url: str
    secrets: Sequence[Secret]
    claim: int
    tries: int
    ended: Ended | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a try came to. `again_s` is None when there is no next one; `gone` means that the receiver wants no more of any message."""

    status: DeliveryStatus
    result: str
    again_s: float | None = None
    gone: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a receiver answered. `retry_after_s` is None when it asked for nothing."""

    status: int
    retry_after_s: float | None


class WebhookStore(Protocol):
    """What the API needs."""

    async def put(self, tenant: str, webhook: Webhook, secret: Secret, *, rotate: bool) -> tuple[KeptWebhook, bool]:
        """Make it or change it; true when `secret` is now its own. Raises TooMany."""
        ...

    async def page(self, tenant: str, after: str, limit: int) -> Sequence[KeptWebhook]:
        """By name, names after `after`."""
        ...

    async def delete(self, tenant: str, name: str) -> bool:
        """With all its messages."""
        ...

    async def deliveries(self, tenant: str, filter_: DeliveryFilter, before: str, limit: int) -> Sequence[Delivery]:
        """Newest first; those made before the one with the id `before`."""
        ...

    async def replay(self, tenant: str, delivery_id: str) -> Delivery | None:
        """Make it due at once, with all its tries before it. Raises WebhookDisabled."""
        ...


class DueDeliveries(Protocol):
    """What the courier needs; the database's clock says what is due."""

    async def claim(self, limit: int, busy: Mapping[tuple[str, str], int]) -> Sequence[Parcel]:
        """Messages that nobody else holds, few of each webhook; `busy` is how many of each (tenant, webhook) are under way here.

        Whoever lets go of one without a word loses it after a minute.
        """
        ...

    async def record(self, parcel: Parcel, outcome: Outcome) -> None: ...


class WebhookReceivers(Protocol):
    """The way out of the mesh."""

    async def judge(self, url: str) -> None:
        """Raises InvalidWebhook when nothing may be sent there."""
        ...

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Raises Denied, Unavailable, DeadlineExpired or Internal: nobody knows then whether it arrived."""
        ...
