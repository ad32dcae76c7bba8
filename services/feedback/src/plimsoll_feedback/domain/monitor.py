"""Monitors: which numbers each thing that happened gives them, how a baseline is gathered, and when an alert is raised."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import TypeGuard, assert_never

from plimsoll_runtime.json_types import JsonValue, digest

from plimsoll_feedback.domain.observation import EVALUATION
from plimsoll_feedback.domain.operation import Operation, OperationKind
from plimsoll_feedback.domain.sequential import Baseline, Bet, Watch
from plimsoll_feedback.domain.signal import Decided, Demonstrated, Ended, Judged, Relabelled, Remarked, Scored, Signal, Verdict

TAIL = 0.1
"""The part of a baseline beyond which a value counts as unusual."""


class SubjectKind(StrEnum):
    AGENT = "agent"
    PROMPT = "prompt"
    COLLECTION = "collection"


class Measure(StrEnum):
    FAILED_RUNS = "failed_runs"
    CATEGORY = "category"
    OVERRIDES = "overrides"
    EMPTY_RETRIEVALS = "empty_retrievals"
    WEAK_RETRIEVALS = "weak_retrievals"
    COSTLY_RUNS = "costly_runs"
    SLOW_RUNS = "slow_runs"
    BAD_OUTCOMES = "bad_outcomes"
    DOUBT = "doubt"
    UNFAMILIAR_INPUTS = "unfamiliar_inputs"


_HIGH = frozenset({Measure.COSTLY_RUNS, Measure.SLOW_RUNS})  # what lies above nine of ten of the baseline is unusual
_LOW = frozenset({Measure.WEAK_RETRIEVALS, Measure.UNFAMILIAR_INPUTS})  # what lies below nine of ten


class AlertStatus(StrEnum):
    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How monitors judge: the chance of a false alarm of each for ever, and how many observations it wants before it says anything."""

    alpha: float = 0.01
    baseline: int = 200
    minimum: int = 20


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Watched:
    """What is measured of whom, whatever its version. `category` only with the measure of that name."""

    tenant: str
    subject_kind: SubjectKind
    subject: str
    measure: Measure
    category: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One number of one version of what is watched."""

    watched: Watched
    version: str
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Usual:
    """What is usual of what is watched. `gathered` grows until it is complete; `cut` is set then, for measures that have one."""

    watched: Watched
    gathered: tuple[float, ...] = ()
    size: int = 0
    mean: float = 0.0
    cut: float | None = None
    complete: bool = False

    def gather(self, value: float, wanted: int) -> "Usual":
        """With one value more; complete when there are as many as wanted."""
        values = (*self.gathered, value)
        if len(values) < wanted:
            return replace(self, gathered=values, size=len(values), mean=math.fsum(values) / len(values))
        return complete(self.watched, values)

    def judged(self, value: float) -> float:
        """The value as a number from 0 to 1, of which more is worse."""
        if self.cut is None:
            return value
        return float(value > self.cut if self.watched.measure in _HIGH else value < self.cut)


@dataclass(frozen=True, slots=True, kw_only=True)
class Monitor:
    """One version against what is usual. Nothing is added while an alert is open."""

    watched: Watched
    version: str
    watch: Watch
    alert_id: str = ""

    @property
    def id(self) -> str:
        watched = self.watched
        parts = [watched.subject_kind.value, watched.subject, watched.measure.value, watched.category, self.version]
        return "mon_" + digest([*parts])[:26]


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """A monitor that has seen enough."""

    monitor: Monitor
    usual: Usual


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """An alarm that was raised, and what became of it."""

    id: str
    tenant: str
    monitor_id: str
    watched: Watched
    version: str
    status: AlertStatus
    baseline_mean: float
    baseline_size: int
    live_mean: float
    live_size: int
    evidence: float
    alpha: float
    summary: str
    raised_at: datetime
    settled_at: datetime | None = None
    settled_by: str = ""
    comment: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What is known of those that a batch of observations touches; it becomes what is known afterwards."""

    usual: dict[Watched, Usual] = field(default_factory=dict)
    monitors: dict[tuple[Watched, str], Monitor] = field(default_factory=dict)


def complete(watched: Watched, values: Sequence[float]) -> Usual:
    """The baseline out of its values.

    For a cut, the k-th of n values from its end: the chance of a value beyond it is above b no more often than n coins of b show k or
    fewer, so it is bounded as the mean of n coins that showed k.
    """
    size = len(values)
    if watched.measure not in _HIGH | _LOW:
        return Usual(watched=watched, size=size, mean=math.fsum(values) / size, complete=True)
    beyond = max(1, round(TAIL * size))
    ordered = sorted(values, reverse=watched.measure in _HIGH)
    return Usual(watched=watched, size=size, mean=beyond / size, cut=ordered[beyond - 1], complete=True)


