"""The scoreboard of models, and the routes that it suggests; whether one is taken, the registry decides."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from plimsoll_runtime.errors import FieldProblem
from plimsoll_runtime.json_types import digest

from plimsoll_feedback.domain.learning.comparison import Rules
from plimsoll_feedback.domain.learning.datasets import DatasetName
from plimsoll_feedback.domain.learning.evaluations import EvaluationSpec
from plimsoll_feedback.domain.learning.reports import SubjectKind
from plimsoll_feedback.domain.learning.standings import Standing, preferred, ranked
from plimsoll_feedback.errors import InvalidEvaluation, NothingToCompare
from plimsoll_feedback.ports.learning import DatasetStore, ModelRouter, RouteCandidate
from plimsoll_feedback.service.evaluations import Evaluations

LABEL = "production"


class StandingsStore(Protocol):
    """Reads how models did in production."""

    async def standings(self, tenant: str, task: str) -> Sequence[Standing]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposedRoute:
    """`digest` is empty when the present route is the best that is known."""

    digest: str
    evaluation_id: str
    reason: str


class Scoreboard:
    def __init__(self, standings: StandingsStore, datasets: DatasetStore, router: ModelRouter, evaluations: Evaluations) -> None:
        self._standings = standings
        self._datasets = datasets
        self._router = router
        self._evaluations = evaluations

    async def standings(self, tenant: str, task: str) -> Sequence[Standing]:
        """By task, the best first."""
        return ranked(await self._standings.standings(tenant, task))

    async def propose(self, tenant: str, task: str, dataset: DatasetName, tolerance: float) -> ProposedRoute:
        """Register the suggested route and start its evaluation; no label moves. The same again, on the same examples, is the same.

        Raises InvalidEvaluation, DatasetNotFound, or NothingToCompare when nobody was judged, or the task has no route.
        """
        if not task or not 0 <= tolerance <= 1:
            field, problem = ("task", "is empty") if not task else ("quality_tolerance", f"is {tolerance:g}")
            raise InvalidEvaluation(problems=(FieldProblem(field, problem, "name a task, and a tolerance from 0 to 1"),))
        version = (await self._datasets.get(tenant, dataset)).counts.version
        standings = await self.standings(tenant, task)
        best = preferred(standings, tolerance)
        if best is None:
            raise NothingToCompare(f"no call of {task} was judged", remedy="record signals on runs, or annotate")
        present = await self._router.route(tenant, task, label=LABEL)
        if present is None or not present.candidates:
            raise NothingToCompare(f"{task} has no route at {LABEL}", remedy="register a route and point the label at it")
        told = (
            f"{best.name}: quality {best.quality:.3f} ({best.quality_interval.low:.3f} to {best.quality_interval.high:.3f}) "
            f"over {best.judged} judged calls, {best.cost_micros:.0f} micros and {best.latency_s:.3f} s a call"
        )
        quality = {one.name: one.quality for one in standings if one.judged}
        names = [one.model for one in present.candidates]
        first = next((name for name in names if _is(name, best)), best.name)
        if first == names[0]:
            return ProposedRoute(digest="", evaluation_id="", reason=f"the present route prefers the best already: {told}")
        known = {one.model: one for one in present.candidates}
        others = [known[name] for name in names if name != first]
        candidates = [known.get(first, RouteCandidate(model=first)), *others]
        candidates = [replace(one, quality=quality.get(one.model, one.quality)) for one in candidates]
        proposed = await self._router.register_route(tenant, task, present, candidates)
        spec = EvaluationSpec(
            dataset=dataset,
            subject=SubjectKind.ROUTE,
            name=task,
            candidate_digest=proposed,
            baseline_digest=present.digest,
            rules=Rules(margin=tolerance),
        )
        key = digest([task, proposed, present.digest, dataset, version, tolerance])
        evaluation = await self._evaluations.start(tenant, spec, LABEL, f"route/{key}")
        return ProposedRoute(digest=proposed, evaluation_id=evaluation.id, reason=told)


def _is(name: str, standing: Standing) -> bool:
    return name in {standing.name, standing.model}
