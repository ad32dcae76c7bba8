"""Datasets: how one is set, what it selected, and what became an example."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import NewType

from plimsoll_runtime.errors import FieldProblem
from plimsoll_runtime.json_types import JsonValue, dump_json

from plimsoll_feedback.domain.learning import redaction, rules
from plimsoll_feedback.domain.learning.parts import Part
from plimsoll_feedback.domain.learning.redaction import OwnPattern
from plimsoll_feedback.domain.learning.rules import Rule

DatasetName = NewType("DatasetName", str)
ItemId = NewType("ItemId", str)
ExampleId = NewType("ExampleId", str)

ANNOTATORS_CAP = 15
BODY_CAP_CHARACTERS = 262_144
LABEL_CAP_CHARACTERS = 200
_NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetSpec:
    """How a dataset builds itself.

    Attributes:
    agreement    equal answers of different annotators that make an example
    annotators   who are asked at the most; after them an item is disputed
    retention_s  how long an example is kept; None means for ever
    label_field  field of the expected answer that is its label; empty means the answer itself
    """

    name: DatasetName
    prompt: str
    rules: tuple[Rule, ...]
    description: str = ""
    agent: str = ""
    redactions: tuple[OwnPattern, ...] = ()
    agreement: int = 1
    annotators: int = 2
    retention_s: float | None = None
    label_field: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How much a dataset holds at its present version."""

    version: int
    training: int
    held_out: int
    pending: int
    disputed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    spec: DatasetSpec
    created_at: datetime
    counts: Counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A tool's answer as it was recorded, by which replays are answered."""

    tool: str
    arguments: JsonValue
    result: JsonValue
    is_error: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """What a model call asked and answered.

    Attributes:
    asked     everything beside prompt and variables that a replay needs, as JSON
    model     who answered, as provider/model
    recorded  what tools answered, by which replays are answered
    """

    prompt: str
    prompt_digest: str
    variables: JsonValue
    asked: JsonValue
    answer: JsonValue
    task: str
    model: str = ""
    recorded: tuple[Recorded, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """Where an example comes from."""

    run_id: str
    operation_id: str
    call_id: str
    prompt_digest: str
    agent: str
    conversation: str
    reasons: tuple[str, ...]
    signal_ids: tuple[str, ...] = ()
    annotators: tuple[str, ...] = ()
    confidence: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A selected call, redacted; waits for annotators."""

    id: ItemId
    tenant: str
    dataset: DatasetName
    part: Part
    body: Body
    lineage: Lineage
    content_digest: str
    shingles: frozenset[int]
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A question with its right answer. Never changes; deletion takes it out of later versions and removes what it says."""

    id: ExampleId
    tenant: str
    dataset: DatasetName
    part: Part
    body: Body
    expected: JsonValue
    label: str
    since_version: int
    lineage: Lineage
    created_at: datetime


def label_of(expected: JsonValue, field: str) -> str:
    """What sorts the example into a slice; empty when the expected answer is no label."""
    value = expected.get(field) if field and isinstance(expected, dict) else expected
    if isinstance(value, dict | list) or value is None:
        return ""
    text = value if isinstance(value, str) else dump_json(value)
    return text if len(text) <= LABEL_CAP_CHARACTERS and "\n" not in text else ""


def problems_of(spec: DatasetSpec) -> Iterator[FieldProblem]:
    """Everything that forbids the dataset, at once."""
    if not _NAME.fullmatch(spec.name):
        yield FieldProblem(
            "dataset.name", f"is {spec.name!r}", "use lower-case letters, digits and hyphens, beginning with a letter, 63 at most"
        )
    if not spec.prompt or len(spec.prompt) > 63:
        yield FieldProblem("dataset.prompt", "is empty or too long", "name the prompt whose calls are looked at")
    if not 1 <= spec.agreement <= ANNOTATORS_CAP:
        yield FieldProblem("dataset.agreement", f"is {spec.agreement}", f"use 1 to {ANNOTATORS_CAP}, or 0 for one")
    if not spec.agreement <= spec.annotators <= ANNOTATORS_CAP:
        yield FieldProblem(
            "dataset.annotators", f"is {spec.annotators}", f"use {spec.agreement} to {ANNOTATORS_CAP}: agreement needs as many"
        )
    if spec.retention_s is not None and spec.retention_s <= 0:
        yield FieldProblem("dataset.retention", f"is {spec.retention_s:g} s", "use a positive time, or leave it out")
    for name, text in {
        "description": spec.description,
        "agent": spec.agent,
        "prompt": spec.prompt,
        "label_field": spec.label_field,
    }.items():
        if "\x00" in text or len(text) > 2000:
            yield FieldProblem(f"dataset.{name}", "holds a NUL character, or over 2,000 characters", "shorten it")
    yield from rules.problems_of(spec.rules)
    yield from redaction.problems_of(spec.redactions)
