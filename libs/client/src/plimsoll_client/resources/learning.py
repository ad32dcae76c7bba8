"""Datasets, evaluations and improvements."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from plimsoll.feedback.v1 import dataset_service_pb2, evaluation_service_pb2
from plimsoll.gateway.v1 import gateway_service_pb2_grpc as rpc
from plimsoll.gateway.v1 import learning_pb2 as pb
from plimsoll_runtime.json_types import JsonValue
from plimsoll_runtime.wire import duration_to_proto, json_to_proto

from plimsoll_client.calls import Calls, every
from plimsoll_client.codec.learning import (
    annotation_state,
    dataset_from_proto,
    dataset_to_proto,
    disputed_from_proto,
    evaluation_from_proto,
    example_from_proto,
    improvement_from_proto,
    item_from_proto,
    plan_from_proto,
    plan_to_proto,
    standing_from_proto,
)
from plimsoll_client.learning import (
    Annotated,
    AnnotationItem,
    Dataset,
    DatasetDraft,
    DisputedItem,
    Evaluation,
    EvaluationSubject,
    ExportFormat,
    Improvement,
    ImprovementPlan,
    ProposedRoute,
    ReportFormat,
    Selected,
    Standing,
    TrainingExample,
)

_LONG_S = 60.0
_EXPORT_S = 600.0


class Datasets:
    """Datasets that build themselves, and the queue of their annotators."""

    def __init__(self, stub: "rpc.GatewayServiceAsyncStub", calls: Calls) -> None:
        self._stub = stub
        self._calls = calls

    async def put(self, draft: DatasetDraft) -> Dataset:
        """Make it, or change its rules; examples stay."""
        answer = await self._calls.repeatable(self._stub.PutDataset, pb.PutDatasetRequest(name=draft.name, dataset=dataset_to_proto(draft)))
        return dataset_from_proto(answer.dataset)

    async def get(self, name: str) -> Dataset:
        """With its counts."""
        return dataset_from_proto((await self._calls.repeatable(self._stub.GetDataset, pb.GetDatasetRequest(name=name))).dataset)

    async def list(self) -> "list[Dataset]":
        """All of them."""
        return [
            dataset_from_proto(one) for one in (await self._calls.repeatable(self._stub.ListDatasets, pb.ListDatasetsRequest())).datasets
        ]

    async def claim(self, dataset: str, *, limit: int = 0, lease_s: float | None = None) -> Sequence[AnnotationItem]:
        """Items that nobody else has, for a while. A lost answer costs a lease, so it is not repeated."""
        lease = None if lease_s is None else duration_to_proto(lease_s)
        request = pb.ClaimAnnotationsRequest(dataset=dataset, limit=limit, lease=lease)
        return [item_from_proto(item) for item in (await self._calls.once(self._stub.ClaimAnnotations, request)).items]

    async def annotate(self, item_id: str, expected: JsonValue) -> Annotated:
        """Say what would have been right. One key is one voice."""
        return await self._said(pb.AnnotateRequest(item_id=item_id, expected=json_to_proto(expected)))

    async def discard(self, item_id: str) -> Annotated:
        """Say that an item is of no use."""
        return await self._said(pb.AnnotateRequest(item_id=item_id, discard=True))

    async def select(self, dataset: str) -> Selected:
        """Look at what came since the last time; the mesh does the same by itself. What was taken is not told again, so it is not repeated."""
        told = await self._calls.once(self._stub.SelectCandidates, pb.SelectCandidatesRequest(dataset=dataset), cap_s=_LONG_S)
        return Selected(selected=told.selected, duplicates=told.duplicates, lost=told.lost)

    async def disputed(self, dataset: str) -> Sequence[DisputedItem]:
        """Items about which annotators do not agree."""
        answer = await self._calls.repeatable(self._stub.ListDisputed, pb.ListDisputedRequest(dataset=dataset))
        return [disputed_from_proto(item) for item in answer.items]

    async def examples(self, dataset: str, *, version: int = 0, limit: int = 50) -> Sequence[TrainingExample]:
        """The training part, oldest first; version 0 is the present one."""

        async def page(size: int, token: str) -> pb.ListExamplesResponse:
            request = pb.ListExamplesRequest(dataset=dataset, version=version, page_size=size, page_token=token)
            return await self._calls.repeatable(self._stub.ListExamples, request)

        return [example_from_proto(one) for one in await every(page, lambda answer: answer.examples, limit=limit)]

    async def delete_example(self, dataset: str, example_id: str) -> bool:
        """Take an example out of later versions, and remove what it says; False when there was none."""
        request = pb.DeleteExampleRequest(dataset=dataset, example_id=example_id)
        return bool((await self._calls.repeatable(self._stub.DeleteExample, request)).deleted)

    async def export(self, dataset: str, form: ExportFormat, *, version: int = 0) -> AsyncGenerator[str, None]:
        """The training part for fine-tuning: first its lineage, as JSON, then each line as it belongs into the file."""
        wanted = dataset_service_pb2.ExportFormat.Value(f"EXPORT_FORMAT_{form.name}")
        request = pb.ExportDatasetRequest(dataset=dataset, version=version, format=wanted)
        async with aclosing(self._calls.stream(self._stub.ExportDataset, request, cap_s=_EXPORT_S)) as pieces:
            async for piece in pieces:
                yield piece.lineage.text if piece.WhichOneof("piece") == "lineage" else piece.line.text

    async def _said(self, request: pb.AnnotateRequest) -> Annotated:
        answer = await self._calls.repeatable(self._stub.Annotate, request)
        return Annotated(state=annotation_state(answer.state), example_id=answer.example_id)


class Evaluations:
    """Versions compared on questions that nothing learned from."""

    def __init__(self, stub: "rpc.GatewayServiceAsyncStub", calls: Calls) -> None:
        self._stub = stub
        self._calls = calls

    async def start(
        self,
        dataset: str,
        subject: EvaluationSubject,
        name: str,
        candidate_digest: str,
        *,
        baseline_label: str = "",
        scorers: tuple[str, ...] = (),
        key: str = "",
    ) -> Evaluation:
        """Compare a version with the one that the label points at. Repeated by itself only with a `key`."""
        request = pb.StartEvaluationRequest(
            idempotency_key=key,
            dataset=dataset,
            subject=evaluation_service_pb2.EvaluationSubject.Value(f"EVALUATION_SUBJECT_{subject.name}"),
            name=name,
            candidate_digest=candidate_digest,
            baseline_label=baseline_label,
            rules=evaluation_service_pb2.EvaluationRules(scorers=scorers) if scorers else None,
        )
        answer = await (self._calls.repeatable if key else self._calls.once)(self._stub.StartEvaluation, request)
        return evaluation_from_proto(answer.evaluation)

    async def get(self, evaluation_id: str) -> Evaluation:
        """How far it is."""
        request = pb.GetEvaluationRequest(evaluation_id=evaluation_id)
        return evaluation_from_proto((await self._calls.repeatable(self._stub.GetEvaluation, request)).evaluation)

    async def list(self, *, dataset: str = "", limit: int = 50) -> "list[Evaluation]":
        """Newest first."""
        request = pb.ListEvaluationsRequest(dataset=dataset, page_size=limit)
        return [evaluation_from_proto(one) for one in (await self._calls.repeatable(self._stub.ListEvaluations, request)).evaluations]

    async def cancel(self, evaluation_id: str) -> bool:
        """Stop it; False when it had ended."""
        request = pb.CancelEvaluationRequest(evaluation_id=evaluation_id)
        return bool((await self._calls.repeatable(self._stub.CancelEvaluation, request)).cancelled)

    async def propose_route(self, task: str, dataset: str, *, quality_tolerance: float = 0.0) -> ProposedRoute:
        """Register the route that the scoreboard suggests, without labels, and start its evaluation."""
        request = pb.ProposeRouteRequest(task=task, dataset=dataset, quality_tolerance=quality_tolerance)
        told = await self._calls.repeatable(self._stub.ProposeRoute, request)
        return ProposedRoute(route_digest=told.route_digest, evaluation_id=told.evaluation_id, reason=told.reason)

    async def report(self, digest: str, form: ReportFormat = ReportFormat.TEXT) -> str:
        """A report for reading."""
        wanted = evaluation_service_pb2.ReportFormat.Value(f"REPORT_FORMAT_{form.name}")
        request = pb.RenderEvaluationReportRequest(digest=digest, format=wanted)
        content: str = (await self._calls.repeatable(self._stub.RenderEvaluationReport, request)).content
        return content

    async def scoreboard(self, task: str = "") -> Sequence[Standing]:
        """How the models stand, by task, the best first."""
        answer = await self._calls.repeatable(self._stub.GetScoreboard, pb.GetScoreboardRequest(task=task))
        return [standing_from_proto(one) for one in answer.standings]


class Improvements:
    """Better versions of prompts."""

    def __init__(self, stub: "rpc.GatewayServiceAsyncStub", calls: Calls) -> None:
        self._stub = stub
        self._calls = calls

    async def start(self, prompt: str, *, dataset: str = "", key: str = "") -> Improvement:
        """Draft a better version, evaluate it and ask for its promotion. Repeated by itself only with a `key`."""
        request = pb.StartImprovementRequest(idempotency_key=key, prompt=prompt, dataset=dataset)
        answer = await (self._calls.repeatable if key else self._calls.once)(self._stub.StartImprovement, request)
        return improvement_from_proto(answer.improvement)

    async def get(self, improvement_id: str) -> Improvement:
        """How far it is."""
        request = pb.GetImprovementRequest(improvement_id=improvement_id)
        return improvement_from_proto((await self._calls.repeatable(self._stub.GetImprovement, request)).improvement)

    async def list(self, *, prompt: str = "", limit: int = 50) -> "list[Improvement]":
        """Newest first."""
        request = pb.ListImprovementsRequest(prompt=prompt, page_size=limit)
        return [improvement_from_proto(one) for one in (await self._calls.repeatable(self._stub.ListImprovements, request)).improvements]

    async def put_plan(self, plan: ImprovementPlan) -> ImprovementPlan:
        """Set how a prompt is improved, and when."""
        request = pb.PutImprovementPlanRequest(prompt=plan.prompt, plan=plan_to_proto(plan))
        return plan_from_proto((await self._calls.repeatable(self._stub.PutImprovementPlan, request)).plan)

    async def plans(self) -> Sequence[ImprovementPlan]:
        """How prompts are improved, and when."""
        answer = await self._calls.repeatable(self._stub.ListImprovementPlans, pb.ListImprovementPlansRequest())
        return [plan_from_proto(one) for one in answer.plans]