def observe_all(standing: Standing, observations: Iterable[Observation], rules: Rules) -> Sequence[Alarm]:
    """Add the observations to what is known, in order; returns the alarms that they raise."""
    alarms, terms = [], dict[Watched, Watch]()
    for one in observations:
        usual = standing.usual.get(one.watched) or _unknown(standing, one.watched)
        if not usual.complete:
            standing.usual[one.watched] = usual.gather(one.value, rules.baseline)
            continue
        key = (one.watched, one.version)
        standing.usual[one.watched] = usual
        term = terms.get(one.watched) or terms.setdefault(one.watched, terms_of(usual, rules))
        monitor = standing.monitors.get(key)
        if monitor is None or replace(monitor.watch, bet=Bet()) != term:  # the baseline or the rules are others now: so is the bet
            monitor = Monitor(watched=one.watched, version=one.version, watch=term)
        if monitor.alert_id or monitor.watch.alarmed:
            continue
        monitor = replace(monitor, watch=monitor.watch.seen([usual.judged(one.value)]))
        standing.monitors[key] = monitor
        if monitor.watch.alarmed:
            alarms.append(Alarm(monitor=monitor, usual=usual))
    return alarms


def terms_of(usual: Usual, rules: Rules) -> Watch:
    """A bet against what is usual, before anything was seen."""
    return Watch.against(Baseline(size=usual.size, mean=usual.mean), alpha=rules.alpha, minimum=rules.minimum)


def restarted(monitor: Monitor) -> Monitor:
    """The same one after its alert was settled: it watches on from here."""
    return replace(monitor, watch=replace(monitor.watch, bet=Bet()), alert_id="")


def alert_of(alarm: Alarm, alert_id: str, at: datetime) -> Alert:
    watched, watch = alarm.monitor.watched, alarm.monitor.watch
    return Alert(
        id=alert_id,
        tenant=watched.tenant,
        monitor_id=alarm.monitor.id,
        watched=watched,
        version=alarm.monitor.version,
        status=AlertStatus.OPEN,
        baseline_mean=alarm.usual.mean,
        baseline_size=alarm.usual.size,
        live_mean=watch.bet.recent,
        live_size=watch.bet.size,
        evidence=watch.bet.evidence,
        alpha=watch.alpha,
        summary=summary_of(alarm),
        raised_at=at,
    )


def summary_of(alarm: Alarm) -> str:
    """One sentence for people."""
    watched, watch = alarm.monitor.watched, alarm.monitor.watch
    what = watched.measure.value.replace("_", " ") + (f" {watched.category}" if watched.category else "")
    version = f" (version {alarm.monitor.version[:12]})" if alarm.monitor.version else ""
    return (
        f"{what} of {watched.subject_kind.value} {watched.subject}{version}: {watch.bet.recent:.0%} of late, "
        f"{alarm.usual.mean:.0%} in the baseline of {alarm.usual.size}; seen after {watch.bet.size} observations"
    )


def changed(before: Standing, after: Standing) -> Standing:
    """Only what is not as it was: nothing else is written, so that nobody's work is undone."""
    return Standing(
        usual={key: one for key, one in after.usual.items() if before.usual.get(key) != one},
        monitors={key: one for key, one in after.monitors.items() if before.monitors.get(key) != one},
    )


def needed(observations: Iterable[Observation]) -> tuple[set[Watched], set[tuple[Watched, str]]]:
    """What must be known before the observations can be added: usual values and monitors."""
    usual, monitors = set[Watched](), set[tuple[Watched, str]]()
    for one in observations:
        usual.add(one.watched)
        if one.watched.measure is Measure.CATEGORY:
            usual.add(replace(one.watched, measure=Measure.FAILED_RUNS, category=""))
        monitors.add((one.watched, one.version))
    return usual, monitors


def of_operation(operation: Operation, categories: Mapping[tuple[str, str], Sequence[str]]) -> Sequence[Observation]:
    """What an operation gives monitors. `categories` are those that a tenant's agent is watched for: steps without them count as well."""
    match operation.kind:
        case OperationKind.RUN:
            return _of_run(operation)
        case OperationKind.TRANSITION:
            return _of_step(operation, categories.get((operation.tenant, operation.agent), ()))
        case OperationKind.MODEL_CALL:
            return _of_model_call(operation)
        case OperationKind.RETRIEVAL:
            return _of_retrieval(operation)
        case OperationKind.TOOL_CALL | OperationKind.APPROVAL | OperationKind.QUALITY:
            return ()


