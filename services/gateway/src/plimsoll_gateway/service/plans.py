"""What is set up before any run: agents, schedules that start runs, webhooks that tell of their end."""

from plimsoll.gateway.v1 import agents_pb2, schedules_pb2, webhooks_pb2
from plimsoll.orchestrator.v1 import orchestrator_service_pb2 as pb
from plimsoll.orchestrator.v1 import schedule_pb2, webhook_pb2

from plimsoll_gateway.errors import wrong
from plimsoll_gateway.ports import Orchestrator


class Plans:
    """Carries them to the orchestrator, for the present tenant."""

    def __init__(self, orchestrator: Orchestrator) -> None:
        self._orchestrator = orchestrator

    # agents

    async def register_agent(self, request: agents_pb2.RegisterAgentRequest) -> agents_pb2.RegisterAgentResponse:
        asked = pb.RegisterAgentRequest(source=request.source, source_name=request.source_name)
        answer = await self._orchestrator.register_agent(asked)
        return agents_pb2.RegisterAgentResponse(agent=answer.agent, created=answer.created)

    async def get_agent(self, request: agents_pb2.GetAgentRequest) -> agents_pb2.GetAgentResponse:
        return agents_pb2.GetAgentResponse(agent=(await self._orchestrator.get_agent(pb.GetAgentRequest(name=request.name))).agent)

    async def list_agents(self, request: agents_pb2.ListAgentsRequest) -> agents_pb2.ListAgentsResponse:
        answer = await self._orchestrator.list_agents(pb.ListAgentsRequest(page_size=request.page_size, page_token=request.page_token))
        return agents_pb2.ListAgentsResponse(agents=answer.agents, next_page_token=answer.next_page_token)

    async def check_agent(self, request: agents_pb2.CheckAgentRequest) -> agents_pb2.CheckAgentResponse:
        answer = await self._orchestrator.check_agent(pb.CheckAgentRequest(source=request.source, source_name=request.source_name))
        return agents_pb2.CheckAgentResponse(
            mistakes=answer.mistakes, digest=answer.digest, broken_runs=answer.broken_runs, checked_runs=answer.checked_runs
        )

    # schedules

    async def put_schedule(self, request: schedules_pb2.PutScheduleRequest) -> schedules_pb2.PutScheduleResponse:
        """The name in the path is the schedule's."""
        _must_agree("schedule.name", request.schedule.name, request.name)
        schedule = schedule_pb2.Schedule()
        schedule.CopyFrom(request.schedule)
        schedule.name = request.name
        answer = await self._orchestrator.put_schedule(pb.PutScheduleRequest(schedule=schedule))
        return schedules_pb2.PutScheduleResponse(schedule=answer.schedule)

    async def get_schedule(self, request: schedules_pb2.GetScheduleRequest) -> schedules_pb2.GetScheduleResponse:
        answer = await self._orchestrator.get_schedule(pb.GetScheduleRequest(name=request.name))
        return schedules_pb2.GetScheduleResponse(schedule=answer.schedule)

    async def list_schedules(self, request: schedules_pb2.ListSchedulesRequest) -> schedules_pb2.ListSchedulesResponse:
        asked = pb.ListSchedulesRequest(page_size=request.page_size, page_token=request.page_token)
        answer = await self._orchestrator.list_schedules(asked)
        return schedules_pb2.ListSchedulesResponse(schedules=answer.schedules, next_page_token=answer.next_page_token)

    async def delete_schedule(self, request: schedules_pb2.DeleteScheduleRequest) -> schedules_pb2.DeleteScheduleResponse:
        await self._orchestrator.delete_schedule(pb.DeleteScheduleRequest(name=request.name))
        return schedules_pb2.DeleteScheduleResponse()

    # webhooks

    async def put_webhook(self, request: webhooks_pb2.PutWebhookRequest) -> webhooks_pb2.PutWebhookResponse:
        """The name in the path is the webhook's."""
        _must_agree("webhook.name", request.webhook.name, request.name)
        webhook = webhook_pb2.Webhook()
        webhook.CopyFrom(request.webhook)
        webhook.name = request.name
        answer = await self._orchestrator.put_webhook(pb.PutWebhookRequest(webhook=webhook, rotate=request.rotate))
        return webhooks_pb2.PutWebhookResponse(webhook=answer.webhook, secret=answer.secret)

    async def list_webhooks(self, request: webhooks_pb2.ListWebhooksRequest) -> webhooks_pb2.ListWebhooksResponse:
        answer = await self._orchestrator.list_webhooks(pb.ListWebhooksRequest(page_size=request.page_size, page_token=request.page_token))
        return webhooks_pb2.ListWebhooksResponse(webhooks=answer.webhooks, next_page_token=answer.next_page_token)

    async def delete_webhook(self, request: webhooks_pb2.DeleteWebhookRequest) -> webhooks_pb2.DeleteWebhookResponse:
        await self._orchestrator.delete_webhook(pb.DeleteWebhookRequest(name=request.name))
        return webhooks_pb2.DeleteWebhookResponse()

    async def list_webhook_deliveries(
        self, request: webhooks_pb2.ListWebhookDeliveriesRequest
    ) -> webhooks_pb2.ListWebhookDeliveriesResponse:
        answer = await self._orchestrator.list_webhook_deliveries(
            pb.ListWebhookDeliveriesRequest(
                webhook=request.webhook,
                run_id=request.run_id,
                status=request.status,
                page_size=request.page_size,
                page_token=request.page_token,
            )
        )
        return webhooks_pb2.ListWebhookDeliveriesResponse(deliveries=answer.deliveries, next_page_token=answer.next_page_token)

    async def replay_webhook_delivery(
        self, request: webhooks_pb2.ReplayWebhookDeliveryRequest
    ) -> webhooks_pb2.ReplayWebhookDeliveryResponse:
        answer = await self._orchestrator.replay_webhook_delivery(pb.ReplayWebhookDeliveryRequest(delivery_id=request.delivery_id))
        return webhooks_pb2.ReplayWebhookDeliveryResponse(delivery=answer.delivery)


def _must_agree(field: str, told: str, name: str) -> None:
    if told not in {"", name}:
        raise wrong(field, f"differs from the name {name!r}", "leave it out")
