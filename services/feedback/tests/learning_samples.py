"""Values of learning to test with."""

from datetime import UTC, datetime
from typing import Any

from plimsoll_feedback.domain.learning.datasets import Body, DatasetName, DatasetSpec, Example, ExampleId, Lineage
from plimsoll_feedback.domain.learning.parts import Part
from plimsoll_feedback.domain.learning.rules import LowConfidence
from plimsoll_runtime.json_types import JsonValue

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
ACME, UMBRELLA = "acme", "umbrella"


def spec(**told: Any) -> DatasetSpec:
    plain = {"name": DatasetName("sorting"), "prompt": "sort", "rules": (LowConfidence(below=0.5),)}
    return DatasetSpec(**(plain | told))


def body(question: str, answer: JsonValue = "card", digest: str = "p1") -> Body:
    return Body(prompt="sort", prompt_digest=digest, variables={"question": question}, asked={}, answer=answer, task="classification")


def lineage(question: str, *, confidence: float | None = None, reasons: tuple[str, ...] = ("low_confidence",)) -> Lineage:
    return Lineage(
        run_id=f"run_{question}",
        operation_id=f"op_{question}",
        call_id=f"call_{question}",
        prompt_digest="p1",
        agent="desk",
        conversation=f"run_{question}",
        reasons=reasons,
        confidence=confidence,
    )


def example(
    question: str,
    expected: JsonValue,
    *,
    answer: JsonValue = "card",
    part: Part = Part.HELD_OUT,
    confidence: float | None = None,
    reasons: tuple[str, ...] = ("low_confidence",),
) -> Example:
    return Example(
        id=ExampleId(f"ex_{question}"),
        tenant=ACME,
        dataset=DatasetName("sorting"),
        part=part,
        body=body(question, answer),
        expected=expected,
        label=expected if isinstance(expected, str) else "",
        since_version=1,
        lineage=lineage(question, confidence=confidence, reasons=reasons),
        created_at=NOON,
    )
