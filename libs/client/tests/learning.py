# ruff: noqa: N802 - gRPC names the methods
"""The part of the fake gateway that keeps what happened and what is learned from it."""

from collections.abc import AsyncIterator
from typing import Any, TypeVar

from plimsoll.common.v1 import failure_pb2
from plimsoll.feedback.v1 import (
    dataset_pb2,
    dataset_service_pb2,
    evaluation_service_pb2,
    improvement_service_pb2,
    monitor_pb2,
    operation_pb2,
    signal_pb2,
    trace_pb2,
)
from plimsoll.gateway.v1 import learning_pb2, monitors_pb2, traces_pb2
from plimsoll_runtime.errors import NotFound, Unavailable

Context = Any
Kept = TypeVar("Kept")


def trace(run_id: str, *, entries: int = 0) -> traces_pb2.GetTraceResponse:
    """A failed run with a step, a call and a label that a rule gave afterwards; then so many more calls."""
    told = traces_pb2.GetTraceResponse(
        trace=trace_pb2.Trace(
            run_id=run_id,
            agent="support",
            agent_version="v1",
            status=trace_pb2.TRACE_STATUS_FAILED,
            start_time={"seconds": 1_772_366_400},
            duration={"seconds": 2},
            usage={"cost_micros": 1500},
            steps=1,
            category=failure_pb2.FAILURE_CATEGORY_TIMEOUT,
            reason="TOO_SLOW",
            categories=[failure_pb2.FAILURE_CATEGORY_TIMEOUT, failure_pb2.FAILURE_CATEGORY_WRONG_TOOL],
            tags=["vip"],
        ),
        children=[trace_pb2.Trace(run_id="run_child", agent="refunds")],
    )
    kinds = [operation_pb2.OPERATION_KIND_RUN, operation_pb2.OPERATION_KIND_TRANSITION, operation_pb2.OPERATION_KIND_TOOL_CALL]
    for depth, kind in enumerate([*kinds, *[operation_pb2.OPERATION_KIND_TOOL_CALL] * entries]):
        entry = told.entries.add(depth=min(depth, 2))
        entry.operation.operation_id, entry.operation.kind, entry.operation.name = f"op_{depth}", kind, f"name-{depth}"
    told.entries[2].operation.failure.reason = "TOO_SLOW"
    told.entries[2].labels.add(category=failure_pb2.FAILURE_CATEGORY_WRONG_TOOL, rule="another_tool_succeeded")
    return told


