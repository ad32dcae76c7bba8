"""The verbs of webhooks: put, list, delete; list and replay what they were told."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

from plimsoll_runtime.errors import FieldProblem
from plimsoll_runtime.settings import Secret

from plimsoll_orchestrator.domain.journal import FINAL
from plimsoll_orchestrator.domain.webhook import SECRET_BYTES, Webhook, secret_of
from plimsoll_orchestrator.errors import DeliveryNotFound, InvalidWebhook, WebhookNotFound
from plimsoll_orchestrator.ports.webhooks import Delivery, DeliveryFilter, KeptWebhook, WebhookReceivers, WebhookStore

_NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhooks:
    store: WebhookStore
    receivers: WebhookReceivers

    async def put_webhook(self, tenant: str, webhook: Webhook, *, rotate: bool) -> tuple[KeptWebhook, Secret | None]:
        """Make a webhook, or change the one of this name; the secret is told when it was made just now. Raises InvalidWebhook, TooMany."""
        problems = list(_problems(webhook))
        if problems:
            raise InvalidWebhook(problems=problems)
        await self.receivers.judge(webhook.url)
        secret = secret_of(os.urandom(SECRET_BYTES))
        kept, is_new = await self.store.put(tenant, webhook, secret, rotate=rotate)
        return kept, secret if is_new else None

    async def list_webhooks(self, tenant: str, after: str, limit: int) -> Sequence[KeptWebhook]:
        """By name."""
        return await self.store.page(tenant, after, limit)

    async def delete_webhook(self, tenant: str, name: str) -> None:
        """With what it was told and what it was not told yet. Raises WebhookNotFound."""
        if not await self.store.delete(tenant, name):
            raise WebhookNotFound(f"no webhook is named {name!r}", remedy="list the webhooks to see their names")

    async def list_deliveries(self, tenant: str, filter_: DeliveryFilter, before: str, limit: int) -> Sequence[Delivery]:
        """Newest first."""
        return await self.store.deliveries(tenant, filter_, before, limit)

    async def replay_delivery(self, tenant: str, delivery_id: str) -> Delivery:
        """Send it once more, under the same id, with all its tries before it. Raises DeliveryNotFound, WebhookDisabled."""
        delivery = await self.store.replay(tenant, delivery_id)
        if delivery is None:
            raise DeliveryNotFound(f"no delivery has the id {delivery_id!r}", remedy="list the deliveries to see their ids")
        return delivery


def _problems(webhook: Webhook) -> Sequence[FieldProblem]:
    problems = []
    if _NAME.fullmatch(webhook.name) is None:
        remedy = "use small letters, digits and hyphens, at most 63, a letter first"
        problems.append(FieldProblem("webhook.name", f"is {webhook.name[:64]!r}", remedy))
    if webhook.agent and _NAME.fullmatch(webhook.agent) is None:
        problems.append(FieldProblem("webhook.agent", f"is {webhook.agent[:64]!r}, which names no agent", "leave it out for all agents"))
    unfit = [status.value for status in webhook.statuses if status not in FINAL]
    if unfit:
        problems.append(FieldProblem("webhook.statuses", f"has {', '.join(unfit)}", "name succeeded, failed or cancelled, or none for all"))
    return problems
