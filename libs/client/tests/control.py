# ruff: noqa: N802 - gRPC names the methods
"""The part of the fake gateway that steers runs and keeps threads, schedules and webhooks."""

from typing import TYPE_CHECKING, Any

from plimsoll.gateway.v1 import agents_pb2, control_pb2, schedules_pb2, threads_pb2, webhooks_pb2
from plimsoll.orchestrator.v1 import run_pb2, schedule_pb2, webhook_pb2
from plimsoll_runtime.errors import Conflict, NotFound
from plimsoll_runtime.json_types import JsonValue
from plimsoll_runtime.wire import json_to_proto

if TYPE_CHECKING:
    from client_fakes import FakeRun

Context = Any


class FakeControl:
    """`obstacles` is what every run waits for; `queried` is what every expression comes to."""

    if TYPE_CHECKING:
        runs: dict[str, FakeRun]

        async def _enter(self, method: str, context: Context) -> None: ...
        async def _run(self, run_id: str, context: Context) -> FakeRun: ...
        async def _refuse(self, context: Context, error: Exception) -> None: ...
        async def _begin(self, run: run_pb2.Run) -> None: ...

    def __init__(self) -> None:
        super().__init__()
        self.obstacles: list[run_pb2.Obstacle] = []
        self.queried: JsonValue = None
        self.sent: list[control_pb2.SignalRunRequest] = []
        self.forks: list[control_pb2.ForkRunRequest] = []
        self.schedules: dict[str, schedule_pb2.Schedule] = {}
        self.webhooks: dict[str, webhook_pb2.Webhook] = {}
        self.deliveries: dict[str, webhook_pb2.WebhookDelivery] = {}

    async def PauseRun(self, request: control_pb2.PauseRunRequest, context: Context) -> control_pb2.PauseRunResponse:
        await self._enter("PauseRun", context)
        run = await self._run(request.run_id, context)
        if run.message.HasField("finish_time"):
            await self._refuse(context, Conflict("the run has succeeded already", reason="RUN_FINISHED"))
        run.message.status = run_pb2.RUN_STATUS_PAUSED
        return control_pb2.PauseRunResponse(run=run.message)

    async def ResumeRun(self, request: control_pb2.ResumeRunRequest, context: Context) -> control_pb2.ResumeRunResponse:
        await self._enter("ResumeRun", context)
        run = await self._run(request.run_id, context)
        run.message.status = run_pb2.RUN_STATUS_RUNNING
        return control_pb2.ResumeRunResponse(run=run.message)

    async def SignalRun(self, request: control_pb2.SignalRunRequest, context: Context) -> control_pb2.SignalRunResponse:
        await self._enter("SignalRun", context)
        await self._run(request.run_id, context)
        keys = [kept.idempotency_key for kept in self.sent]
        if request.idempotency_key and request.idempotency_key in keys:
            return control_pb2.SignalRunResponse(signal_id=f"sgn_{keys.index(request.idempotency_key) + 1}")
        self.sent.append(request)
        return control_pb2.SignalRunResponse(signal_id=f"sgn_{len(self.sent)}")

    async def ForkRun(self, request: control_pb2.ForkRunRequest, context: Context) -> control_pb2.ForkRunResponse:
        await self._enter("ForkRun", context)
        run = await self._run(request.run_id, context)
        self.forks.append(request)
        fork = run_pb2.Run(agent=run.message.agent, origin={"forked_run_id": request.run_id, "forked_seq": request.seq})
        await self._begin(fork)
        return control_pb2.ForkRunResponse(run=fork, created=True)

    async def RetryRun(self, request: control_pb2.RetryRunRequest, context: Context) -> control_pb2.RetryRunResponse:
        await self._enter("RetryRun", context)
        run = await self._run(request.run_id, context)
        fork = run_pb2.Run(agent=run.message.agent, origin={"forked_run_id": request.run_id, "forked_seq": run.message.seq})
        await self._begin(fork)
        return control_pb2.RetryRunResponse(run=fork, created=True)

    async def ExplainRun(self, request: control_pb2.ExplainRunRequest, context: Context) -> control_pb2.ExplainRunResponse:
        await self._enter("ExplainRun", context)
        await self._run(request.run_id, context)
        return control_pb2.ExplainRunResponse(obstacles=self.obstacles)

    async def QueryRun(self, request: control_pb2.QueryRunRequest, context: Context) -> control_pb2.QueryRunResponse:
        await self._enter("QueryRun", context)
        run = await self._run(request.run_id, context)
        return control_pb2.QueryRunResponse(value=json_to_proto(self.queried), seq=run.message.seq)

    async def GetThread(self, request: threads_pb2.GetThreadRequest, context: Context) -> threads_pb2.GetThreadResponse:
        await self._enter("GetThread", context)
        mine = [run.message for run in self.runs.values() if run.message.options.thread_id == request.thread_id]
        if not mine:
            await self._refuse(context, NotFound(f"no thread is named {request.thread_id}", reason="THREAD_NOT_FOUND"))
        thread = {"thread_id": request.thread_id, "last_run_id": mine[-1].run_id, "kept": json_to_proto({"topic": "tents"})}
        return threads_pb2.GetThreadResponse(thread=thread)

    async def ListThreads(self, request: threads_pb2.ListThreadsRequest, context: Context) -> threads_pb2.ListThreadsResponse:
        await self._enter("ListThreads", context)
        names = dict.fromkeys(run.message.options.thread_id for run in self.runs.values() if run.message.options.thread_id)
        return threads_pb2.ListThreadsResponse(threads=[{"thread_id": name, "queued_runs": 2} for name in names])

    async def PutSchedule(self, request: schedules_pb2.PutScheduleRequest, context: Context) -> schedules_pb2.PutScheduleResponse:
        await self._enter("PutSchedule", context)
        kept = schedule_pb2.Schedule()
        kept.CopyFrom(request.schedule)
        kept.name = request.name
        kept.next_time.FromJsonString("2026-03-02T03:00:00Z")
        self.schedules[request.name] = kept
        return schedules_pb2.PutScheduleResponse(schedule=kept)

    async def GetSchedule(self, request: schedules_pb2.GetScheduleRequest, context: Context) -> schedules_pb2.GetScheduleResponse:
        await self._enter("GetSchedule", context)
        if request.name not in self.schedules:
            await self._refuse(context, NotFound(f"no schedule is named {request.name}", reason="SCHEDULE_NOT_FOUND"))
        return schedules_pb2.GetScheduleResponse(schedule=self.schedules[request.name])

    async def ListSchedules(self, request: schedules_pb2.ListSchedulesRequest, context: Context) -> schedules_pb2.ListSchedulesResponse:
        await self._enter("ListSchedules", context)
        return schedules_pb2.ListSchedulesResponse(schedules=self.schedules.values())

    async def DeleteSchedule(self, request: schedules_pb2.DeleteScheduleRequest, context: Context) -> schedules_pb2.DeleteScheduleResponse:
        await self._enter("DeleteSchedule", context)
        self.schedules.pop(request.name, None)
        return schedules_pb2.DeleteScheduleResponse()

    async def PutWebhook(self, request: webhooks_pb2.PutWebhookRequest, context: Context) -> webhooks_pb2.PutWebhookResponse:
        await self._enter("PutWebhook", context)
        fresh = request.rotate or request.name not in self.webhooks
        kept = webhook_pb2.Webhook()
        kept.CopyFrom(request.webhook)
        kept.name = request.name
        self.webhooks[request.name] = kept
        return webhooks_pb2.PutWebhookResponse(webhook=kept, secret="whsec_bmV3" if fresh else "")

    async def ListWebhooks(self, request: webhooks_pb2.ListWebhooksRequest, context: Context) -> webhooks_pb2.ListWebhooksResponse:
        await self._enter("ListWebhooks", context)
        return webhooks_pb2.ListWebhooksResponse(webhooks=self.webhooks.values())

    async def DeleteWebhook(self, request: webhooks_pb2.DeleteWebhookRequest, context: Context) -> webhooks_pb2.DeleteWebhookResponse:
        await self._enter("DeleteWebhook", context)
        self.webhooks.pop(request.name, None)
        return webhooks_pb2.DeleteWebhookResponse()

    async def ListWebhookDeliveries(
        self, request: webhooks_pb2.ListWebhookDeliveriesRequest, context: Context
    ) -> webhooks_pb2.ListWebhookDeliveriesResponse:
        await self._enter("ListWebhookDeliveries", context)
        found = [d for d in self.deliveries.values() if request.status in {0, d.status} and request.webhook in {"", d.webhook}]
        return webhooks_pb2.ListWebhookDeliveriesResponse(deliveries=found)

    async def ReplayWebhookDelivery(
        self, request: webhooks_pb2.ReplayWebhookDeliveryRequest, context: Context
    ) -> webhooks_pb2.ReplayWebhookDeliveryResponse:
        await self._enter("ReplayWebhookDelivery", context)
        if request.delivery_id not in self.deliveries:
            await self._refuse(context, NotFound(f"no delivery has the id {request.delivery_id}", reason="DELIVERY_NOT_FOUND"))
        self.deliveries[request.delivery_id].status = webhook_pb2.DELIVERY_STATUS_PENDING
        return webhooks_pb2.ReplayWebhookDeliveryResponse(delivery=self.deliveries[request.delivery_id])

    async def CheckAgent(self, request: agents_pb2.CheckAgentRequest, context: Context) -> agents_pb2.CheckAgentResponse:
        await self._enter("CheckAgent", context)
        if "mistake" in request.source:
            return agents_pb2.CheckAgentResponse(
                mistakes=[{"place": f"{request.source_name}:3: nodes.a.next", "problem": "names no node", "remedy": "name one"}]
            )
        broken = [{"run_id": "run_7", "status": run_pb2.RUN_STATUS_WAITING, "node": "ask", "problem": "the node is gone"}]
        return agents_pb2.CheckAgentResponse(digest="d" * 64, broken_runs=broken if "breaks" in request.source else [], checked_runs=3)
