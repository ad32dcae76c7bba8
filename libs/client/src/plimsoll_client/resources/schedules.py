"""Schedules: put, look, delete."""

from plimsoll.gateway.v1 import gateway_service_pb2_grpc as rpc
from plimsoll.gateway.v1 import schedules_pb2 as pb

from plimsoll_client.calls import Calls, every
from plimsoll_client.codec.plans import schedule_from_proto, schedule_to_proto
from plimsoll_client.schedules import Schedule, ScheduleDraft


class Schedules:
    """Runs that start by themselves at times."""

    def __init__(self, stub: "rpc.GatewayServiceAsyncStub", calls: Calls) -> None:
        self._stub = stub
        self._calls = calls

    async def put(self, draft: ScheduleDraft) -> Schedule:
        """Create the schedule of this name, or change it to this."""
        request = pb.PutScheduleRequest(name=draft.name, schedule=schedule_to_proto(draft))
        return schedule_from_proto((await self._calls.repeatable(self._stub.PutSchedule, request)).schedule)

    async def get(self, name: str) -> Schedule:
        """One by name, with when it fires next."""
        answer = await self._calls.repeatable(self._stub.GetSchedule, pb.GetScheduleRequest(name=name))
        return schedule_from_proto(answer.schedule)

    async def list(self, *, limit: int = 1000) -> list[Schedule]:
        """By name."""

        async def page(size: int, token: str) -> pb.ListSchedulesResponse:
            return await self._calls.repeatable(self._stub.ListSchedules, pb.ListSchedulesRequest(page_size=size, page_token=token))

        return [schedule_from_proto(message) for message in await every(page, lambda answer: answer.schedules, limit=limit)]

    async def delete(self, name: str) -> None:
        """Delete it; runs that it started go on."""
        await self._calls.repeatable(self._stub.DeleteSchedule, pb.DeleteScheduleRequest(name=name))
