"""The methods of the contract about what happened and what is learned from it."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from plimsoll.gateway.v1 import gateway_service_pb2_grpc, learning_pb2, monitors_pb2, traces_pb2

from plimsoll_gateway.service.gateway import Gateway
from plimsoll_gateway.transport.bounded import Bounded
from plimsoll_gateway.transport.key_rpcs import Context


class LearningRpcs(Bounded, gateway_service_pb2_grpc.GatewayServiceServicer):
    """Feedback says who acts by the principal that the door vouches for."""

    _gateway: Gateway

    async def ListTraces(self, request: traces_pb2.ListTracesRequest, _: Context) -> traces_pb2.ListTracesResponse:
        return await self._gateway.learning.list_traces(request)

    async def GetTrace(self, request: traces_pb2.GetTraceRequest, _: Context) -> traces_pb2.GetTraceResponse:
        return await self._gateway.learning.get_trace(request)

    async def AnnotateTrace(self, request: traces_pb2.AnnotateTraceRequest, _: Context) -> traces_pb2.AnnotateTraceResponse:
        self._must_fit(request)
        return await self._gateway.learning.annotate_trace(request)

    async def GetOperationBody(self, request: traces_pb2.GetOperationBodyRequest, _: Context) -> traces_pb2.GetOperationBodyResponse:
        return await self._gateway.learning.get_operation_body(request)

    async def RecordSignals(self, request: traces_pb2.RecordSignalsRequest, _: Context) -> traces_pb2.RecordSignalsResponse:
        self._must_fit(request)
        return await self._gateway.learning.record_signals(request)

    async def ListMonitors(self, request: monitors_pb2.ListMonitorsRequest, _: Context) -> monitors_pb2.ListMonitorsResponse:
        return await self._gateway.learning.list_monitors(request)

    async def ResetBaseline(self, request: monitors_pb2.ResetBaselineRequest, _: Context) -> monitors_pb2.ResetBaselineResponse:
        return await self._gateway.learning.reset_baseline(request)

    async def ListAlerts(self, request: monitors_pb2.ListAlertsRequest, _: Context) -> monitors_pb2.ListAlertsResponse:
        return await self._gateway.learning.list_alerts(request)

    async def AcknowledgeAlert(self, request: monitors_pb2.AcknowledgeAlertRequest, _: Context) -> monitors_pb2.AcknowledgeAlertResponse:
        self._must_fit(request)
        return await self._gateway.learning.acknowledge_alert(request)

    async def ResolveAlert(self, request: monitors_pb2.ResolveAlertRequest, _: Context) -> monitors_pb2.ResolveAlertResponse:
        self._must_fit(request)
        return await self._gateway.learning.resolve_alert(request)

    async def PutDataset(self, request: learning_pb2.PutDatasetRequest, _: Context) -> learning_pb2.PutDatasetResponse:
        self._must_fit(request)
        return await self._gateway.learning.put_dataset(request)

    async def GetDataset(self, request: learning_pb2.GetDatasetRequest, _: Context) -> learning_pb2.GetDatasetResponse:
        return await self._gateway.learning.get_dataset(request)

    async def ListDatasets(self, request: learning_pb2.ListDatasetsRequest, _: Context) -> learning_pb2.ListDatasetsResponse:
        return await self._gateway.learning.list_datasets(request)

    async def ClaimAnnotations(self, request: learning_pb2.ClaimAnnotationsRequest, _: Context) -> learning_pb2.ClaimAnnotationsResponse:
        self._must_fit(request)
        return await self._gateway.learning.claim_annotations(request)

    async def Annotate(self, request: learning_pb2.AnnotateRequest, _: Context) -> learning_pb2.AnnotateResponse:
        self._must_fit(request)
        return await self._gateway.learning.annotate(request)

    async def StartEvaluation(self, request: learning_pb2.StartEvaluationRequest, _: Context) -> learning_pb2.StartEvaluationResponse:
        self._must_fit(request)
        return await self._gateway.learning.start_evaluation(request)

    async def GetEvaluation(self, request: learning_pb2.GetEvaluationRequest, _: Context) -> learning_pb2.GetEvaluationResponse:
        return await self._gateway.learning.get_evaluation(request)

    async def ListEvaluations(self, request: learning_pb2.ListEvaluationsRequest, _: Context) -> learning_pb2.ListEvaluationsResponse:
        return await self._gateway.learning.list_evaluations(request)

    async def RenderEvaluationReport(
        self, request: learning_pb2.RenderEvaluationReportRequest, _: Context
    ) -> learning_pb2.RenderEvaluationReportResponse:
        return await self._gateway.learning.render_evaluation_report(request)

    async def StartImprovement(self, request: learning_pb2.StartImprovementRequest, _: Context) -> learning_pb2.StartImprovementResponse:
        self._must_fit(request)
        return await self._gateway.learning.start_improvement(request)

    async def GetImprovement(self, request: learning_pb2.GetImprovementRequest, _: Context) -> learning_pb2.GetImprovementResponse:
        return await self._gateway.learning.get_improvement(request)

    async def ListImprovements(self, request: learning_pb2.ListImprovementsRequest, _: Context) -> learning_pb2.ListImprovementsResponse:
        return await self._gateway.learning.list_improvements(request)

    async def GetScoreboard(self, request: learning_pb2.GetScoreboardRequest, _: Context) -> learning_pb2.GetScoreboardResponse:
        return await self._gateway.learning.get_scoreboard(request)

    async def SelectCandidates(self, request: learning_pb2.SelectCandidatesRequest, _: Context) -> learning_pb2.SelectCandidatesResponse:
        self._must_fit(request)
        return await self._gateway.learning.select_candidates(request)

    async def ListDisputed(self, request: learning_pb2.ListDisputedRequest, _: Context) -> learning_pb2.ListDisputedResponse:
        return await self._gateway.learning.list_disputed(request)

    async def ListExamples(self, request: learning_pb2.ListExamplesRequest, _: Context) -> learning_pb2.ListExamplesResponse:
        return await self._gateway.learning.list_examples(request)

    async def DeleteExample(self, request: learning_pb2.DeleteExampleRequest, _: Context) -> learning_pb2.DeleteExampleResponse:
        return await self._gateway.learning.delete_example(request)

    async def CancelEvaluation(self, request: learning_pb2.CancelEvaluationRequest, _: Context) -> learning_pb2.CancelEvaluationResponse:
        self._must_fit(request)
        return await self._gateway.learning.cancel_evaluation(request)

    async def ProposeRoute(self, request: learning_pb2.ProposeRouteRequest, _: Context) -> learning_pb2.ProposeRouteResponse:
        self._must_fit(request)
        return await self._gateway.learning.propose_route(request)

    async def PutImprovementPlan(
        self, request: learning_pb2.PutImprovementPlanRequest, _: Context
    ) -> learning_pb2.PutImprovementPlanResponse:
        self._must_fit(request)
        return await self._gateway.learning.put_improvement_plan(request)

    async def ListImprovementPlans(
        self, request: learning_pb2.ListImprovementPlansRequest, _: Context
    ) -> learning_pb2.ListImprovementPlansResponse:
        return await self._gateway.learning.list_improvement_plans(request)

    async def ExportDataset(
        self, request: learning_pb2.ExportDatasetRequest, _: Context
    ) -> AsyncGenerator[learning_pb2.ExportDatasetResponse, None]:
        async with aclosing(self._gateway.learning.export_dataset(request)) as pieces:
            async for piece in pieces:
                yield piece
