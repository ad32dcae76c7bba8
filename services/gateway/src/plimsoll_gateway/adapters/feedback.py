"""Feedback over gRPC."""

from collections.abc import AsyncGenerator

import grpc
from plimsoll.feedback.v1 import dataset_service_pb2 as dataset_pb
from plimsoll.feedback.v1 import dataset_service_pb2_grpc as dataset_rpc
from plimsoll.feedback.v1 import evaluation_service_pb2 as evaluation_pb
from plimsoll.feedback.v1 import evaluation_service_pb2_grpc as evaluation_rpc
from plimsoll.feedback.v1 import feedback_service_pb2 as feedback_pb
from plimsoll.feedback.v1 import feedback_service_pb2_grpc as rpc
from plimsoll.feedback.v1 import improvement_service_pb2 as improvement_pb
from plimsoll.feedback.v1 import improvement_service_pb2_grpc as improvement_rpc
from plimsoll.feedback.v1 import monitor_service_pb2 as monitor_pb
from plimsoll.feedback.v1 import monitor_service_pb2_grpc as monitor_rpc

from plimsoll_gateway.adapters.peer import EXPORT_S, READ_S, WRITE_S, Peer


class GrpcFeedback:
    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = rpc.FeedbackServiceStub(channel)
        self._monitors = monitor_rpc.MonitorServiceStub(channel)
        self._datasets = dataset_rpc.DatasetServiceStub(channel)
        self._evaluations = evaluation_rpc.EvaluationServiceStub(channel)
        self._improvements = improvement_rpc.ImprovementServiceStub(channel)
        self._peer = Peer("feedback")

    async def list_operations(self, request: feedback_pb.ListOperationsRequest) -> feedback_pb.ListOperationsResponse:
        return await self._peer.call(self._stub.ListOperations, request, READ_S)

    async def count_failures(self, request: feedback_pb.CountFailuresRequest) -> feedback_pb.CountFailuresResponse:
        return await self._peer.call(self._stub.CountFailures, request, READ_S)

    async def record_signal(self, request: feedback_pb.RecordSignalRequest) -> feedback_pb.RecordSignalResponse:
        return await self._peer.call(self._stub.RecordSignal, request, WRITE_S)

    async def list_signals(self, request: feedback_pb.ListSignalsRequest) -> feedback_pb.ListSignalsResponse:
        return await self._peer.call(self._stub.ListSignals, request, READ_S)

    async def list_traces(self, request: feedback_pb.ListTracesRequest) -> feedback_pb.ListTracesResponse:
        return await self._peer.call(self._stub.ListTraces, request, READ_S)

    async def get_trace(self, request: feedback_pb.GetTraceRequest) -> feedback_pb.GetTraceResponse:
        return await self._peer.call(self._stub.GetTrace, request, READ_S)

    async def annotate_run(self, request: feedback_pb.AnnotateRunRequest) -> feedback_pb.AnnotateRunResponse:
        return await self._peer.call(self._stub.AnnotateRun, request, WRITE_S)

    async def get_operation_body(self, request: feedback_pb.GetOperationBodyRequest) -> feedback_pb.GetOperationBodyResponse:
        return await self._peer.call(self._stub.GetOperationBody, request, READ_S)

    async def record_signals(self, request: feedback_pb.RecordSignalsRequest) -> feedback_pb.RecordSignalsResponse:
        return await self._peer.call(self._stub.RecordSignals, request, WRITE_S)

    async def list_monitors(self, request: monitor_pb.ListMonitorsRequest) -> monitor_pb.ListMonitorsResponse:
        return await self._peer.call(self._monitors.ListMonitors, request, READ_S)

    async def reset_baseline(self, request: monitor_pb.ResetBaselineRequest) -> monitor_pb.ResetBaselineResponse:
        return await self._peer.call(self._monitors.ResetBaseline, request, WRITE_S)

    async def list_alerts(self, request: monitor_pb.ListAlertsRequest) -> monitor_pb.ListAlertsResponse:
        return await self._peer.call(self._monitors.ListAlerts, request, READ_S)

    async def acknowledge_alert(self, request: monitor_pb.AcknowledgeAlertRequest) -> monitor_pb.AcknowledgeAlertResponse:
        return await self._peer.call(self._monitors.AcknowledgeAlert, request, WRITE_S)

    async def resolve_alert(self, request: monitor_pb.ResolveAlertRequest) -> monitor_pb.ResolveAlertResponse:
        return await self._peer.call(self._monitors.ResolveAlert, request, WRITE_S)

    async def put_dataset(self, request: dataset_pb.PutDatasetRequest) -> dataset_pb.PutDatasetResponse:
        return await self._peer.call(self._datasets.PutDataset, request, WRITE_S)

    async def get_dataset(self, request: dataset_pb.GetDatasetRequest) -> dataset_pb.GetDatasetResponse:
        return await self._peer.call(self._datasets.GetDataset, request, READ_S)

    async def list_datasets(self, request: dataset_pb.ListDatasetsRequest) -> dataset_pb.ListDatasetsResponse:
        return await self._peer.call(self._datasets.ListDatasets, request, READ_S)

    async def claim_annotations(self, request: dataset_pb.ClaimAnnotationsRequest) -> dataset_pb.ClaimAnnotationsResponse:
        return await self._peer.call(self._datasets.ClaimAnnotations, request, WRITE_S)

    async def annotate(self, request: dataset_pb.AnnotateRequest) -> dataset_pb.AnnotateResponse:
        return await self._peer.call(self._datasets.Annotate, request, WRITE_S)

    async def start_evaluation(self, request: evaluation_pb.StartEvaluationRequest) -> evaluation_pb.StartEvaluationResponse:
        return await self._peer.call(self._evaluations.StartEvaluation, request, WRITE_S)

    async def get_evaluation(self, request: evaluation_pb.GetEvaluationRequest) -> evaluation_pb.GetEvaluationResponse:
        return await self._peer.call(self._evaluations.GetEvaluation, request, READ_S)

    async def list_evaluations(self, request: evaluation_pb.ListEvaluationsRequest) -> evaluation_pb.ListEvaluationsResponse:
        return await self._peer.call(self._evaluations.ListEvaluations, request, READ_S)

    async def render_evaluation_report(
        self, request: evaluation_pb.RenderEvaluationReportRequest
    ) -> evaluation_pb.RenderEvaluationReportResponse:
        return await self._peer.call(self._evaluations.RenderEvaluationReport, request, READ_S)

    async def start_improvement(self, request: improvement_pb.StartImprovementRequest) -> improvement_pb.StartImprovementResponse:
        return await self._peer.call(self._improvements.StartImprovement, request, WRITE_S)

    async def get_improvement(self, request: improvement_pb.GetImprovementRequest) -> improvement_pb.GetImprovementResponse:
        return await self._peer.call(self._improvements.GetImprovement, request, READ_S)

    async def list_improvements(self, request: improvement_pb.ListImprovementsRequest) -> improvement_pb.ListImprovementsResponse:
        return await self._peer.call(self._improvements.ListImprovements, request, READ_S)

    async def get_scoreboard(self, request: evaluation_pb.GetScoreboardRequest) -> evaluation_pb.GetScoreboardResponse:
        return await self._peer.call(self._evaluations.GetScoreboard, request, READ_S)

    async def select_candidates(self, request: dataset_pb.SelectCandidatesRequest) -> dataset_pb.SelectCandidatesResponse:
        return await self._peer.call(self._datasets.SelectCandidates, request, WRITE_S)

    async def list_disputed(self, request: dataset_pb.ListDisputedRequest) -> dataset_pb.ListDisputedResponse:
        return await self._peer.call(self._datasets.ListDisputed, request, READ_S)

    async def list_examples(self, request: dataset_pb.ListExamplesRequest) -> dataset_pb.ListExamplesResponse:
        return await self._peer.call(self._datasets.ListExamples, request, READ_S)

    async def delete_example(self, request: dataset_pb.DeleteExampleRequest) -> dataset_pb.DeleteExampleResponse:
        return await self._peer.call(self._datasets.DeleteExample, request, WRITE_S)

    async def cancel_evaluation(self, request: evaluation_pb.CancelEvaluationRequest) -> evaluation_pb.CancelEvaluationResponse:
        return await self._peer.call(self._evaluations.CancelEvaluation, request, WRITE_S)

    async def propose_route(self, request: evaluation_pb.ProposeRouteRequest) -> evaluation_pb.ProposeRouteResponse:
        return await self._peer.call(self._evaluations.ProposeRoute, request, WRITE_S)

    async def put_improvement_plan(self, request: improvement_pb.PutImprovementPlanRequest) -> improvement_pb.PutImprovementPlanResponse:
        return await self._peer.call(self._improvements.PutImprovementPlan, request, WRITE_S)

    async def list_improvement_plans(
        self, request: improvement_pb.ListImprovementPlansRequest
    ) -> improvement_pb.ListImprovementPlansResponse:
        return await self._peer.call(self._improvements.ListImprovementPlans, request, READ_S)

    def export_dataset(self, request: dataset_pb.ExportDatasetRequest) -> AsyncGenerator[dataset_pb.ExportDatasetResponse, None]:
        return self._peer.stream(self._datasets.ExportDataset, request, EXPORT_S)