class FakeLearning:
    """`traces` by run, `alerts` by id; signals for a run that has no trace are refused."""

    async def _enter(self, method: str, context: Context) -> None: ...
    async def _refuse(self, context: Context, error: Exception) -> None: ...

    def __init__(self) -> None:
        super().__init__()
        self.traces: dict[str, traces_pb2.GetTraceResponse] = {}
        self.asked_traces: list[traces_pb2.ListTracesRequest] = []
        self.recorded: list[traces_pb2.SignalEntry] = []
        self.alerts: dict[str, monitor_pb2.Alert] = {}
        self.datasets: dict[str, dataset_pb2.Dataset] = {}
        self.annotations: list[learning_pb2.AnnotateRequest] = []
        self.evaluations: dict[str, evaluation_service_pb2.Evaluation] = {}
        self.started: list[learning_pb2.StartEvaluationRequest] = []
        self.improvements: dict[str, improvement_service_pb2.Improvement] = {}
        self.plans: dict[str, improvement_service_pb2.ImprovementPlan] = {}
        self.examples: list[dataset_pb2.Example] = []
        self.export_breaks = False
        self.monitors: dict[str, monitor_pb2.Monitor] = {}

    async def ListTraces(self, request: traces_pb2.ListTracesRequest, context: Context) -> traces_pb2.ListTracesResponse:
        await self._enter("ListTraces", context)
        self.asked_traces.append(request)
        return traces_pb2.ListTracesResponse(traces=[kept.trace for kept in self.traces.values()])

    async def GetTrace(self, request: traces_pb2.GetTraceRequest, context: Context) -> traces_pb2.GetTraceResponse:
        await self._enter("GetTrace", context)
        kept = await self._trace(request.run_id, context)
        start = int(request.page_token or 0)
        end = start + request.page_size
        onward = str(end) if end < len(kept.entries) else ""
        return traces_pb2.GetTraceResponse(
            trace=kept.trace, entries=kept.entries[start:end], children=kept.children, next_page_token=onward
        )

    async def AnnotateTrace(self, request: traces_pb2.AnnotateTraceRequest, context: Context) -> traces_pb2.AnnotateTraceResponse:
        await self._enter("AnnotateTrace", context)
        kept = (await self._trace(request.run_id, context)).trace
        tags = [*(tag for tag in kept.tags if tag not in request.remove_tags), *request.add_tags]
        kept.ClearField("tags")
        kept.tags.extend(tags)
        return traces_pb2.AnnotateTraceResponse(trace=kept)

    async def GetOperationBody(self, request: traces_pb2.GetOperationBodyRequest, context: Context) -> traces_pb2.GetOperationBodyResponse:
        await self._enter("GetOperationBody", context)
        await self._trace(request.run_id, context)
        body = operation_pb2.OperationBody(input={"text": '{"order":7}'}, owner="tool-dispatcher", missing="the output was never kept")
        return traces_pb2.GetOperationBodyResponse(body=body)

    async def RecordSignals(self, request: traces_pb2.RecordSignalsRequest, context: Context) -> traces_pb2.RecordSignalsResponse:
        await self._enter("RecordSignals", context)
        told = traces_pb2.RecordSignalsResponse()
        for entry in request.entries:
            if entry.signal.run_id in self.traces or entry.signal.tag:
                self.recorded.append(entry)
                told.results.add(signal=entry.signal).signal.signal_id = f"sig_{len(self.recorded)}"
            else:
                told.results.add(refusal=signal_pb2.SignalRefusal(reason="RUN_NOT_FOUND", message="no run has this id"))
        return told

    async def ListMonitors(self, request: monitors_pb2.ListMonitorsRequest, context: Context) -> monitors_pb2.ListMonitorsResponse:
        await self._enter("ListMonitors", context)
        return monitors_pb2.ListMonitorsResponse(monitors=self.monitors.values())

    async def ResetBaseline(self, request: monitors_pb2.ResetBaselineRequest, context: Context) -> monitors_pb2.ResetBaselineResponse:
        await self._enter("ResetBaseline", context)
        if request.monitor_id not in self.monitors:
            await self._refuse(context, NotFound("no monitor has this id", reason="MONITOR_NOT_FOUND"))
        monitor = self.monitors[request.monitor_id]
        monitor.phase, monitor.baseline_size = monitor_pb2.MONITOR_PHASE_LEARNING, 0
        return monitors_pb2.ResetBaselineResponse(monitor=monitor)

    async def ListAlerts(self, request: monitors_pb2.ListAlertsRequest, context: Context) -> monitors_pb2.ListAlertsResponse:
        await self._enter("ListAlerts", context)
        wanted = [alert for alert in self.alerts.values() if request.status in {0, alert.status}]
        return monitors_pb2.ListAlertsResponse(alerts=wanted)

    async def AcknowledgeAlert(
        self, request: monitors_pb2.AcknowledgeAlertRequest, context: Context
    ) -> monitors_pb2.AcknowledgeAlertResponse:
        await self._enter("AcknowledgeAlert", context)
        alert = await self._settled(request.alert_id, monitor_pb2.ALERT_STATUS_ACKNOWLEDGED, request.comment, context)
        return monitors_pb2.AcknowledgeAlertResponse(alert=alert)

    async def ResolveAlert(self, request: monitors_pb2.ResolveAlertRequest, context: Context) -> monitors_pb2.ResolveAlertResponse:
        await self._enter("ResolveAlert", context)
        alert = await self._settled(request.alert_id, monitor_pb2.ALERT_STATUS_RESOLVED, request.comment, context)
        return monitors_pb2.ResolveAlertResponse(alert=alert)

    async def PutDataset(self, request: learning_pb2.PutDatasetRequest, context: Context) -> learning_pb2.PutDatasetResponse:
        await self._enter("PutDataset", context)
        self.datasets[request.name] = request.dataset
        return learning_pb2.PutDatasetResponse(dataset=request.dataset)

    async def GetDataset(self, request: learning_pb2.GetDatasetRequest, context: Context) -> learning_pb2.GetDatasetResponse:
        await self._enter("GetDataset", context)
        return learning_pb2.GetDatasetResponse(dataset=await self._kept(self.datasets, request.name, "DATASET_NOT_FOUND", context))

    async def ListDatasets(self, _: learning_pb2.ListDatasetsRequest, context: Context) -> learning_pb2.ListDatasetsResponse:
        await self._enter("ListDatasets", context)
        return learning_pb2.ListDatasetsResponse(datasets=self.datasets.values())

    async def ClaimAnnotations(
        self, request: learning_pb2.ClaimAnnotationsRequest, context: Context
    ) -> learning_pb2.ClaimAnnotationsResponse:
        await self._enter("ClaimAnnotations", context)
        await self._kept(self.datasets, request.dataset, "DATASET_NOT_FOUND", context)
        item = dataset_pb2.AnnotationItem(item_id="itm_1", input={"text": '{"question":"late"}'}, answer={"text": '"refund"'})
        item.reasons.append("correction")
        return learning_pb2.ClaimAnnotationsResponse(items=[item])

    async def Annotate(self, request: learning_pb2.AnnotateRequest, context: Context) -> learning_pb2.AnnotateResponse:
        await self._enter("Annotate", context)
        self.annotations.append(request)
        if request.discard:
            return learning_pb2.AnnotateResponse(state=dataset_service_pb2.ANNOTATION_STATE_DISCARDED)
        return learning_pb2.AnnotateResponse(state=dataset_service_pb2.ANNOTATION_STATE_AGREED, example_id="exa_1")

    async def StartEvaluation(self, request: learning_pb2.StartEvaluationRequest, context: Context) -> learning_pb2.StartEvaluationResponse:
        await self._enter("StartEvaluation", context)
        await self._kept(self.datasets, request.dataset, "DATASET_NOT_FOUND", context)
        self.started.append(request)
        evaluation = evaluation_service_pb2.Evaluation(
            evaluation_id="evl_1",
            dataset=request.dataset,
            name=request.name,
            subject=request.subject,
            candidate_digest=request.candidate_digest,
            state=evaluation_service_pb2.EVALUATION_STATE_WAITING,
            wanted=60,
        )
        self.evaluations["evl_1"] = evaluation
        return learning_pb2.StartEvaluationResponse(evaluation=evaluation)

    async def GetEvaluation(self, request: learning_pb2.GetEvaluationRequest, context: Context) -> learning_pb2.GetEvaluationResponse:
        await self._enter("GetEvaluation", context)
        kept = await self._kept(self.evaluations, request.evaluation_id, "EVALUATION_NOT_FOUND", context)
        return learning_pb2.GetEvaluationResponse(evaluation=kept)

    async def ListEvaluations(self, _: learning_pb2.ListEvaluationsRequest, context: Context) -> learning_pb2.ListEvaluationsResponse:
        await self._enter("ListEvaluations", context)
        return learning_pb2.ListEvaluationsResponse(evaluations=self.evaluations.values())

    async def RenderEvaluationReport(
        self, request: learning_pb2.RenderEvaluationReportRequest, context: Context
    ) -> learning_pb2.RenderEvaluationReportResponse:
        await self._enter("RenderEvaluationReport", context)
        if request.digest != "d1":
            await self._refuse(context, NotFound("no report has this digest", reason="REPORT_NOT_FOUND"))
        return learning_pb2.RenderEvaluationReportResponse(content=evaluation_service_pb2.ReportFormat.Name(request.format))

    async def StartImprovement(
        self, request: learning_pb2.StartImprovementRequest, context: Context
    ) -> learning_pb2.StartImprovementResponse:
        await self._enter("StartImprovement", context)
        improvement = improvement_service_pb2.Improvement(
            improvement_id="imp_1", prompt=request.prompt, state=improvement_service_pb2.IMPROVEMENT_STATE_DRAFTING
        )
        self.improvements["imp_1"] = improvement
        return learning_pb2.StartImprovementResponse(improvement=improvement)

    async def GetImprovement(self, request: learning_pb2.GetImprovementRequest, context: Context) -> learning_pb2.GetImprovementResponse:
        await self._enter("GetImprovement", context)
        kept = await self._kept(self.improvements, request.improvement_id, "IMPROVEMENT_NOT_FOUND", context)
        return learning_pb2.GetImprovementResponse(improvement=kept)

    async def ListImprovements(self, _: learning_pb2.ListImprovementsRequest, context: Context) -> learning_pb2.ListImprovementsResponse:
        await self._enter("ListImprovements", context)
        return learning_pb2.ListImprovementsResponse(improvements=self.improvements.values())

    async def GetScoreboard(self, request: learning_pb2.GetScoreboardRequest, context: Context) -> learning_pb2.GetScoreboardResponse:
        await self._enter("GetScoreboard", context)
        standing = evaluation_service_pb2.Standing(task=request.task, provider="local", model="small", calls=9, judged=4, quality=0.5)
        return learning_pb2.GetScoreboardResponse(standings=[standing])

    async def SelectCandidates(
        self, request: learning_pb2.SelectCandidatesRequest, context: Context
    ) -> learning_pb2.SelectCandidatesResponse:
        await self._enter("SelectCandidates", context)
        await self._kept(self.datasets, request.dataset, "DATASET_NOT_FOUND", context)
        return learning_pb2.SelectCandidatesResponse(selected=3, duplicates=1)

    async def ListDisputed(self, request: learning_pb2.ListDisputedRequest, context: Context) -> learning_pb2.ListDisputedResponse:
        await self._enter("ListDisputed", context)
        item = dataset_pb2.AnnotationItem(item_id="itm_1", input={"text": '{"question":"late"}'})
        item.annotations.add(annotator="ann", expected={"text": '"return"'})
        item.annotations.add(annotator="bob", expected={"text": '"refund"'})
        return learning_pb2.ListDisputedResponse(items=[item])

    async def ListExamples(self, request: learning_pb2.ListExamplesRequest, context: Context) -> learning_pb2.ListExamplesResponse:
        await self._enter("ListExamples", context)
        start = int(request.page_token or 0)
        page = self.examples[start : start + request.page_size]
        onward = str(start + len(page)) if start + len(page) < len(self.examples) else ""
        return learning_pb2.ListExamplesResponse(examples=page, next_page_token=onward)

    async def DeleteExample(self, request: learning_pb2.DeleteExampleRequest, context: Context) -> learning_pb2.DeleteExampleResponse:
        await self._enter("DeleteExample", context)
        kept = [one for one in self.examples if one.example_id != request.example_id]
        deleted, self.examples = len(kept) < len(self.examples), kept
        return learning_pb2.DeleteExampleResponse(deleted=deleted)

    async def ExportDataset(
        self, request: learning_pb2.ExportDatasetRequest, context: Context
    ) -> AsyncIterator[learning_pb2.ExportDatasetResponse]:
        await self._enter("ExportDataset", context)
        await self._kept(self.datasets, request.dataset, "DATASET_NOT_FOUND", context)
        yield learning_pb2.ExportDatasetResponse(lineage={"text": '{"digest":"d"}'})
        for one in self.examples:
            yield learning_pb2.ExportDatasetResponse(line=one.expected)
        if self.export_breaks:
            await self._refuse(context, Unavailable("the database went away"))

    async def CancelEvaluation(
        self, request: learning_pb2.CancelEvaluationRequest, context: Context
    ) -> learning_pb2.CancelEvaluationResponse:
        await self._enter("CancelEvaluation", context)
        kept = await self._kept(self.evaluations, request.evaluation_id, "EVALUATION_NOT_FOUND", context)
        cancelled, kept.state = (
            kept.state != evaluation_service_pb2.EVALUATION_STATE_CANCELLED,
            evaluation_service_pb2.EVALUATION_STATE_CANCELLED,
        )
        return learning_pb2.CancelEvaluationResponse(cancelled=cancelled)

    async def ProposeRoute(self, request: learning_pb2.ProposeRouteRequest, context: Context) -> learning_pb2.ProposeRouteResponse:
        await self._enter("ProposeRoute", context)
        await self._kept(self.datasets, request.dataset, "DATASET_NOT_FOUND", context)
        return learning_pb2.ProposeRouteResponse(route_digest="d9", evaluation_id="evl_9", reason="cheaper, as good")

    async def PutImprovementPlan(
        self, request: learning_pb2.PutImprovementPlanRequest, context: Context
    ) -> learning_pb2.PutImprovementPlanResponse:
        await self._enter("PutImprovementPlan", context)
        self.plans[request.prompt] = request.plan
        return learning_pb2.PutImprovementPlanResponse(plan=request.plan)

    async def ListImprovementPlans(
        self, _: learning_pb2.ListImprovementPlansRequest, context: Context
    ) -> learning_pb2.ListImprovementPlansResponse:
        await self._enter("ListImprovementPlans", context)
        return learning_pb2.ListImprovementPlansResponse(plans=self.plans.values())

    async def _kept(self, kept: dict[str, Kept], name: str, reason: str, context: Context) -> Kept:
        if name not in kept:
            await self._refuse(context, NotFound("there is none", reason=reason))
        return kept[name]

    async def _trace(self, run_id: str, context: Context) -> traces_pb2.GetTraceResponse:
        if run_id not in self.traces:
            await self._refuse(context, NotFound("no run has this id", reason="RUN_NOT_FOUND"))
        return self.traces[run_id]

    async def _settled(
        self, alert_id: str, status: "monitor_pb2.AlertStatus.ValueType", comment: str, context: Context
    ) -> monitor_pb2.Alert:
        if alert_id not in self.alerts:
            await self._refuse(context, NotFound("no alert has this id", reason="ALERT_NOT_FOUND"))
        alert = self.alerts[alert_id]
        alert.status, alert.comment, alert.settled_by = status, comment, "ann"
        return alert
