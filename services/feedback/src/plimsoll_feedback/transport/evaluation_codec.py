"""Evaluations, standings and improvements between the contract and the domain."""

from typing import Final

from plimsoll.feedback.v1 import evaluation_service_pb2 as pb
from plimsoll.feedback.v1 import improvement_service_pb2 as improvement_pb
from plimsoll_runtime.errors import FieldProblem
from plimsoll_runtime.wire import duration_from_proto, duration_to_proto, timestamp_to_proto

from plimsoll_feedback.domain.learning.comparison import Rules, Verdict
from plimsoll_feedback.domain.learning.datasets import DatasetName
from plimsoll_feedback.domain.learning.evaluations import Evaluation, EvaluationSpec, State
from plimsoll_feedback.domain.learning.improvements import Improvement, Plan, Progress
from plimsoll_feedback.domain.learning.reports import SubjectKind
from plimsoll_feedback.domain.learning.standings import Standing
from plimsoll_feedback.errors import InvalidEvaluation
from plimsoll_feedback.transport.report_codec import SUBJECTS, VERDICTS

_PLAIN: Final = Rules()
_STATES: Final = {
    State.WAITING: pb.EVALUATION_STATE_WAITING,
    State.RUNNING: pb.EVALUATION_STATE_RUNNING,
    State.DONE: pb.EVALUATION_STATE_DONE,
    State.CANCELLED: pb.EVALUATION_STATE_CANCELLED,
    State.FAILED: pb.EVALUATION_STATE_FAILED,
}
_PROGRESS: Final = {
    Progress.DRAFTING: improvement_pb.IMPROVEMENT_STATE_DRAFTING,
    Progress.EVALUATING: improvement_pb.IMPROVEMENT_STATE_EVALUATING,
    Progress.PROMOTING: improvement_pb.IMPROVEMENT_STATE_PROMOTING,
    Progress.PROMOTED: improvement_pb.IMPROVEMENT_STATE_PROMOTED,
    Progress.REFUSED: improvement_pb.IMPROVEMENT_STATE_REFUSED,
    Progress.ROLLED_BACK: improvement_pb.IMPROVEMENT_STATE_ROLLED_BACK,
    Progress.NOTHING: improvement_pb.IMPROVEMENT_STATE_NOTHING,
    Progress.FAILED: improvement_pb.IMPROVEMENT_STATE_FAILED,
}


def evaluation_spec_from_proto(request: pb.StartEvaluationRequest) -> EvaluationSpec:
    """Raises InvalidEvaluation for a subject that is none."""
    return EvaluationSpec(
        dataset=DatasetName(request.dataset),
        subject=subject_from_proto(request.subject),
        name=request.name,
        candidate_digest=request.candidate_digest,
        baseline_digest=request.baseline_digest,
        rules=rules_from_proto(request.rules),
    )


def subject_from_proto(number: int) -> SubjectKind:
    """Raises InvalidEvaluation."""
    for kind, known in SUBJECTS.items():
        if known == number:
            return kind
    problem = FieldProblem("subject", f"is {number}, which is no subject", "use prompt, model or route")
    raise InvalidEvaluation(problems=(problem,))


def rules_from_proto(message: pb.EvaluationRules) -> Rules:
    """Zero means the default."""
    return Rules(
        scorers=tuple(message.scorers) or _PLAIN.scorers,
        minimum_examples=message.minimum_examples or _PLAIN.minimum_examples,
        minimum_slice=message.minimum_slice or _PLAIN.minimum_slice,
        margin=message.margin,
        must_be_better=message.must_be_better,
        cost_ratio=message.cost_ratio,
        latency_ratio=message.latency_ratio,
        most_examples=message.most_examples or _PLAIN.most_examples,
        judge_prompt=message.judge_prompt,
    )


