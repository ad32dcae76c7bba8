"""Schedules over gRPC."""

from typing import Any

from plimsoll.orchestrator.v1 import orchestrator_service_pb2 as pb
from plimsoll.orchestrator.v1 import orchestrator_service_pb2_grpc as rpc
from plimsoll.orchestrator.v1 import schedule_pb2
from plimsoll_runtime.errors import FieldProblem, Invalid
from plimsoll_runtime.wire import json_to_proto, object_from_proto, timestamp_to_proto

from plimsoll_orchestrator.domain.schedule import MissedPolicy, Schedule
from plimsoll_orchestrator.ports.schedules import KeptSchedule
from plimsoll_orchestrator.service.schedules import Schedules
from plimsoll_orchestrator.transport import codec
from plimsoll_orchestrator.transport.requests import page, required, tenant


class ScheduleRpcs(rpc.OrchestratorServiceServicer):
    _schedules: Schedules

    async def PutSchedule(self, request: pb.PutScheduleRequest, context: Any) -> pb.PutScheduleResponse:
        kept = await self._schedules.put_schedule(tenant(), _schedule(request.schedule))
        return pb.PutScheduleResponse(schedule=_to_proto(kept))

    async def GetSchedule(self, request: pb.GetScheduleRequest, context: Any) -> pb.GetScheduleResponse:
        return pb.GetScheduleResponse(schedule=_to_proto(await self._schedules.get_schedule(tenant(), request.name)))

    async def ListSchedules(self, request: pb.ListSchedulesRequest, context: Any) -> pb.ListSchedulesResponse:
        limit = page(request.page_size)
        found = await self._schedules.list_schedules(tenant(), request.page_token, limit)
        token = found[-1].schedule.name if len(found) == limit else ""
        return pb.ListSchedulesResponse(schedules=[_to_proto(kept) for kept in found], next_page_token=token)

    async def DeleteSchedule(self, request: pb.DeleteScheduleRequest, context: Any) -> pb.DeleteScheduleResponse:
        await self._schedules.delete_schedule(tenant(), request.name)
        return pb.DeleteScheduleResponse()


def _schedule(message: schedule_pb2.Schedule) -> Schedule:
    required("schedule.name", message.name)
    required("schedule.agent", message.agent)
    return Schedule(
        name=message.name,
        agent=message.agent,
        input=object_from_proto(message.input, "schedule.input"),
        cron=message.cron,
        time_zone=message.time_zone,
        missed=_missed(message.missed),
        paused=message.paused,
        options=codec.options_from_proto(message.options),
    )


def _missed(value: schedule_pb2.MissedPolicy.ValueType) -> MissedPolicy:
    if value == schedule_pb2.MISSED_POLICY_UNSPECIFIED:
        return MissedPolicy.ONCE
    if value not in schedule_pb2.MissedPolicy.values():
        raise Invalid(problems=(FieldProblem("schedule.missed", f"is {value}", "send a known value"),))
    return MissedPolicy(schedule_pb2.MissedPolicy.Name(value).removeprefix("MISSED_POLICY_").lower())


def _to_proto(kept: KeptSchedule) -> schedule_pb2.Schedule:
    schedule = kept.schedule
    message = schedule_pb2.Schedule(
        name=schedule.name,
        agent=schedule.agent,
        input=json_to_proto(schedule.input),
        cron=schedule.cron,
        time_zone=schedule.time_zone,
        missed=schedule_pb2.MissedPolicy.Value(f"MISSED_POLICY_{schedule.missed.name}"),
        paused=schedule.paused,
        options=codec.options_to_proto(schedule.options),
        last_run_id=kept.last_run_id,
        last_problem=kept.last_problem,
    )
    if kept.next_at is not None:
        message.next_time.CopyFrom(timestamp_to_proto(kept.next_at))
    if kept.last_at is not None:
        message.last_time.CopyFrom(timestamp_to_proto(kept.last_at))
    return message
