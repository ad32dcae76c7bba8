"""The RPCs of plimsoll.feedback.v1.MonitorService."""

from plimsoll.feedback.v1 import monitor_service_pb2 as pb
from plimsoll.feedback.v1 import monitor_service_pb2_grpc as rpc
from plimsoll_runtime.context import Caller, current_caller
from plimsoll_runtime.rpc_server import Context, RpcService

from plimsoll_feedback.domain.monitor import AlertStatus
from plimsoll_feedback.service.monitors import Monitors
from plimsoll_feedback.transport.codec import page_from_proto, query_text, token_of
from plimsoll_feedback.transport.monitor_codec import alert_filter_from_proto, alert_to_proto, measure_from_proto, monitor_to_proto

FULL_NAME = "plimsoll.feedback.v1.MonitorService"


class MonitorHandler(rpc.MonitorServiceServicer):
    """Takes requests apart, calls the verb, puts the answer together."""

    def __init__(self, monitors: Monitors) -> None:
        self._monitors = monitors

    async def ListMonitors(self, request: pb.ListMonitorsRequest, context: Context) -> pb.ListMonitorsResponse:
        """Latest change first."""
        subject, measure = query_text(request.subject, "subject") or None, measure_from_proto(request.measure)
        query = f"monitors of {subject} {measure}"
        page = await self._monitors.list_monitors(
            current_caller().tenant, subject, measure, page_from_proto(request.page_size, request.page_token, query)
        )
        return pb.ListMonitorsResponse(monitors=[monitor_to_proto(one) for one in page.rows], next_page_token=token_of(page.next, query))

    async def ResetBaseline(self, request: pb.ResetBaselineRequest, context: Context) -> pb.ResetBaselineResponse:
        """What comes next is the new normal."""
        caller = current_caller()
        reset = await self._monitors.reset_baseline(caller.tenant, query_text(request.monitor_id, "monitor_id"), _person(caller))
        return pb.ResetBaselineResponse(monitor=monitor_to_proto(reset))

    async def ListAlerts(self, request: pb.ListAlertsRequest, context: Context) -> pb.ListAlertsResponse:
        """Newest first."""
        where = alert_filter_from_proto(request)
        query = repr(where)
        page = await self._monitors.list_alerts(
            current_caller().tenant, where, page_from_proto(request.page_size, request.page_token, query)
        )
        return pb.ListAlertsResponse(alerts=[alert_to_proto(one) for one in page.rows], next_page_token=token_of(page.next, query))

    async def AcknowledgeAlert(self, request: pb.AcknowledgeAlertRequest, context: Context) -> pb.AcknowledgeAlertResponse:
        """Somebody looks into it."""
        caller, alert_id = current_caller(), query_text(request.alert_id, "alert_id")
        alert = await self._monitors.settle(caller.tenant, alert_id, AlertStatus.ACKNOWLEDGED, _person(caller), request.comment)
        return pb.AcknowledgeAlertResponse(alert=alert_to_proto(alert))

    async def ResolveAlert(self, request: pb.ResolveAlertRequest, context: Context) -> pb.ResolveAlertResponse:
        """It is settled."""
        caller, alert_id = current_caller(), query_text(request.alert_id, "alert_id")
        alert = await self._monitors.settle(caller.tenant, alert_id, AlertStatus.RESOLVED, _person(caller), request.comment)
        return pb.ResolveAlertResponse(alert=alert_to_proto(alert))


def monitor_rpcs(monitors: Monitors) -> RpcService:
    """What the server serves."""
    handler = MonitorHandler(monitors)
    return RpcService(FULL_NAME, lambda server: rpc.add_MonitorServiceServicer_to_server(handler, server))


def _person(caller: Caller) -> str:
    return caller.principal or caller.service
