"""Evaluation reports between the contract, the domain and the text that is kept; where a report gets its digest."""

from typing import Any, Final

from google.protobuf import json_format
from plimsoll.feedback.v1 import evaluation_service_pb2 as pb
from plimsoll_runtime.json_types import digest
from plimsoll_runtime.wire import json_to_proto, object_from_proto, timestamp_from_proto, timestamp_to_proto

from plimsoll_feedback.domain.learning.comparison import Measure, Verdict
from plimsoll_feedback.domain.learning.reports import Report, SubjectKind

SUBJECTS: Final = {
    SubjectKind.PROMPT: pb.EVALUATION_SUBJECT_PROMPT,
    SubjectKind.MODEL: pb.EVALUATION_SUBJECT_MODEL,
    SubjectKind.ROUTE: pb.EVALUATION_SUBJECT_ROUTE,
}
VERDICTS: Final = {
    Verdict.PASSED: pb.EVALUATION_VERDICT_PASSED,
    Verdict.FAILED: pb.EVALUATION_VERDICT_FAILED,
    Verdict.INCONCLUSIVE: pb.EVALUATION_VERDICT_INCONCLUSIVE,
}


def seal(report: Report) -> tuple[str, str]:
    """The report's digest, and its text with the digest in it."""
    message = report_to_proto(report)
    told: dict[str, Any] = json_format.MessageToDict(message, preserving_proto_field_name=True)
    told.pop("digest", None)
    message.digest = digest(told)
    return message.digest, json_format.MessageToJson(message, preserving_proto_field_name=True, indent=None)


def unseal(text: str) -> Report:
    return report_from_proto(json_format.Parse(text, pb.EvaluationReport()))


def json_of(report: Report) -> str:
    """For people and programs; the digest fits what it says."""
    return json_format.MessageToJson(report_to_proto(report), preserving_proto_field_name=True, indent=2)


def report_to_proto(report: Report) -> pb.EvaluationReport:
    return pb.EvaluationReport(
        digest=report.digest,
        evaluation_id=report.evaluation_id,
        subject=SUBJECTS[report.subject],
        name=report.name,
        candidate_digest=report.candidate_digest,
        baseline_digest=report.baseline_digest,
        verdict=VERDICTS[report.verdict],
        examples=report.examples,
        measures=[
            pb.EvaluationMeasure(
                scorer=one.scorer,
                slice=one.slice,
                candidate=one.candidate,
                baseline=one.baseline,
                difference_low=one.low,
                difference_high=one.high,
                regressed=one.regressed,
                examples=one.examples,
                unscored=one.unscored,
                p_value=one.p_value,
            )
            for one in report.measures
        ],
        create_time=timestamp_to_proto(report.created_at),
        dataset=report.dataset,
        dataset_version=report.dataset_version,
        reasons=report.reasons,
        confidence=report.confidence,
        rules=json_to_proto(report.rules),
    )


def report_from_proto(message: pb.EvaluationReport) -> Report:
    return Report(
        digest=message.digest,
        evaluation_id=message.evaluation_id,
        subject=next(kind for kind, number in SUBJECTS.items() if number == message.subject),
        name=message.name,
        candidate_digest=message.candidate_digest,
        baseline_digest=message.baseline_digest,
        verdict=next(verdict for verdict, number in VERDICTS.items() if number == message.verdict),
        examples=message.examples,
        measures=tuple(
            Measure(
                scorer=one.scorer,
                slice=one.slice,
                candidate=one.candidate,
                baseline=one.baseline,
                low=one.difference_low,
                high=one.difference_high,
                examples=one.examples,
                unscored=one.unscored,
                regressed=one.regressed,
                p_value=one.p_value,
            )
            for one in message.measures
        ),
        created_at=timestamp_from_proto(message.create_time),
        dataset=message.dataset,
        dataset_version=message.dataset_version,
        reasons=tuple(message.reasons),
        confidence=message.confidence,
        rules=object_from_proto(message.rules, "rules"),
    )
