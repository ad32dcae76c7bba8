"""Webhooks and what they were told, over gRPC."""

from typing import Any

from plimsoll.orchestrator.v1 import orchestrator_service_pb2 as pb
from plimsoll.orchestrator.v1 import orchestrator_service_pb2_grpc as rpc
from plimsoll.orchestrator.v1 import run_pb2, webhook_pb2
from plimsoll_runtime.errors import FieldProblem, Invalid
from plimsoll_runtime.wire import timestamp_to_proto

from plimsoll_orchestrator.domain.journal import RunStatus
from plimsoll_orchestrator.domain.webhook import DeliveryStatus, Webhook
from plimsoll_orchestrator.ports.webhooks import Delivery, DeliveryFilter, KeptWebhook
from plimsoll_orchestrator.service.webhooks import Webhooks
from plimsoll_orchestrator.transport import codec
from plimsoll_orchestrator.transport.requests import page, required, tenant


class WebhookRpcs(rpc.OrchestratorServiceServicer):
    _webhooks: Webhooks

    async def PutWebhook(self, request: pb.PutWebhookRequest, context: Any) -> pb.PutWebhookResponse:
        kept, secret = await self._webhooks.put_webhook(tenant(), _webhook(request.webhook), rotate=request.rotate)
        return pb.PutWebhookResponse(webhook=_webhook_to_proto(kept), secret=secret.reveal() if secret else "")

    async def ListWebhooks(self, request: pb.ListWebhooksRequest, context: Any) -> pb.ListWebhooksResponse:
        limit = page(request.page_size)
        found = await self._webhooks.list_webhooks(tenant(), request.page_token, limit)
        token = found[-1].webhook.name if len(found) == limit else ""
        return pb.ListWebhooksResponse(webhooks=[_webhook_to_proto(kept) for kept in found], next_page_token=token)

    async def DeleteWebhook(self, request: pb.DeleteWebhookRequest, context: Any) -> pb.DeleteWebhookResponse:
        await self._webhooks.delete_webhook(tenant(), request.name)
        return pb.DeleteWebhookResponse()

    async def ListWebhookDeliveries(self, request: pb.ListWebhookDeliveriesRequest, context: Any) -> pb.ListWebhookDeliveriesResponse:
        limit = page(request.page_size)
        filter_ = DeliveryFilter(webhook=request.webhook, run_id=request.run_id, status=_delivery_status(request.status))
        found = await self._webhooks.list_deliveries(tenant(), filter_, request.page_token, limit)
        token = found[-1].delivery_id if len(found) == limit else ""
        return pb.ListWebhookDeliveriesResponse(deliveries=[_delivery_to_proto(delivery) for delivery in found], next_page_token=token)

    async def ReplayWebhookDelivery(self, request: pb.ReplayWebhookDeliveryRequest, context: Any) -> pb.ReplayWebhookDeliveryResponse:
        delivery = await self._webhooks.replay_delivery(tenant(), request.delivery_id)
        return pb.ReplayWebhookDeliveryResponse(delivery=_delivery_to_proto(delivery))


def _webhook(message: webhook_pb2.Webhook) -> Webhook:
    required("webhook.name", message.name)
    required("webhook.url", message.url)
    statuses = [codec.run_status_from_proto(status) for status in message.statuses]
    return Webhook(
        name=message.name,
        url=message.url,
        agent=message.agent,
        statuses=tuple(dict.fromkeys(status for status in statuses if status is not None)),
        disabled=message.disabled,
    )


def _webhook_to_proto(kept: KeptWebhook) -> webhook_pb2.Webhook:
    webhook = kept.webhook
    return webhook_pb2.Webhook(
        name=webhook.name,
        url=webhook.url,
        agent=webhook.agent,
        statuses=[_status_to_proto(status) for status in webhook.statuses],
        disabled=webhook.disabled,
        create_time=timestamp_to_proto(kept.created_at),
    )


def _status_to_proto(status: RunStatus) -> run_pb2.RunStatus.ValueType:
    return run_pb2.RunStatus.Value(f"RUN_STATUS_{status.name}")


def _delivery_status(value: webhook_pb2.DeliveryStatus.ValueType) -> DeliveryStatus | None:
    """None for unspecified: any."""
    if value not in webhook_pb2.DeliveryStatus.values():
        raise Invalid(problems=(FieldProblem("status", f"is {value}", "send a known value"),))
    name = webhook_pb2.DeliveryStatus.Name(value).removeprefix("DELIVERY_STATUS_")
    return None if name == "UNSPECIFIED" else DeliveryStatus(name.lower())


def _delivery_to_proto(delivery: Delivery) -> webhook_pb2.WebhookDelivery:
    message = webhook_pb2.WebhookDelivery(
        delivery_id=delivery.delivery_id,
        webhook=delivery.webhook,
        run_id=delivery.run_id,
        status=webhook_pb2.DeliveryStatus.Value(f"DELIVERY_STATUS_{delivery.status.name}"),
        attempts=delivery.attempts,
        last_result=delivery.last_result,
        create_time=timestamp_to_proto(delivery.created_at),
    )
    if delivery.next_at is not None:
        message.next_time.CopyFrom(timestamp_to_proto(delivery.next_at))
    if delivery.delivered_at is not None:
        message.deliver_time.CopyFrom(timestamp_to_proto(delivery.delivered_at))
    return message
