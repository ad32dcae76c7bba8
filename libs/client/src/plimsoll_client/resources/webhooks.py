"""Webhooks: put, look, delete, and what became of their messages."""

from collections.abc import Sequence

from plimsoll.gateway.v1 import gateway_service_pb2_grpc as rpc
from plimsoll.gateway.v1 import webhooks_pb2 as pb

from plimsoll_client.calls import Calls, every
from plimsoll_client.codec.plans import delivery_from_proto, delivery_status_to_proto, webhook_from_proto, webhook_to_proto
from plimsoll_client.webhooks import Delivery, DeliveryStatus, SavedWebhook, Webhook, WebhookDraft


class Webhooks:
    """Who outside is told that runs finished."""

    def __init__(self, stub: "rpc.GatewayServiceAsyncStub", calls: Calls) -> None:
        self._stub = stub
        self._calls = calls

    async def put(self, draft: WebhookDraft, *, rotate: bool = False) -> SavedWebhook:
        """Create the webhook of this name, or change it to this. Its secret is told when it is made or rotated, and never again.

        Never repeated by itself: an answer that was lost would take the secret with it. After an error, put it again with `rotate`.
        """
        request = pb.PutWebhookRequest(name=draft.name, webhook=webhook_to_proto(draft), rotate=rotate)
        answer = await self._calls.once(self._stub.PutWebhook, request)
        return SavedWebhook(webhook=webhook_from_proto(answer.webhook), secret=answer.secret)

    async def list(self, *, limit: int = 1000) -> list[Webhook]:
        """By name."""

        async def page(size: int, token: str) -> pb.ListWebhooksResponse:
            return await self._calls.repeatable(self._stub.ListWebhooks, pb.ListWebhooksRequest(page_size=size, page_token=token))

        return [webhook_from_proto(message) for message in await every(page, lambda answer: answer.webhooks, limit=limit)]

    async def delete(self, name: str) -> None:
        """Delete it, and what it had still to deliver."""
        await self._calls.repeatable(self._stub.DeleteWebhook, pb.DeleteWebhookRequest(name=name))

    async def deliveries(
        self, *, webhook: str = "", run_id: str = "", status: DeliveryStatus | None = None, limit: int = 50
    ) -> Sequence[Delivery]:
        """Newest first; with `status=DeliveryStatus.DEAD`, the dead letters."""
        wanted = delivery_status_to_proto(status)

        async def page(size: int, token: str) -> pb.ListWebhookDeliveriesResponse:
            request = pb.ListWebhookDeliveriesRequest(webhook=webhook, run_id=run_id, status=wanted, page_size=size, page_token=token)
            return await self._calls.repeatable(self._stub.ListWebhookDeliveries, request)

        return [delivery_from_proto(message) for message in await every(page, lambda answer: answer.deliveries, limit=limit)]

    async def replay(self, delivery_id: str) -> Delivery:
        """Send it once more, under the same id."""
        request = pb.ReplayWebhookDeliveryRequest(delivery_id=delivery_id)
        return delivery_from_proto((await self._calls.repeatable(self._stub.ReplayWebhookDelivery, request)).delivery)
