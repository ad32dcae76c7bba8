"""Reports: what an evaluation found, for the registry and for people. Never changes."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from plimsoll_runtime.json_types import JsonObject

from plimsoll_feedback.domain.learning.comparison import Measure, Verdict


class SubjectKind(StrEnum):
    PROMPT = "prompt"
    MODEL = "model"
    ROUTE = "route"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A version compared with another one. `digest` is of everything else; empty while it is not sealed."""

    evaluation_id: str
    subject: SubjectKind
    name: str
    candidate_digest: str
    baseline_digest: str
    verdict: Verdict
    examples: int
    measures: tuple[Measure, ...]
    created_at: datetime
    dataset: str
    dataset_version: int
    reasons: tuple[str, ...]
    confidence: float
    rules: JsonObject
    digest: str = ""
