"""Datasets, bodies and examples as columns hold them, and back."""

from typing import Any, TypeAlias

import asyncpg
from plimsoll_runtime.failures import Category
from plimsoll_runtime.json_types import JsonObject, JsonValue, dump_json, parse_json

from plimsoll_feedback.domain.learning.datasets import Body, DatasetName, DatasetSpec, Example, ExampleId, Lineage, Recorded
from plimsoll_feedback.domain.learning.parts import Part
from plimsoll_feedback.domain.learning.redaction import OwnPattern
from plimsoll_feedback.domain.learning.rules import (
    Correction,
    Disagreement,
    DownstreamFailure,
    HumanOverride,
    InCategory,
    LowConfidence,
    Rule,
    Sample,
    name_of,
)

Row: TypeAlias = dict[str, Any]  # a column of JSON, as the database gave it back


def spec_to_row(spec: DatasetSpec) -> JsonObject:
    rules: list[JsonValue] = [_rule_to_row(rule) for rule in spec.rules]
    redactions: list[JsonValue] = [{"name": one.name, "pattern": one.pattern} for one in spec.redactions]
    return {
        "name": spec.name,
        "prompt": spec.prompt,
        "description": spec.description,
        "agent": spec.agent,
        "rules": rules,
        "redactions": redactions,
        "agreement": spec.agreement,
        "annotators": spec.annotators,
        "retention_s": spec.retention_s,
        "label_field": spec.label_field,
    }


def spec_from_row(row: Row) -> DatasetSpec:
    return DatasetSpec(
        name=DatasetName(row["name"]),
        prompt=row["prompt"],
        description=row["description"],
        agent=row["agent"],
        rules=tuple(_rule_from_row(rule) for rule in row["rules"]),
        redactions=tuple(OwnPattern(name=one["name"], pattern=one["pattern"]) for one in row["redactions"]),
        agreement=row["agreement"],
        annotators=row["annotators"],
        retention_s=row["retention_s"],
        label_field=row["label_field"],
    )


def _rule_to_row(rule: Rule) -> JsonObject:
    match rule:
        case LowConfidence(below=share) | Sample(share=share):
            return {"rule": name_of(rule), "share": share}
        case InCategory(category=category):
            return {"rule": "category", "category": category.value}
        case _:
            return {"rule": name_of(rule)}


def _rule_from_row(row: Row) -> Rule:
    match row["rule"]:
        case "low_confidence":
            return LowConfidence(below=row["share"])
        case "sample":
            return Sample(share=row["share"])
        case "category":
            return InCategory(category=Category(row["category"]))
        case "human_override":
            return HumanOverride()
        case "correction":
            return Correction()
        case "downstream_failure":
            return DownstreamFailure()
        case _:
            return Disagreement()


def body_to_row(body: Body) -> str:
    recorded: list[JsonValue] = [
        {"tool": one.tool, "arguments": one.arguments, "result": one.result, "is_error": one.is_error} for one in body.recorded
    ]
    return dump_json(
        {
            "prompt": body.prompt,
            "prompt_digest": body.prompt_digest,
            "variables": body.variables,
            "asked": body.asked,
            "answer": body.answer,
            "task": body.task,
            "model": body.model,
            "recorded": recorded,
        }
    )


def body_from_row(text: str) -> Body:
    row: Any = parse_json(text, field="body")
    return Body(
        prompt=row["prompt"],
        prompt_digest=row["prompt_digest"],
        variables=row["variables"],
        asked=row["asked"],
        answer=row["answer"],
        task=row["task"],
        model=row["model"],
        recorded=tuple(
            Recorded(tool=one["tool"], arguments=one["arguments"], result=one["result"], is_error=one["is_error"])
            for one in row["recorded"]
        ),
    )


def lineage_to_row(lineage: Lineage) -> JsonObject:
    return {
        "run_id": lineage.run_id,
        "operation_id": lineage.operation_id,
        "call_id": lineage.call_id,
        "prompt_digest": lineage.prompt_digest,
        "agent": lineage.agent,
        "conversation": lineage.conversation,
        "reasons": list[JsonValue](lineage.reasons),
        "signal_ids": list[JsonValue](lineage.signal_ids),
        "annotators": list[JsonValue](lineage.annotators),
        "confidence": lineage.confidence,
    }


def lineage_from_row(row: Row) -> Lineage:
    return Lineage(
        run_id=row["run_id"],
        operation_id=row["operation_id"],
        call_id=row["call_id"],
        prompt_digest=row["prompt_digest"],
        agent=row["agent"],
        conversation=row["conversation"],
        reasons=tuple(row["reasons"]),
        signal_ids=tuple(row["signal_ids"]),
        annotators=tuple(row["annotators"]),
        confidence=row["confidence"],
    )


def example_from_row(row: asyncpg.Record) -> Example:
    return Example(
        id=ExampleId(row["example_id"]),
        tenant=row["tenant"],
        dataset=DatasetName(row["dataset"]),
        part=Part(row["part"]),
        body=body_from_row(row["body"]),
        expected=parse_json(row["expected"], field="expected"),
        label=row["label"],
        since_version=row["since_version"],
        lineage=lineage_from_row(row["lineage"]),
        created_at=row["created_at"],
    )
