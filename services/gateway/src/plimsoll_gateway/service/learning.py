"""What happened and what is learned from it: traces, signals in bulk, monitors, datasets, evaluations, improvements.

All of it belongs to feedback, whose words the contract takes over: what is asked and answered here is carried field by field.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from plimsoll.common.v1 import json_pb2
from plimsoll.feedback.v1 import dataset_service_pb2 as dataset_pb
from plimsoll.feedback.v1 import evaluation_service_pb2 as evaluation_pb
from plimsoll.feedback.v1 import feedback_service_pb2 as feedback_pb
from plimsoll.feedback.v1 import improvement_service_pb2 as improvement_pb
from plimsoll.feedback.v1 import monitor_service_pb2 as monitor_pb
from plimsoll.gateway.v1 import learning_pb2, monitors_pb2, traces_pb2

from plimsoll_gateway.errors import wrong
from plimsoll_gateway.ports import Feedback
from plimsoll_gateway.service.carrying import carried


class Learning:
    """Carries requests of the present tenant to feedback."""

    def __init__(self, feedback: Feedback) -> None:
        self._feedback = feedback

    async def list_traces(self, request: traces_pb2.ListTracesRequest) -> traces_pb2.ListTracesResponse:
        answer = await self._feedback.list_traces(carried(request, feedback_pb.ListTracesRequest))
        return carried(answer, traces_pb2.ListTracesResponse)

    async def get_trace(self, request: traces_pb2.GetTraceRequest) -> traces_pb2.GetTraceResponse:
        answer = await self._feedback.get_trace(carried(request, feedback_pb.GetTraceRequest))
        return carried(answer, traces_pb2.GetTraceResponse)

    async def annotate_trace(self, request: traces_pb2.AnnotateTraceRequest) -> traces_pb2.AnnotateTraceResponse:
        answer = await self._feedback.annotate_run(carried(request, feedback_pb.AnnotateRunRequest))
        return carried(answer, traces_pb2.AnnotateTraceResponse)

    async def get_operation_body(self, request: traces_pb2.GetOperationBodyRequest) -> traces_pb2.GetOperationBodyResponse:
        answer = await self._feedback.get_operation_body(carried(request, feedback_pb.GetOperationBodyRequest))
        return carried(answer, traces_pb2.GetOperationBodyResponse)

    async def record_signals(self, request: traces_pb2.RecordSignalsRequest) -> traces_pb2.RecordSignalsResponse:
        entries = [carried(entry, feedback_pb.SignalEntry) for entry in request.entries]
        answer = await self._feedback.record_signals(feedback_pb.RecordSignalsRequest(entries=entries))
        return carried(answer, traces_pb2.RecordSignalsResponse)

    async def list_monitors(self, request: monitors_pb2.ListMonitorsRequest) -> monitors_pb2.ListMonitorsResponse:
        answer = await self._feedback.list_monitors(carried(request, monitor_pb.ListMonitorsRequest))
        return carried(answer, monitors_pb2.ListMonitorsResponse)

    async def reset_baseline(self, request: monitors_pb2.ResetBaselineRequest) -> monitors_pb2.ResetBaselineResponse:
        answer = await self._feedback.reset_baseline(carried(request, monitor_pb.ResetBaselineRequest))
        return carried(answer, monitors_pb2.ResetBaselineResponse)

    async def list_alerts(self, request: monitors_pb2.ListAlertsRequest) -> monitors_pb2.ListAlertsResponse:
        answer = await self._feedback.list_alerts(carried(request, monitor_pb.ListAlertsRequest))
        return carried(answer, monitors_pb2.ListAlertsResponse)

    async def acknowledge_alert(self, request: monitors_pb2.AcknowledgeAlertRequest) -> monitors_pb2.AcknowledgeAlertResponse:
        answer = await self._feedback.acknowledge_alert(carried(request, monitor_pb.AcknowledgeAlertRequest))
        return carried(answer, monitors_pb2.AcknowledgeAlertResponse)

    async def resolve_alert(self, request: monitors_pb2.ResolveAlertRequest) -> monitors_pb2.ResolveAlertResponse:
        answer = await self._feedback.resolve_alert(carried(request, monitor_pb.ResolveAlertRequest))
        return carried(answer, monitors_pb2.ResolveAlertResponse)

    async def put_dataset(self, request: learning_pb2.PutDatasetRequest) -> learning_pb2.PutDatasetResponse:
        if request.dataset.name not in {"", request.name}:
            raise wrong("dataset.name", f"differs from the dataset {request.name!r}", "leave it out")
        asked = dataset_pb.PutDatasetRequest(dataset=request.dataset)
        asked.dataset.name = request.name
        answer = await self._feedback.put_dataset(asked)
        return carried(answer, learning_pb2.PutDatasetResponse)

    async def get_dataset(self, request: learning_pb2.GetDatasetRequest) -> learning_pb2.GetDatasetResponse:
        answer = await self._feedback.get_dataset(carried(request, dataset_pb.GetDatasetRequest))
        return carried(answer, learning_pb2.GetDatasetResponse)

    async def list_datasets(self, request: learning_pb2.ListDatasetsRequest) -> learning_pb2.ListDatasetsResponse:
        answer = await self._feedback.list_datasets(carried(request, dataset_pb.ListDatasetsRequest))
        return carried(answer, learning_pb2.ListDatasetsResponse)

    async def claim_annotations(self, request: learning_pb2.ClaimAnnotationsRequest) -> learning_pb2.ClaimAnnotationsResponse:
        answer = await self._feedback.claim_annotations(carried(request, dataset_pb.ClaimAnnotationsRequest))
        return carried(answer, learning_pb2.ClaimAnnotationsResponse)

    async def annotate(self, request: learning_pb2.AnnotateRequest) -> learning_pb2.AnnotateResponse:
        answer = await self._feedback.annotate(carried(request, dataset_pb.AnnotateRequest))
        return carried(answer, learning_pb2.AnnotateResponse)

    async def start_evaluation(self, request: learning_pb2.StartEvaluationRequest) -> learning_pb2.StartEvaluationResponse:
        answer = await self._feedback.start_evaluation(carried(request, evaluation_pb.StartEvaluationRequest))
        return carried(answer, learning_pb2.StartEvaluationResponse)

    async def get_evaluation(self, request: learning_pb2.GetEvaluationRequest) -> learning_pb2.GetEvaluationResponse:
        answer = await self._feedback.get_evaluation(carried(request, evaluation_pb.GetEvaluationRequest))
        return carried(answer, learning_pb2.GetEvaluationResponse)

    async def list_evaluations(self, request: learning_pb2.ListEvaluationsRequest) -> learning_pb2.ListEvaluationsResponse:
        answer = await self._feedback.list_evaluations(carried(request, evaluation_pb.ListEvaluationsRequest))
        return carried(answer, learning_pb2.ListEvaluationsResponse)

    async def render_evaluation_report(
        self, request: learning_pb2.RenderEvaluationReportRequest
    ) -> learning_pb2.RenderEvaluationReportResponse:
        answer = await self._feedback.render_evaluation_report(carried(request, evaluation_pb.RenderEvaluationReportRequest))
        return carried(answer, learning_pb2.RenderEvaluationReportResponse)

    async def start_improvement(self, request: learning_pb2.StartImprovementRequest) -> learning_pb2.StartImprovementResponse:
        answer = await self._feedback.start_improvement(carried(request, improvement_pb.StartImprovementRequest))
        return carried(answer, learning_pb2.StartImprovementResponse)

    async def get_improvement(self, request: learning_pb2.GetImprovementRequest) -> learning_pb2.GetImprovementResponse:
        answer = await self._feedback.get_improvement(carried(request, improvement_pb.GetImprovementRequest))
        return carried(answer, learning_pb2.GetImprovementResponse)

    async def list_improvements(self, request: learning_pb2.ListImprovementsRequest) -> learning_pb2.ListImprovementsResponse:
        answer = await self._feedback.list_improvements(carried(request, improvement_pb.ListImprovementsRequest))
        return carried(answer, learning_pb2.ListImprovementsResponse)

    async def get_scoreboard(self, request: learning_pb2.GetScoreboardRequest) -> learning_pb2.GetScoreboardResponse:
        answer = await self._feedback.get_scoreboard(carried(request, evaluation_pb.GetScoreboardRequest))
        return carried(answer, learning_pb2.GetScoreboardResponse)

    async def select_candidates(self, request: learning_pb2.SelectCandidatesRequest) -> learning_pb2.SelectCandidatesResponse:
        answer = await self._feedback.select_candidates(carried(request, dataset_pb.SelectCandidatesRequest))
        return carried(answer, learning_pb2.SelectCandidatesResponse)

    async def list_disputed(self, request: learning_pb2.ListDisputedRequest) -> learning_pb2.ListDisputedResponse:
        answer = await self._feedback.list_disputed(carried(request, dataset_pb.ListDisputedRequest))
        return carried(answer, learning_pb2.ListDisputedResponse)

    async def list_examples(self, request: learning_pb2.ListExamplesRequest) -> learning_pb2.ListExamplesResponse:
        answer = await self._feedback.list_examples(carried(request, dataset_pb.ListExamplesRequest))
        return carried(answer, learning_pb2.ListExamplesResponse)

    async def delete_example(self, request: learning_pb2.DeleteExampleRequest) -> learning_pb2.DeleteExampleResponse:
        answer = await self._feedback.delete_example(carried(request, dataset_pb.DeleteExampleRequest))
        return carried(answer, learning_pb2.DeleteExampleResponse)

    async def cancel_evaluation(self, request: learning_pb2.CancelEvaluationRequest) -> learning_pb2.CancelEvaluationResponse:
        answer = await self._feedback.cancel_evaluation(carried(request, evaluation_pb.CancelEvaluationRequest))
        return carried(answer, learning_pb2.CancelEvaluationResponse)

    async def propose_route(self, request: learning_pb2.ProposeRouteRequest) -> learning_pb2.ProposeRouteResponse:
        answer = await self._feedback.propose_route(carried(request, evaluation_pb.ProposeRouteRequest))
        return carried(answer, learning_pb2.ProposeRouteResponse)

    async def put_improvement_plan(self, request: learning_pb2.PutImprovementPlanRequest) -> learning_pb2.PutImprovementPlanResponse:
        if request.plan.prompt not in {"", request.prompt}:
            raise wrong("plan.prompt", f"differs from the prompt {request.prompt!r}", "leave it out")
        asked = improvement_pb.PutImprovementPlanRequest(plan=request.plan)
        asked.plan.prompt = request.prompt
        answer = await self._feedback.put_improvement_plan(asked)
        return carried(answer, learning_pb2.PutImprovementPlanResponse)

    async def list_improvement_plans(self, request: learning_pb2.ListImprovementPlansRequest) -> learning_pb2.ListImprovementPlansResponse:
        answer = await self._feedback.list_improvement_plans(carried(request, improvement_pb.ListImprovementPlansRequest))
        return carried(answer, learning_pb2.ListImprovementPlansResponse)

    async def export_dataset(self, request: learning_pb2.ExportDatasetRequest) -> AsyncGenerator[learning_pb2.ExportDatasetResponse, None]:
        """The lineage, then the lines, each as feedback wrote it: the digest in the lineage is of these bytes."""
        async with aclosing(self._feedback.export_dataset(carried(request, dataset_pb.ExportDatasetRequest))) as pieces:
            async for piece in pieces:
                if piece.WhichOneof("piece") == "lineage":
                    yield learning_pb2.ExportDatasetResponse(lineage=piece.lineage)
                else:
                    yield learning_pb2.ExportDatasetResponse(line=json_pb2.JsonValue(text=piece.line))