def of_signal(signal: Signal, agent: tuple[str, str], prompts: Sequence[tuple[str, str]]) -> Sequence[Observation]:
    """What a signal gives the monitors of its run's agent, and of the prompts that it judges; each with its version."""
    match signal.value:
        case Ended(succeeded=succeeded):
            found = {Measure.BAD_OUTCOMES: float(not succeeded)}
        case Judged(verdict=verdict):
            bad = float(verdict is Verdict.BAD)
            found = {Measure.BAD_OUTCOMES: bad, Measure.OVERRIDES: bad}
        case Decided(approved=approved):
            found = {Measure.OVERRIDES: float(not approved)}
        case Demonstrated() | Relabelled():
            found = {Measure.OVERRIDES: 1.0}
        case Scored(score=score):
            found = {Measure.BAD_OUTCOMES: 1.0 - score}
        case Remarked():
            found = {}
        case _:
            assert_never(signal.value)
    subjects = [(SubjectKind.AGENT, *agent), *((SubjectKind.PROMPT, *prompt) for prompt in prompts)]
    return [
        Observation(
            watched=Watched(tenant=signal.tenant, subject_kind=kind, subject=subject, measure=measure), version=version, value=value
        )
        for kind, subject, version in subjects
        for measure, value in found.items()
    ]


def _of_run(operation: Operation) -> Sequence[Observation]:
    if operation.facts.get("status") == "cancelled":
        return ()
    found = {
        Measure.FAILED_RUNS: float(operation.failure is not None),
        Measure.COSTLY_RUNS: float(operation.usage.cost_micros),
        Measure.SLOW_RUNS: operation.duration_s,
    }
    return [_of_agent(operation, measure, value) for measure, value in found.items()]


def _of_step(operation: Operation, categories: Sequence[str]) -> Sequence[Observation]:
    """A retry that failed again says nothing new of the step."""
    borne = operation.failure.category.value if operation.failure else ""
    return [_of_agent(operation, Measure.CATEGORY, float(category == borne), category) for category in sorted({*categories, borne} - {""})]


def _of_model_call(operation: Operation) -> Sequence[Observation]:
    """Of its prompt, or, without one, of the agent. Calls that judge versions are no part of production."""
    confidence, facts = operation.facts.get("confidence"), operation.facts
    if facts.get("purpose") == EVALUATION:
        return ()
    prompt, version = facts.get("prompt"), facts.get("prompt_digest")
    found = {Measure.DOUBT: 1.0 - confidence, Measure.UNFAMILIAR_INPUTS: float(confidence)} if _is_number(confidence) else {}
    if prompt:
        found[Measure.FAILED_RUNS] = float(operation.failure is not None)
    if not (isinstance(prompt, str) and isinstance(version, str)):
        return [_of_agent(operation, measure, value) for measure, value in found.items()] if operation.agent else ()
    return [
        Observation(
            watched=Watched(tenant=operation.tenant, subject_kind=SubjectKind.PROMPT, subject=prompt, measure=measure),
            version=version,
            value=value,
        )
        for measure, value in found.items()
    ]


def _of_retrieval(operation: Operation) -> Sequence[Observation]:
    returned, score = operation.facts.get("returned"), operation.facts.get("best_score")
    found = {Measure.EMPTY_RETRIEVALS: float(not returned)}
    if returned and _is_number(score):
        found[Measure.WEAK_RETRIEVALS] = float(score)
    return [
        Observation(
            watched=Watched(tenant=operation.tenant, subject_kind=SubjectKind.COLLECTION, subject=operation.name, measure=measure),
            version="",
            value=value,
        )
        for measure, value in found.items()
    ]


def _is_number(value: JsonValue) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _of_agent(operation: Operation, measure: Measure, value: float, category: str = "") -> Observation:
    watched = Watched(tenant=operation.tenant, subject_kind=SubjectKind.AGENT, subject=operation.agent, measure=measure, category=category)
    return Observation(watched=watched, version=operation.agent_version, value=value)


def _unknown(standing: Standing, watched: Watched) -> Usual:
    """Nothing is known of it yet. A category that was never seen before was not there: as many zeros as runs were counted."""
    if watched.measure is not Measure.CATEGORY:
        return Usual(watched=watched)
    runs = standing.usual.get(replace(watched, measure=Measure.FAILED_RUNS, category=""))
    if runs is None or not runs.complete:
        return Usual(watched=watched, gathered=(0.0,) * (runs.size if runs else 0), size=runs.size if runs else 0)
    return Usual(watched=watched, size=runs.size, mean=0.0, complete=True)
