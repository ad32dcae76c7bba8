"""Monitors and the alerts that they raise."""

from plimsoll.gateway.v1 import gateway_service_pb2_grpc as rpc
from plimsoll.gateway.v1 import monitors_pb2 as pb

from plimsoll_client.calls import Calls, every
from plimsoll_client.codec.monitors import alert_from_proto, alert_status_to_proto, measure_to_proto, monitor_from_proto
from plimsoll_client.monitors import Alert, AlertStatus, Measure, Monitor


class Monitors:
    """What is watched."""

    def __init__(self, stub: "rpc.GatewayServiceAsyncStub", calls: Calls) -> None:
        self._stub = stub
        self._calls = calls

    async def list(self, *, subject: str = "", measure: Measure | None = None, limit: int = 100) -> "list[Monitor]":
        """Of one agent, prompt or collection, or of all."""

        async def page(size: int, token: str) -> pb.ListMonitorsResponse:
            request = pb.ListMonitorsRequest(subject=subject, measure=measure_to_proto(measure), page_size=size, page_token=token)
            return await self._calls.repeatable(self._stub.ListMonitors, request)

        return [monitor_from_proto(message) for message in await every(page, lambda answer: answer.monitors, limit=limit)]

    async def reset(self, monitor_id: str) -> Monitor:
        """Forget the baseline: what comes next is the new normal. Its open alerts are resolved."""
        answer = await self._calls.repeatable(self._stub.ResetBaseline, pb.ResetBaselineRequest(monitor_id=monitor_id))
        return monitor_from_proto(answer.monitor)


class Alerts:
    """What left its baseline."""

    def __init__(self, stub: "rpc.GatewayServiceAsyncStub", calls: Calls) -> None:
        self._stub = stub
        self._calls = calls

    async def list(
        self, *, subject: str = "", measure: Measure | None = None, status: AlertStatus | None = None, limit: int = 100
    ) -> "list[Alert]":
        """Newest first."""

        async def page(size: int, token: str) -> pb.ListAlertsResponse:
            request = pb.ListAlertsRequest(
                subject=subject,
                measure=measure_to_proto(measure),
                status=alert_status_to_proto(status),
                page_size=size,
                page_token=token,
            )
            return await self._calls.repeatable(self._stub.ListAlerts, request)

        return [alert_from_proto(message) for message in await every(page, lambda answer: answer.alerts, limit=limit)]

    async def acknowledge(self, alert_id: str, *, comment: str = "") -> Alert:
        """Say that somebody looks into it."""
        request = pb.AcknowledgeAlertRequest(alert_id=alert_id, comment=comment)
        return alert_from_proto((await self._calls.repeatable(self._stub.AcknowledgeAlert, request)).alert)

    async def resolve(self, alert_id: str, *, comment: str = "") -> Alert:
        """Say that it is settled; the monitor watches on from here."""
        request = pb.ResolveAlertRequest(alert_id=alert_id, comment=comment)
        return alert_from_proto((await self._calls.repeatable(self._stub.ResolveAlert, request)).alert)
