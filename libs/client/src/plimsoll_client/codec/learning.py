"""Datasets, evaluations, improvements and standings."""

from plimsoll.feedback.v1 import dataset_pb2, dataset_service_pb2, evaluation_service_pb2, improvement_service_pb2
from plimsoll_runtime.wire import duration_from_proto, duration_to_proto, json_from_proto

from plimsoll_client.codec.observations import category_from_proto, category_to_proto
from plimsoll_client.codec.words import moment, word
from plimsoll_client.learning import (
    AnnotationItem,
    AnnotationState,
    Dataset,
    DatasetDraft,
    DisputedItem,
    Evaluation,
    EvaluationState,
    EvaluationSubject,
    EvaluationVerdict,
    Failing,
    Improvement,
    ImprovementPlan,
    ImprovementState,
    LowConfidence,
    Sampled,
    SelectionRule,
    Standing,
    TrainingExample,
    Trigger,
)


def dataset_to_proto(draft: DatasetDraft) -> dataset_pb2.Dataset:
    return dataset_pb2.Dataset(
        name=draft.name,
        description=draft.description,
        prompt=draft.prompt,
        agent=draft.agent,
        rules=map(_rule_to_proto, draft.rules),
        redactions=[dataset_pb2.RedactionPattern(name=name, pattern=pattern) for name, pattern in draft.redactions],
        agreement=draft.agreement,
        annotators=draft.annotators,
        retention=None if draft.retention_s is None else duration_to_proto(draft.retention_s),
        label_field=draft.label_field,
    )


def dataset_from_proto(message: dataset_pb2.Dataset) -> Dataset:
    return Dataset(
        name=message.name,
        description=message.description,
        prompt=message.prompt,
        agent=message.agent,
        rules=tuple(map(_rule_words, message.rules)),
        agreement=message.agreement,
        version=message.version,
        created_at=moment(message, "create_time", message.create_time),
        training_examples=message.training_examples,
        held_out_examples=message.held_out_examples,
        pending=message.pending,
        disputed=message.disputed,
    )


def item_from_proto(message: dataset_pb2.AnnotationItem) -> AnnotationItem:
    return AnnotationItem(
        id=message.item_id,
        dataset=message.dataset,
        input=json_from_proto(message.input, "item.input") if message.HasField("input") else None,
        answer=json_from_proto(message.answer, "item.answer") if message.HasField("answer") else None,
        reasons=tuple(message.reasons),
        run_id=message.run_id,
        operation_id=message.operation_id,
        claimed_until=moment(message, "claim_expire_time", message.claim_expire_time),
    )


def disputed_from_proto(message: dataset_pb2.AnnotationItem) -> DisputedItem:
    said = tuple((one.annotator, json_from_proto(one.expected, "annotation.expected")) for one in message.annotations if not one.discards)
    discarded_by = tuple(one.annotator for one in message.annotations if one.discards)
    return DisputedItem(item=item_from_proto(message), said=said, discarded_by=discarded_by)


def example_from_proto(message: dataset_pb2.Example) -> TrainingExample:
    return TrainingExample(
        id=message.example_id,
        input=json_from_proto(message.input, "example.input") if message.HasField("input") else None,
        expected=json_from_proto(message.expected, "example.expected") if message.HasField("expected") else None,
        answer=json_from_proto(message.answer, "example.answer") if message.HasField("answer") else None,
        label=message.label,
        since_version=message.since_version,
        run_id=message.lineage.run_id,
        annotators=tuple(message.lineage.annotators),
    )


def plan_to_proto(plan: ImprovementPlan) -> improvement_service_pb2.ImprovementPlan:
    return improvement_service_pb2.ImprovementPlan(
        prompt=plan.prompt,
        dataset=plan.dataset,
        label=plan.label,
        every=None if plan.every_s is None else duration_to_proto(plan.every_s),
        on_alert=plan.on_alert,
        minimum_new_examples=plan.minimum_new_examples,
        reflection_prompt=plan.reflection_prompt,
    )


