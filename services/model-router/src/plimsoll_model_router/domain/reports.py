"""Evaluation reports: what one says, and whether it allows a label to move."""

from dataclasses import dataclass
from enum import StrEnum

from plimsoll_model_router.domain.entries import Entry, Kind
from plimsoll_model_router.errors import ReportRefused


class Verdict(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A version compared with another one, as feedback tells it.

    Attributes:
    digest   what feedback says that it is
    content  what it is: computed here, from all that the report says
    """

    digest: str
    content: str
    kind: Kind | None
    name: str
    candidate_digest: str
    baseline_digest: str
    verdict: Verdict


def allows(report: Report, asked: str, candidate: Entry, baseline: Entry) -> None:
    """Raises ReportRefused, saying why, unless the report is the one asked for and passed exactly this version against exactly that one."""
    if report.digest != asked or report.content != asked:
        raise _refused("its digest does not fit what it says", "ask feedback to evaluate the version again")
    if report.kind is not candidate.kind or report.name != candidate.name:
        raise _refused(f"it is about {report.name}, not about {candidate.name}", "name the report of this evaluation")
    if report.candidate_digest != candidate.digest:
        raise _refused(f"it evaluates another version than {candidate}", "evaluate this version, or move the label to the one evaluated")
    if report.baseline_digest != baseline.digest:
        raise _refused(f"it compares with another version than the present one, {baseline}", "evaluate against the present version")
    if report.verdict is not Verdict.PASSED:
        raise _refused(f"its verdict is {report.verdict}", "improve the version, or add examples, and evaluate again")


def _refused(what: str, remedy: str) -> ReportRefused:
    return ReportRefused(f"the evaluation report does not allow the move: {what}", remedy=remedy)
