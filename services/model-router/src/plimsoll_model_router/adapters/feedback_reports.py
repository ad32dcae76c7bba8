"""Evaluation reports, asked of feedback over gRPC; what a report is, is computed here from all that it says."""

import grpc
from google.protobuf import json_format
from plimsoll.feedback.v1 import evaluation_service_pb2 as pb
from plimsoll.feedback.v1 import evaluation_service_pb2_grpc as rpc
from plimsoll_runtime.errors import NotFound, PlimsollError
from plimsoll_runtime.json_types import digest
from plimsoll_runtime.rpc_client import call

from plimsoll_model_router.domain.entries import Kind
from plimsoll_model_router.domain.reports import Report, Verdict
from plimsoll_model_router.errors import ReportUnverified

_CAP_S = 5.0
_KINDS = {
    pb.EVALUATION_SUBJECT_PROMPT: Kind.PROMPT,
    pb.EVALUATION_SUBJECT_MODEL: Kind.MODEL,
    pb.EVALUATION_SUBJECT_ROUTE: Kind.ROUTE,
}
_VERDICTS = {
    pb.EVALUATION_VERDICT_PASSED: Verdict.PASSED,
    pb.EVALUATION_VERDICT_FAILED: Verdict.FAILED,
    pb.EVALUATION_VERDICT_INCONCLUSIVE: Verdict.INCONCLUSIVE,
}


class FeedbackReports:
    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = rpc.EvaluationServiceStub(channel)

    async def get(self, digest: str) -> Report | None:
        request = pb.GetEvaluationReportRequest(digest=digest)
        try:
            response: pb.GetEvaluationReportResponse = await call(self._stub.GetEvaluationReport, request, cap_s=_CAP_S, target="feedback")
        except NotFound:
            return None
        except PlimsollError as error:
            raise ReportUnverified(
                f"feedback cannot be asked about the evaluation report: {error.message}",
                remedy="try again when feedback answers; without it no protected label moves",
                retry_after_s=error.retry_after_s,
            ) from error
        return report_from_proto(response.report) if response.HasField("report") else None


def report_from_proto(message: pb.EvaluationReport) -> Report:
    return Report(
        digest=message.digest,
        content=content_digest(message),
        kind=_KINDS.get(message.subject),
        name=message.name,
        candidate_digest=message.candidate_digest,
        baseline_digest=message.baseline_digest,
        verdict=_VERDICTS.get(message.verdict, Verdict.UNKNOWN),
    )


def content_digest(message: pb.EvaluationReport) -> str:
    """SHA-256 of the canonical JSON of everything that the report says, but for its own digest."""
    told = json_format.MessageToDict(message, preserving_proto_field_name=True)
    told.pop("digest", None)
    return digest(told)