def plan_from_proto(message: improvement_service_pb2.ImprovementPlan) -> ImprovementPlan:
    return ImprovementPlan(
        prompt=message.prompt,
        dataset=message.dataset,
        label=message.label,
        every_s=duration_from_proto(message.every) if message.HasField("every") else None,
        on_alert=message.on_alert,
        minimum_new_examples=message.minimum_new_examples,
        reflection_prompt=message.reflection_prompt,
    )


def annotation_state(value: int) -> AnnotationState:
    return word(AnnotationState, dataset_service_pb2.AnnotationState.DESCRIPTOR, value, "ANNOTATION_STATE_")


def evaluation_from_proto(message: evaluation_service_pb2.Evaluation) -> Evaluation:
    pb = evaluation_service_pb2
    return Evaluation(
        id=message.evaluation_id,
        dataset=message.dataset,
        dataset_version=message.dataset_version,
        subject=word(EvaluationSubject, pb.EvaluationSubject.DESCRIPTOR, message.subject, "EVALUATION_SUBJECT_"),
        name=message.name,
        candidate_digest=message.candidate_digest,
        baseline_digest=message.baseline_digest,
        state=word(EvaluationState, pb.EvaluationState.DESCRIPTOR, message.state, "EVALUATION_STATE_"),
        wanted=message.wanted,
        answered=message.answered,
        report_digest=message.report_digest,
        verdict=word(EvaluationVerdict, pb.EvaluationVerdict.DESCRIPTOR, message.verdict, "EVALUATION_VERDICT_"),
        problem=message.problem,
        created_at=moment(message, "create_time", message.create_time),
        finished_at=moment(message, "finish_time", message.finish_time),
    )


def improvement_from_proto(message: improvement_service_pb2.Improvement) -> Improvement:
    states = improvement_service_pb2.ImprovementState.DESCRIPTOR
    return Improvement(
        id=message.improvement_id,
        prompt=message.prompt,
        dataset=message.dataset,
        label=message.label,
        state=word(ImprovementState, states, message.state, "IMPROVEMENT_STATE_"),
        baseline_digest=message.baseline_digest,
        candidate_digest=message.candidate_digest,
        evaluation_id=message.evaluation_id,
        report_digest=message.report_digest,
        reason=message.reason,
        created_at=moment(message, "create_time", message.create_time),
        changed_at=moment(message, "change_time", message.change_time),
    )


def standing_from_proto(message: evaluation_service_pb2.Standing) -> Standing:
    return Standing(
        task=message.task,
        provider=message.provider,
        model=message.model,
        calls=message.calls,
        judged=message.judged,
        quality=(message.quality, message.quality_low, message.quality_high),
        cost_micros=(message.cost_micros, message.cost_low, message.cost_high),
        latency_s=(message.latency_s, message.latency_low_s, message.latency_high_s),
        failed=message.failed,
    )


def _rule_to_proto(rule: SelectionRule) -> dataset_pb2.SelectionRule:
    message = dataset_pb2.SelectionRule()
    match rule:
        case LowConfidence(below):
            message.low_confidence = below
        case Sampled(share):
            message.sample = share
        case Failing(category):
            message.category = category_to_proto(category)
        case Trigger.HUMAN_OVERRIDE:
            message.human_override = True
        case Trigger.CORRECTION:
            message.correction = True
        case Trigger.DOWNSTREAM_FAILURE:
            message.downstream_failure = True
        case Trigger.DISAGREEMENT:
            message.disagreement = True
    return message


def _rule_words(message: dataset_pb2.SelectionRule) -> str:
    match message.WhichOneof("kind"):
        case "low_confidence":
            return f"low_confidence={message.low_confidence:g}"
        case "sample":
            return f"sample={message.sample:g}"
        case "category":
            return f"category={category_from_proto(message.category)}"
        case kind:
            return kind or "unknown"
