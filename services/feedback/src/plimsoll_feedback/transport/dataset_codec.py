"""Datasets, items and examples between the contract and the domain."""

from typing import Final, assert_never

from plimsoll.feedback.v1 import dataset_pb2 as pb
from plimsoll.feedback.v1 import dataset_service_pb2 as service_pb
from plimsoll_runtime.errors import FieldProblem
from plimsoll_runtime.wire import duration_from_proto, duration_to_proto, json_to_proto, timestamp_to_proto

from plimsoll_feedback.domain.learning.datasets import Dataset, DatasetName, DatasetSpec, Example
from plimsoll_feedback.domain.learning.exporting import ExportFormat
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
)
from plimsoll_feedback.errors import InvalidDataset
from plimsoll_feedback.ports.learning import Item
from plimsoll_feedback.transport.codec import CATEGORIES, CATEGORIES_TO_PROTO

_PARTS: Final = {Part.TRAINING: pb.DATASET_PART_TRAINING, Part.HELD_OUT: pb.DATASET_PART_HELD_OUT}
_FORMATS: Final = {
    service_pb.EXPORT_FORMAT_CHAT: ExportFormat.CHAT,
    service_pb.EXPORT_FORMAT_PREFERENCE: ExportFormat.PREFERENCE,
}
STATES: Final = {
    "pending": service_pb.ANNOTATION_STATE_PENDING,
    "agreed": service_pb.ANNOTATION_STATE_AGREED,
    "disputed": service_pb.ANNOTATION_STATE_DISPUTED,
    "discarded": service_pb.ANNOTATION_STATE_DISCARDED,
}


def spec_from_proto(message: pb.Dataset) -> DatasetSpec:
    """Raises InvalidDataset for a rule that says nothing."""
    agreement = message.agreement or 1
    return DatasetSpec(
        name=DatasetName(message.name),
        prompt=message.prompt,
        description=message.description,
        agent=message.agent,
        rules=tuple(_rule_from_proto(rule, at) for at, rule in enumerate(message.rules)),
        redactions=tuple(OwnPattern(name=one.name, pattern=one.pattern) for one in message.redactions),
        agreement=agreement,
        annotators=message.annotators or agreement + 1,
        retention_s=duration_from_proto(message.retention) if message.HasField("retention") else None,
        label_field=message.label_field,
    )


def dataset_to_proto(dataset: Dataset) -> pb.Dataset:
    spec, counts = dataset.spec, dataset.counts
    message = pb.Dataset(
        name=spec.name,
        description=spec.description,
        prompt=spec.prompt,
        agent=spec.agent,
        rules=[_rule_to_proto(rule) for rule in spec.rules],
        redactions=[pb.RedactionPattern(name=one.name, pattern=one.pattern) for one in spec.redactions],
        agreement=spec.agreement,
        annotators=spec.annotators,
        label_field=spec.label_field,
        version=counts.version,
        create_time=timestamp_to_proto(dataset.created_at),
        training_examples=counts.training,
        held_out_examples=counts.held_out,
        pending=counts.pending,
        disputed=counts.disputed,
    )
    if spec.retention_s is not None:
        message.retention.CopyFrom(duration_to_proto(spec.retention_s))
    return message


def item_to_proto(item: Item) -> pb.AnnotationItem:
    message = pb.AnnotationItem(
        item_id=item.id,
        dataset=item.dataset,
        input=json_to_proto(item.body.variables),
        answer=json_to_proto(item.body.answer),
        reasons=item.lineage.reasons,
        run_id=item.lineage.run_id,
        operation_id=item.lineage.operation_id,
        annotations=[
            pb.Annotation(
                annotator=one.annotator,
                expected=None if one.discards else json_to_proto(one.expected),
                create_time=timestamp_to_proto(one.at),
                discards=one.discards,
            )
            for one in item.annotations
        ],
    )
    if item.claimed_until is not None:
        message.claim_expire_time.CopyFrom(timestamp_to_proto(item.claimed_until))
    return message


def example_to_proto(example: Example) -> pb.Example:
    lineage = example.lineage
    return pb.Example(
        example_id=example.id,
        part=_PARTS[example.part],
        input=json_to_proto(example.body.variables),
        expected=json_to_proto(example.expected),
        answer=json_to_proto(example.body.answer),
        since_version=example.since_version,
        label=example.label,
        lineage=pb.Lineage(
            run_id=lineage.run_id,
            operation_id=lineage.operation_id,
            call_id=lineage.call_id,
            signal_ids=lineage.signal_ids,
            annotators=lineage.annotators,
            prompt_digest=lineage.prompt_digest,
        ),
    )


def format_from_proto(number: int) -> ExportFormat:
    """Raises InvalidDataset."""
    for known, form in _FORMATS.items():
        if known == number:
            return form
    raise _invalid("format", f"is {number}, which is no format", "use chat or preference")


def _rule_from_proto(rule: pb.SelectionRule, at: int) -> Rule:
    match rule.WhichOneof("kind"):
        case "low_confidence":
            return LowConfidence(below=rule.low_confidence)
        case "sample":
            return Sample(share=rule.sample)
        case "category":
            if rule.category not in CATEGORIES:
                raise _invalid(
                    f"dataset.rules[{at}].category", f"is {rule.category}, which is no category", "use a category of the taxonomy"
                )
            return InCategory(category=CATEGORIES[rule.category])
        case "human_override" if rule.human_override:
            return HumanOverride()
        case "correction" if rule.correction:
            return Correction()
        case "downstream_failure" if rule.downstream_failure:
            return DownstreamFailure()
        case "disagreement" if rule.disagreement:
            return Disagreement()
        case _:
            raise _invalid(f"dataset.rules[{at}]", "says nothing", "set one of its kinds; flags to true")


def _rule_to_proto(rule: Rule) -> pb.SelectionRule:
    match rule:
        case LowConfidence(below=below):
            return pb.SelectionRule(low_confidence=below)
        case HumanOverride():
            return pb.SelectionRule(human_override=True)
        case Correction():
            return pb.SelectionRule(correction=True)
        case DownstreamFailure():
            return pb.SelectionRule(downstream_failure=True)
        case Disagreement():
            return pb.SelectionRule(disagreement=True)
        case InCategory(category=category):
            return pb.SelectionRule(category=CATEGORIES_TO_PROTO[category])
        case Sample(share=share):
            return pb.SelectionRule(sample=share)
        case _:
            assert_never(rule)


def _invalid(field: str, problem: str, remedy: str) -> InvalidDataset:
    return InvalidDataset(problems=(FieldProblem(field, problem, remedy),))
