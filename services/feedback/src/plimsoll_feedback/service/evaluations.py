"""Evaluations: starting, following and reading them."""

from collections.abc import Sequence
from dataclasses import replace

from plimsoll_runtime.clock import Clock
from plimsoll_runtime.errors import FieldProblem
from plimsoll_runtime.ids import Ids

from plimsoll_feedback.domain.learning.evaluations import Evaluation, EvaluationId, EvaluationSpec, State, problems_of
from plimsoll_feedback.domain.learning.reports import Report
from plimsoll_feedback.errors import InvalidEvaluation, NothingToCompare
from plimsoll_feedback.ports.learning import DatasetStore, EvaluationStore, ModelRouter

_KEY_CAP = 256
_LIST_CAP = 500


class Evaluations:
    def __init__(self, store: EvaluationStore, datasets: DatasetStore, router: ModelRouter, clock: Clock, ids: Ids) -> None:
        self._store = store
        self._datasets = datasets
        self._router = router
        self._clock = clock
        self._ids = ids

    async def start(self, tenant: str, spec: EvaluationSpec, baseline_label: str, key: str) -> Evaluation:
        """Begin a comparison on the dataset's present version; without a baseline, with what the label points at now.

        Raises InvalidEvaluation, DatasetNotFound, KeyReused, or NothingToCompare when there is no version behind the label, or only this one.
        """
        problems = [*problems_of(spec.rules)]
        if not spec.name or not spec.candidate_digest:
            problems.append(FieldProblem("candidate_digest" if spec.name else "name", "is empty", "name the version to judge"))
        if len(key) > _KEY_CAP or "\x00" in key:
            problems.append(FieldProblem("idempotency_key", "is too long, or holds a NUL character", f"use at most {_KEY_CAP} characters"))
        if problems:
            raise InvalidEvaluation(problems=tuple(problems))
        dataset = await self._datasets.get(tenant, spec.dataset)
        spec = await self._complete(tenant, spec, baseline_label)
        evaluation = Evaluation(
            id=EvaluationId(self._ids.new("eval")),
            tenant=tenant,
            spec=spec,
            dataset_version=dataset.counts.version,
            state=State.WAITING,
            created_at=self._clock.now(),
        )
        return await self._store.start(evaluation, key)

    async def get(self, tenant: str, evaluation_id: EvaluationId) -> Evaluation:
        """Raises EvaluationNotFound."""
        return await self._store.get(tenant, evaluation_id)

    async def list(self, tenant: str, dataset: str, limit: int) -> Sequence[Evaluation]:
        """Newest first."""
        return await self._store.list(tenant, dataset, min(max(limit, 1), _LIST_CAP))

    async def cancel(self, tenant: str, evaluation_id: EvaluationId) -> bool:
        """Whether it was still under way. Raises EvaluationNotFound."""
        await self._store.get(tenant, evaluation_id)
        return await self._store.cancel(tenant, evaluation_id)

    async def report(self, tenant: str, digest: str) -> Report:
        """Raises ReportNotFound."""
        return await self._store.report(tenant, digest)

    async def _complete(self, tenant: str, spec: EvaluationSpec, label: str) -> EvaluationSpec:
        baseline = spec.baseline_digest or await self._router.digest_of(tenant, spec.subject, spec.name, label)
        if not baseline:
            raise NothingToCompare(
                f"{spec.name} has no version at {label}", remedy="point the label at a first version, or name a baseline"
            )
        if baseline == spec.candidate_digest:
            raise NothingToCompare(f"{spec.name} is this version already", remedy="evaluate another version")
        for field, digest in (("candidate_digest", spec.candidate_digest), ("baseline_digest", baseline)):
            if not await self._router.has(tenant, spec.subject, spec.name, digest):
                raise InvalidEvaluation(problems=(FieldProblem(field, f"{spec.name} has no version {digest}", "register it first"),))
        return replace(spec, baseline_digest=baseline)