def rules_to_proto(rules: Rules) -> pb.EvaluationRules:
    return pb.EvaluationRules(
        scorers=rules.scorers,
        minimum_examples=rules.minimum_examples,
        minimum_slice=rules.minimum_slice,
        margin=rules.margin,
        must_be_better=rules.must_be_better,
        cost_ratio=rules.cost_ratio,
        latency_ratio=rules.latency_ratio,
        most_examples=rules.most_examples,
        judge_prompt=rules.judge_prompt,
    )


def evaluation_to_proto(one: Evaluation) -> pb.Evaluation:
    message = pb.Evaluation(
        evaluation_id=one.id,
        dataset=one.spec.dataset,
        dataset_version=one.dataset_version,
        subject=SUBJECTS[one.spec.subject],
        name=one.spec.name,
        candidate_digest=one.spec.candidate_digest,
        baseline_digest=one.spec.baseline_digest,
        state=_STATES[one.state],
        wanted=one.wanted,
        answered=one.answered,
        report_digest=one.report_digest,
        problem=one.problem,
        create_time=timestamp_to_proto(one.created_at),
    )
    if one.verdict:
        message.verdict = VERDICTS[Verdict(one.verdict)]
    if one.finished_at is not None:
        message.finish_time.CopyFrom(timestamp_to_proto(one.finished_at))
    return message


def standing_to_proto(one: Standing) -> pb.Standing:
    return pb.Standing(
        task=one.task,
        provider=one.provider,
        model=one.model,
        calls=one.calls,
        judged=one.judged,
        quality=one.quality,
        quality_low=one.quality_interval.low,
        quality_high=one.quality_interval.high,
        cost_micros=one.cost_micros,
        cost_low=one.cost_interval.low,
        cost_high=one.cost_interval.high,
        latency_s=one.latency_s,
        latency_low_s=one.latency_interval.low,
        latency_high_s=one.latency_interval.high,
        failed=one.failed,
    )


def plan_from_proto(message: improvement_pb.ImprovementPlan) -> Plan:
    """Zero and empty mean the default. A candidate that is not certainly better is never promoted by a plan."""
    plain = Plan(prompt=message.prompt, dataset=DatasetName(message.dataset))
    rules = rules_from_proto(message.rules)
    return Plan(
        prompt=message.prompt,
        dataset=DatasetName(message.dataset),
        label=message.label or plain.label,
        every_s=duration_from_proto(message.every) if message.HasField("every") else None,
        minimum_new=message.minimum_new_examples or plain.minimum_new,
        example_tokens=message.example_tokens or plain.example_tokens,
        rules=rules if message.HasField("rules") else plain.rules,
        watch_s=duration_from_proto(message.watch) if message.HasField("watch") else plain.watch_s,
        no_rollback=message.no_rollback,
        reflection=message.reflection_prompt,
        on_alert=message.on_alert,
    )


def plan_to_proto(plan: Plan) -> improvement_pb.ImprovementPlan:
    message = improvement_pb.ImprovementPlan(
        prompt=plan.prompt,
        dataset=plan.dataset,
        label=plan.label,
        minimum_new_examples=plan.minimum_new,
        example_tokens=plan.example_tokens,
        rules=rules_to_proto(plan.rules),
        watch=duration_to_proto(plan.watch_s),
        no_rollback=plan.no_rollback,
        reflection_prompt=plan.reflection,
        on_alert=plan.on_alert,
    )
    if plan.every_s is not None:
        message.every.CopyFrom(duration_to_proto(plan.every_s))
    return message


def improvement_to_proto(one: Improvement) -> improvement_pb.Improvement:
    return improvement_pb.Improvement(
        improvement_id=one.id,
        prompt=one.plan.prompt,
        dataset=one.plan.dataset,
        label=one.plan.label,
        state=_PROGRESS[one.state],
        baseline_digest=one.baseline_digest,
        candidate_digest=one.candidate_digest,
        evaluation_id=one.evaluation_id,
        report_digest=one.report_digest,
        reason=one.reason,
        create_time=timestamp_to_proto(one.created_at),
        change_time=timestamp_to_proto(one.changed_at),
    )
