"""What feedback is asked of runs, signals and monitors: one case per method."""

from gateway_cases import ACTOR, Case
from plimsoll.feedback.v1 import feedback_service_pb2 as pb
from plimsoll.feedback.v1 import monitor_pb2, operation_pb2, signal_pb2, trace_pb2
from plimsoll.feedback.v1 import monitor_service_pb2 as monitor_service

TRACE = trace_pb2.Trace(run_id="run_1", agent="a", status=trace_pb2.TRACE_STATUS_FAILED, steps=3, tags=["vip"])
ALERT = monitor_pb2.Alert(alert_id="alr_1", measure=monitor_pb2.MEASURE_DOUBT, status=monitor_pb2.ALERT_STATUS_ACKNOWLEDGED)
MONITOR = monitor_pb2.Monitor(monitor_id="mon_1", phase=monitor_pb2.MONITOR_PHASE_LEARNING, alpha=0.5)

FEEDBACK = [
    Case(
        method="ListOperations",
        http="GET",
        path="/v1/operations?runId=r&agent=a&kind=OPERATION_KIND_TOOL_CALL&category=FAILURE_CATEGORY_TIMEOUT&failedOnly=true&pageSize=2&pageToken=t",
        service="feedback",
        heard=pb.ListOperationsRequest(
            run_id="r",
            agent="a",
            kind=operation_pb2.OPERATION_KIND_TOOL_CALL,
            category="FAILURE_CATEGORY_TIMEOUT",
            failed_only=True,
            page_size=2,
            page_token="t",
        ),
        answer=pb.ListOperationsResponse(operations=[{"operation_id": "op_1"}], next_page_token="u"),
        shows={"operations.0.operationId": "op_1", "nextPageToken": "u"},
    ),
    Case(
        method="CountFailures",
        http="GET",
        path="/v1/failures:count?agent=a&afterTime=1970-01-01T00:00:01Z&beforeTime=1970-01-01T00:00:02Z",
        service="feedback",
        heard=pb.CountFailuresRequest(agent="a", after_time={"seconds": 1}, before_time={"seconds": 2}),
        answer=pb.CountFailuresResponse(counts=[{"count": 7}], operations=9),
        shows={"counts.0.count": "7", "operations": "9"},
    ),
    Case(
        method="RecordSignal",
        http="POST",
        path="/v1/runs/run_1/signals?idempotencyKey=k",
        body={"verdict": "VERDICT_GOOD", "comment": "helped"},
        service="feedback",
        heard=pb.RecordSignalRequest(
            signal={"run_id": "run_1", "verdict": signal_pb2.VERDICT_GOOD, "comment": "helped", "source": ACTOR}, idempotency_key="k"
        ),
        answer=pb.RecordSignalResponse(signal={"signal_id": "sig_1"}),
        shows={"signal.signalId": "sig_1"},
    ),
    Case(
        method="ListSignals",
        http="GET",
        path="/v1/runs/run_1/signals?pageSize=2&pageToken=t",
        service="feedback",
        heard=pb.ListSignalsRequest(run_id="run_1", page_size=2, page_token="t"),
        answer=pb.ListSignalsResponse(signals=[{"signal_id": "sig_1"}], next_page_token="u"),
        shows={"signals.0.signalId": "sig_1", "nextPageToken": "u"},
    ),
    Case(
        method="ListTraces",
        http="GET",
        path="/v1/traces?agent=a&agentVersion=v&category=FAILURE_CATEGORY_TIMEOUT&tags=x&tags=y&status=TRACE_STATUS_FAILED"
        "&afterTime=1970-01-01T00:00:01Z&beforeTime=1970-01-01T00:00:02Z&minCostMicros=5&minDuration=1.5s&text=refund%20late"
        "&threadId=t&parentRunId=run_0&pageSize=2&pageToken=p",
        service="feedback",
        heard=pb.ListTracesRequest(
            agent="a",
            agent_version="v",
            category="FAILURE_CATEGORY_TIMEOUT",
            tags=["x", "y"],
            status=trace_pb2.TRACE_STATUS_FAILED,
            after_time={"seconds": 1},
            before_time={"seconds": 2},
            min_cost_micros=5,
            min_duration={"seconds": 1, "nanos": 500_000_000},
            text="refund late",
            thread_id="t",
            parent_run_id="run_0",
            page_size=2,
            page_token="p",
        ),
        answer=pb.ListTracesResponse(traces=[TRACE], next_page_token="u"),
        shows={"traces.0.runId": "run_1", "traces.0.tags.0": "vip", "nextPageToken": "u"},
    ),
    Case(
        method="GetTrace",
        http="GET",
        path="/v1/traces/run_1?pageSize=2&pageToken=p",
        service="feedback",
        heard=pb.GetTraceRequest(run_id="run_1", page_size=2, page_token="p"),
        answer=pb.GetTraceResponse(
            trace=TRACE,
            entries=[{"operation": {"operation_id": "op_1"}, "depth": 2, "labels": [{"rule": "person"}]}],
            children=[TRACE],
            next_page_token="u",
        ),
        shows={
            "trace.steps": "3",
            "entries.0.depth": 2,
            "entries.0.labels.0.rule": "person",
            "children.0.agent": "a",
            "nextPageToken": "u",
        },
    ),
    Case(
        method="AnnotateTrace",
        http="POST",
        path="/v1/traces/run_1:annotate",
        body={"addTags": ["vip"], "removeTags": ["eu"], "comment": "look"},
        service="feedback",
        heard=pb.AnnotateRunRequest(run_id="run_1", add_tags=["vip"], remove_tags=["eu"], comment="look"),
        answer=pb.AnnotateRunResponse(trace=TRACE),
        shows={"trace.tags": ["vip"]},
    ),
    Case(
        method="GetOperationBody",
        http="GET",
        path="/v1/traces/run_1/operations/op_1/body",
        service="feedback",
        heard=pb.GetOperationBodyRequest(run_id="run_1", operation_id="op_1"),
        answer=pb.GetOperationBodyResponse(body={"input": {"text": '{"n":1}'}, "owner": "memory", "missing": "never kept"}),
        shows={"body.input.n": 1, "body.owner": "memory", "body.missing": "never kept"},
    ),
    Case(
        method="RecordSignals",
        http="POST",
        path="/v1/signals:record",
        body={
            "entries": [
                {"signal": {"runId": "run_1", "outcome": False, "source": "shop"}, "idempotencyKey": "k"},
                {"signal": {"tag": "order-7", "score": 0}},
            ]
        },
        service="feedback",
        heard=pb.RecordSignalsRequest(
            entries=[
                {"signal": {"run_id": "run_1", "outcome": False, "source": "shop"}, "idempotency_key": "k"},
                {"signal": {"tag": "order-7", "score": 0}},
            ]
        ),
        answer=pb.RecordSignalsResponse(results=[{"signal": {"signal_id": "sig_1"}}, {"refusal": {"reason": "RUN_NOT_FOUND"}}]),
        shows={"results.0.signal.signalId": "sig_1", "results.1.refusal.reason": "RUN_NOT_FOUND"},
    ),
    Case(
        method="ListMonitors",
        http="GET",
        path="/v1/monitors?subject=a&measure=MEASURE_DOUBT&pageSize=2&pageToken=p",
        service="feedback",
        heard=monitor_service.ListMonitorsRequest(subject="a", measure=monitor_pb2.MEASURE_DOUBT, page_size=2, page_token="p"),
        answer=monitor_service.ListMonitorsResponse(monitors=[MONITOR], next_page_token="u"),
        shows={"monitors.0.alpha": 0.5, "nextPageToken": "u"},
    ),
    Case(
        method="ResetBaseline",
        http="POST",
        path="/v1/monitors/mon_1:reset",
        service="feedback",
        heard=monitor_service.ResetBaselineRequest(monitor_id="mon_1"),
        answer=monitor_service.ResetBaselineResponse(monitor=MONITOR),
        shows={"monitor.phase": "MONITOR_PHASE_LEARNING"},
    ),
    Case(
        method="ListAlerts",
        http="GET",
        path="/v1/alerts?subject=a&measure=MEASURE_DOUBT&status=ALERT_STATUS_OPEN&pageSize=2&pageToken=p",
        service="feedback",
        heard=monitor_service.ListAlertsRequest(
            subject="a", measure=monitor_pb2.MEASURE_DOUBT, status=monitor_pb2.ALERT_STATUS_OPEN, page_size=2, page_token="p"
        ),
        answer=monitor_service.ListAlertsResponse(alerts=[ALERT], next_page_token="u"),
        shows={"alerts.0.alertId": "alr_1", "nextPageToken": "u"},
    ),
    Case(
        method="AcknowledgeAlert",
        http="POST",
        path="/v1/alerts/alr_1:acknowledge",
        body={"comment": "looking"},
        service="feedback",
        heard=monitor_service.AcknowledgeAlertRequest(alert_id="alr_1", comment="looking"),
        answer=monitor_service.AcknowledgeAlertResponse(alert=ALERT),
        shows={"alert.status": "ALERT_STATUS_ACKNOWLEDGED"},
    ),
    Case(
        method="ResolveAlert",
        http="POST",
        path="/v1/alerts/alr_1:resolve",
        body={"comment": "mended"},
        service="feedback",
        heard=monitor_service.ResolveAlertRequest(alert_id="alr_1", comment="mended"),
        answer=monitor_service.ResolveAlertResponse(alert=ALERT),
        shows={"alert.measure": "MEASURE_DOUBT"},
    ),
]
