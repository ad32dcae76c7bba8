"""The RPCs of datasets, evaluations and improvements."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from plimsoll.feedback.v1 import dataset_service_pb2 as dataset_pb
from plimsoll.feedback.v1 import dataset_service_pb2_grpc as dataset_rpc
from plimsoll.feedback.v1 import evaluation_service_pb2 as evaluation_pb
from plimsoll.feedback.v1 import evaluation_service_pb2_grpc as evaluation_rpc
from plimsoll.feedback.v1 import improvement_service_pb2 as improvement_pb
from plimsoll.feedback.v1 import improvement_service_pb2_grpc as improvement_rpc
from plimsoll_runtime.context import current_caller
from plimsoll_runtime.errors import FieldProblem, Invalid
from plimsoll_runtime.rpc_server import Context, RpcService
from plimsoll_runtime.wire import duration_from_proto, json_from_proto, json_to_proto

from plimsoll_feedback.domain.learning.datasets import DatasetName, ExampleId, ItemId
from plimsoll_feedback.domain.learning.evaluations import EvaluationId
from plimsoll_feedback.domain.learning.improvements import ImprovementId
from plimsoll_feedback.domain.learning.report_text import page_of, text_of
from plimsoll_feedback.errors import InvalidDataset, InvalidEvaluation
from plimsoll_feedback.ports.learning import Outcome
from plimsoll_feedback.service.datasets import Datasets
from plimsoll_feedback.service.evaluations import Evaluations
from plimsoll_feedback.service.exports import Exports
from plimsoll_feedback.service.improvements import Improvements
from plimsoll_feedback.service.scoreboard import Scoreboard
from plimsoll_feedback.transport.dataset_codec import (
    STATES,
    dataset_to_proto,
    example_to_proto,
    format_from_proto,
    item_to_proto,
    spec_from_proto,
)
from plimsoll_feedback.transport.evaluation_codec import (
    evaluation_spec_from_proto,
    evaluation_to_proto,
    improvement_to_proto,
    plan_from_proto,
    plan_to_proto,
    standing_to_proto,
)
from plimsoll_feedback.transport.report_codec import json_of, report_to_proto

_PAGE, _PAGE_CAP = 50, 500
_CLAIMS = 10
_LEASE_S = 900.0
_TOLERANCE = 0.02
_LABEL = "production"


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningVerbs:
    """All that can be asked for."""

    datasets: Datasets
    exports: Exports
    evaluations: Evaluations
    scoreboard: Scoreboard
    improvements: Improvements


class DatasetHandler(dataset_rpc.DatasetServiceServicer):
    def __init__(self, datasets: Datasets, exports: Exports) -> None:
        self._datasets = datasets
        self._exports = exports

    async def PutDataset(self, request: dataset_pb.PutDatasetRequest, context: Context) -> dataset_pb.PutDatasetResponse:
        dataset = await self._datasets.put(_tenant(), spec_from_proto(request.dataset), _person())
        return dataset_pb.PutDatasetResponse(dataset=dataset_to_proto(dataset))

    async def GetDataset(self, request: dataset_pb.GetDatasetRequest, context: Context) -> dataset_pb.GetDatasetResponse:
        dataset = await self._datasets.get(_tenant(), DatasetName(request.name))
        return dataset_pb.GetDatasetResponse(dataset=dataset_to_proto(dataset))

    async def ListDatasets(self, request: dataset_pb.ListDatasetsRequest, context: Context) -> dataset_pb.ListDatasetsResponse:
        return dataset_pb.ListDatasetsResponse(datasets=map(dataset_to_proto, await self._datasets.list(_tenant())))

    async def SelectCandidates(self, request: dataset_pb.SelectCandidatesRequest, context: Context) -> dataset_pb.SelectCandidatesResponse:
        found = await self._datasets.select(_tenant(), DatasetName(request.dataset))
        return dataset_pb.SelectCandidatesResponse(selected=found.selected, duplicates=found.duplicates, lost=found.lost)

    async def ClaimAnnotations(self, request: dataset_pb.ClaimAnnotationsRequest, context: Context) -> dataset_pb.ClaimAnnotationsResponse:
        lease_s = duration_from_proto(request.lease) if request.HasField("lease") else _LEASE_S
        items = await self._datasets.claim(_tenant(), DatasetName(request.dataset), _person(), request.limit or _CLAIMS, lease_s)
        return dataset_pb.ClaimAnnotationsResponse(items=map(item_to_proto, items))

    async def Annotate(self, request: dataset_pb.AnnotateRequest, context: Context) -> dataset_pb.AnnotateResponse:
        outcome = await self._annotated(request)
        return dataset_pb.AnnotateResponse(state=STATES[outcome.status], example_id=outcome.example_id)

    async def ListDisputed(self, request: dataset_pb.ListDisputedRequest, context: Context) -> dataset_pb.ListDisputedResponse:
        items = await self._datasets.disputed(_tenant(), DatasetName(request.dataset))
        return dataset_pb.ListDisputedResponse(items=map(item_to_proto, items))

    async def ListExamples(self, request: dataset_pb.ListExamplesRequest, context: Context) -> dataset_pb.ListExamplesResponse:
        size, name = _page(request.page_size), DatasetName(request.dataset)
        _, found = await self._datasets.examples(_tenant(), name, request.version, _position(request.page_token), size)
        token = found[-1].id if len(found) == size else ""
        return dataset_pb.ListExamplesResponse(examples=map(example_to_proto, found), next_page_token=token)

    async def DeleteExample(self, request: dataset_pb.DeleteExampleRequest, context: Context) -> dataset_pb.DeleteExampleResponse:
        deleted = await self._datasets.delete(_tenant(), DatasetName(request.dataset), ExampleId(request.example_id), _person())
        return dataset_pb.DeleteExampleResponse(deleted=deleted)

    async def ExportDataset(
        self, request: dataset_pb.ExportDatasetRequest, context: Context
    ) -> AsyncIterator[dataset_pb.ExportDatasetResponse]:
        form = format_from_proto(request.format)
        export = await self._exports.export(_tenant(), DatasetName(request.dataset), request.version, form, _person())
        yield dataset_pb.ExportDatasetResponse(lineage=json_to_proto(export.header))
        for line in export.lines:
            yield dataset_pb.ExportDatasetResponse(line=line)

    async def _annotated(self, request: dataset_pb.AnnotateRequest) -> Outcome:
        match request.WhichOneof("answer"):
            case "expected":
                expected = json_from_proto(request.expected, "expected")
                return await self._datasets.annotate(_tenant(), ItemId(request.item_id), _person(), expected)
            case "discard" if request.discard:
                return await self._datasets.discard(_tenant(), ItemId(request.item_id), _person())
            case _:
                problem = FieldProblem("answer", "is absent", "give the answer that would have been right, or discard the item")
                raise InvalidDataset(problems=(problem,))


class EvaluationHandler(evaluation_rpc.EvaluationServiceServicer):
    def __init__(self, evaluations: Evaluations, scoreboard: Scoreboard) -> None:
        self._evaluations = evaluations
        self._scoreboard = scoreboard

    async def GetEvaluationReport(
        self, request: evaluation_pb.GetEvaluationReportRequest, context: Context
    ) -> evaluation_pb.GetEvaluationReportResponse:
        report = await self._evaluations.report(_tenant(), request.digest)
        return evaluation_pb.GetEvaluationReportResponse(report=report_to_proto(report))

    async def StartEvaluation(
        self, request: evaluation_pb.StartEvaluationRequest, context: Context
    ) -> evaluation_pb.StartEvaluationResponse:
        spec, label = evaluation_spec_from_proto(request), request.baseline_label or _LABEL
        evaluation = await self._evaluations.start(_tenant(), spec, label, request.idempotency_key)
        return evaluation_pb.StartEvaluationResponse(evaluation=evaluation_to_proto(evaluation))

    async def GetEvaluation(self, request: evaluation_pb.GetEvaluationRequest, context: Context) -> evaluation_pb.GetEvaluationResponse:
        evaluation = await self._evaluations.get(_tenant(), EvaluationId(request.evaluation_id))
        return evaluation_pb.GetEvaluationResponse(evaluation=evaluation_to_proto(evaluation))

    async def ListEvaluations(
        self, request: evaluation_pb.ListEvaluationsRequest, context: Context
    ) -> evaluation_pb.ListEvaluationsResponse:
        found = await self._evaluations.list(_tenant(), request.dataset, _page(request.page_size))
        return evaluation_pb.ListEvaluationsResponse(evaluations=map(evaluation_to_proto, found))

    async def CancelEvaluation(
        self, request: evaluation_pb.CancelEvaluationRequest, context: Context
    ) -> evaluation_pb.CancelEvaluationResponse:
        cancelled = await self._evaluations.cancel(_tenant(), EvaluationId(request.evaluation_id))
        return evaluation_pb.CancelEvaluationResponse(cancelled=cancelled)

    async def RenderEvaluationReport(
        self, request: evaluation_pb.RenderEvaluationReportRequest, context: Context
    ) -> evaluation_pb.RenderEvaluationReportResponse:
        report = await self._evaluations.report(_tenant(), request.digest)
        match request.format:
            case evaluation_pb.REPORT_FORMAT_TEXT:
                return evaluation_pb.RenderEvaluationReportResponse(media_type="text/plain; charset=utf-8", content=text_of(report))
            case evaluation_pb.REPORT_FORMAT_JSON:
                return evaluation_pb.RenderEvaluationReportResponse(media_type="application/json", content=json_of(report))
            case evaluation_pb.REPORT_FORMAT_HTML:
                return evaluation_pb.RenderEvaluationReportResponse(media_type="text/html; charset=utf-8", content=page_of(report))
            case _:
                problem = FieldProblem("format", f"is {request.format}, which is no format", "use text, JSON or HTML")
                raise InvalidEvaluation(problems=(problem,))

    async def GetScoreboard(self, request: evaluation_pb.GetScoreboardRequest, context: Context) -> evaluation_pb.GetScoreboardResponse:
        standings = await self._scoreboard.standings(_tenant(), request.task)
        return evaluation_pb.GetScoreboardResponse(standings=map(standing_to_proto, standings))

    async def ProposeRoute(self, request: evaluation_pb.ProposeRouteRequest, context: Context) -> evaluation_pb.ProposeRouteResponse:
        tolerance = request.quality_tolerance or _TOLERANCE
        proposed = await self._scoreboard.propose(_tenant(), request.task, DatasetName(request.dataset), tolerance)
        return evaluation_pb.ProposeRouteResponse(
            route_digest=proposed.digest, evaluation_id=proposed.evaluation_id, reason=proposed.reason
        )


class ImprovementHandler(improvement_rpc.ImprovementServiceServicer):
    def __init__(self, improvements: Improvements) -> None:
        self._improvements = improvements

    async def StartImprovement(
        self, request: improvement_pb.StartImprovementRequest, context: Context
    ) -> improvement_pb.StartImprovementResponse:
        dataset = DatasetName(request.dataset)
        improvement = await self._improvements.start(_tenant(), request.prompt, dataset, request.idempotency_key)
        return improvement_pb.StartImprovementResponse(improvement=improvement_to_proto(improvement))

    async def GetImprovement(
        self, request: improvement_pb.GetImprovementRequest, context: Context
    ) -> improvement_pb.GetImprovementResponse:
        improvement = await self._improvements.get(_tenant(), ImprovementId(request.improvement_id))
        return improvement_pb.GetImprovementResponse(improvement=improvement_to_proto(improvement))

    async def ListImprovements(
        self, request: improvement_pb.ListImprovementsRequest, context: Context
    ) -> improvement_pb.ListImprovementsResponse:
        found = await self._improvements.list(_tenant(), request.prompt, _page(request.page_size))
        return improvement_pb.ListImprovementsResponse(improvements=map(improvement_to_proto, found))

    async def PutImprovementPlan(
        self, request: improvement_pb.PutImprovementPlanRequest, context: Context
    ) -> improvement_pb.PutImprovementPlanResponse:
        plan = await self._improvements.put_plan(_tenant(), plan_from_proto(request.plan), _person())
        return improvement_pb.PutImprovementPlanResponse(plan=plan_to_proto(plan))

    async def ListImprovementPlans(
        self, request: improvement_pb.ListImprovementPlansRequest, context: Context
    ) -> improvement_pb.ListImprovementPlansResponse:
        return improvement_pb.ListImprovementPlansResponse(plans=map(plan_to_proto, await self._improvements.plans(_tenant())))


def learning_rpcs(verbs: LearningVerbs) -> list[RpcService]:
    """For the server."""
    datasets = DatasetHandler(verbs.datasets, verbs.exports)
    evaluations = EvaluationHandler(verbs.evaluations, verbs.scoreboard)
    improvements = ImprovementHandler(verbs.improvements)
    names = {
        name: file.DESCRIPTOR.services_by_name[name].full_name
        for name, file in (("DatasetService", dataset_pb), ("EvaluationService", evaluation_pb), ("ImprovementService", improvement_pb))
    }
    return [
        RpcService(names["DatasetService"], lambda server: dataset_rpc.add_DatasetServiceServicer_to_server(datasets, server)),
        RpcService(names["EvaluationService"], lambda server: evaluation_rpc.add_EvaluationServiceServicer_to_server(evaluations, server)),
        RpcService(
            names["ImprovementService"], lambda server: improvement_rpc.add_ImprovementServiceServicer_to_server(improvements, server)
        ),
    ]


def _tenant() -> str:
    return current_caller().tenant


def _person() -> str:
    """Who asks, by the key that was shown: nobody annotates in another one's name, so one key is one voice."""
    caller = current_caller()
    return caller.principal or caller.service


def _page(size: int) -> int:
    if not 0 <= size <= _PAGE_CAP:
        raise Invalid(problems=(FieldProblem("page_size", f"is {size}", f"use 1 to {_PAGE_CAP}, or 0 for {_PAGE}"),))
    return size or _PAGE


def _position(token: str) -> str:
    if "\x00" in token or len(token) > 256:
        raise Invalid(problems=(FieldProblem("page_token", "is not one of ours", "send the next_page_token of the page before"),))
    return token
