"""The RPCs of learning refuse bad input by field, problem and remedy, and know nobody else's things."""

import pytest
from feedback_running import RunningFeedback
from plimsoll.common.v1 import json_pb2
from plimsoll.feedback.v1 import dataset_pb2, dataset_service_pb2, dataset_service_pb2_grpc
from plimsoll.feedback.v1 import evaluation_service_pb2 as evaluation_pb
from plimsoll.feedback.v1 import evaluation_service_pb2_grpc as evaluation_rpc
from plimsoll.feedback.v1 import improvement_service_pb2 as improvement_pb
from plimsoll.feedback.v1 import improvement_service_pb2_grpc as improvement_rpc
from plimsoll_runtime.context import acting_for
from plimsoll_runtime.errors import Invalid, NotFound, Unavailable
from plimsoll_runtime.rpc_client import call, open_channel, stream
from plimsoll_runtime.rpc_server import RpcServer
from plimsoll_runtime.settings import TlsSettings

RULE = dataset_pb2.SelectionRule(low_confidence=0.5)


def dataset(**told: object) -> dataset_service_pb2.PutDatasetRequest:
    plain = {"name": "sorting", "prompt": "sort", "rules": [RULE]}
    return dataset_service_pb2.PutDatasetRequest(dataset=dataset_pb2.Dataset(**(plain | told)))  # type: ignore[arg-type]


async def test_what_cannot_be_is_refused_by_name(feedback: RunningFeedback) -> None:
    [server] = feedback.app.servers
    assert isinstance(server, RpcServer)
    async with open_channel(f"127.0.0.1:{server.port}", TlsSettings(), "feedback") as channel:
        datasets = dataset_service_pb2_grpc.DatasetServiceStub(channel)
        evaluations, improvements = evaluation_rpc.EvaluationServiceStub(channel), improvement_rpc.ImprovementServiceStub(channel)
        with acting_for("acme", "ada"):
            made = (await call(datasets.PutDataset, dataset(), cap_s=60)).dataset
            assert (made.agreement, made.annotators, made.version) == (1, 2, 0)
            export = dataset_service_pb2.ExportDatasetRequest(dataset="sorting")
            rules = evaluation_pb.EvaluationRules(scorers=["vibes"])
            start = evaluation_pb.StartEvaluationRequest(dataset="sorting", subject=1, name="sort", candidate_digest="x", rules=rules)
            refused = [
                (datasets.PutDataset, dataset(rules=[]), "dataset.rules"),
                (datasets.PutDataset, dataset(rules=[dataset_pb2.SelectionRule()]), "says nothing"),
                (datasets.PutDataset, dataset(rules=[dataset_pb2.SelectionRule(correction=False)]), "says nothing"),
                (datasets.PutDataset, dataset(rules=[dataset_pb2.SelectionRule(category=999)]), "no category"),
                (datasets.PutDataset, dataset(redactions=[dataset_pb2.RedactionPattern(name="x", pattern="(")]), "redactions"),
                (datasets.PutDataset, dataset(agreement=-1), "agreement"),
                (datasets.ClaimAnnotations, dataset_service_pb2.ClaimAnnotationsRequest(dataset="sorting", limit=5000), "limit"),
                (datasets.Annotate, dataset_service_pb2.AnnotateRequest(item_id="i"), "answer: is absent"),
                (datasets.ListExamples, dataset_service_pb2.ListExamplesRequest(dataset="sorting", version=7), "version"),
                (datasets.ListExamples, dataset_service_pb2.ListExamplesRequest(dataset="sorting", page_size=-1), "page_size"),
                (evaluations.StartEvaluation, start, "rules.scorers"),
                (evaluations.StartEvaluation, evaluation_pb.StartEvaluationRequest(dataset="sorting"), "subject"),
                (improvements.PutImprovementPlan, improvement_pb.PutImprovementPlanRequest(), "plan.prompt"),
            ]
            for method, request, told in refused:
                with pytest.raises(Invalid, match=told):
                    await call(method, request, cap_s=60)
            with pytest.raises(Invalid, match="format"):
                await anext(stream(datasets.ExportDataset, export, cap_s=60))
            said = dataset_service_pb2.AnnotateRequest(item_id="nobody", expected=json_pb2.JsonValue(text="1"))
            for method, request in (
                (datasets.Annotate, said),
                (datasets.GetDataset, dataset_service_pb2.GetDatasetRequest(name="none")),
                (evaluations.GetEvaluation, evaluation_pb.GetEvaluationRequest(evaluation_id="none")),
                (evaluations.CancelEvaluation, evaluation_pb.CancelEvaluationRequest(evaluation_id="none")),
                (evaluations.GetEvaluationReport, evaluation_pb.GetEvaluationReportRequest(digest="none")),
                (improvements.GetImprovement, improvement_pb.GetImprovementRequest(improvement_id="none")),
            ):
                with pytest.raises(NotFound):
                    await call(method, request, cap_s=60)
            start.rules.scorers[:] = ["exact"]
            with pytest.raises(Unavailable):  # without a model-router there is nobody to ask for versions
                await call(evaluations.StartEvaluation, start, cap_s=60)
        with acting_for("umbrella"), pytest.raises(NotFound):
            await call(datasets.GetDataset, dataset_service_pb2.GetDatasetRequest(name="sorting"), cap_s=60)
