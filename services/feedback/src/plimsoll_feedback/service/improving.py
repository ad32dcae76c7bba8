"""Carrying improvements out: draft, evaluate, ask for promotion."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from plimsoll_runtime.clock import Clock
from plimsoll_runtime.errors import DeadlineExpired, Invalid, PlimsollError, Unavailable
from plimsoll_runtime.failures import Failure
from plimsoll_runtime.json_types import JsonValue, canonical
from plimsoll_runtime.logs import Log
from plimsoll_runtime.retry import pause

from plimsoll_feedback.domain.learning.datasets import Example
from plimsoll_feedback.domain.learning.evaluations import EvaluationId, EvaluationSpec, State
from plimsoll_feedback.domain.learning.improvements import Improvement, Progress
from plimsoll_feedback.domain.learning.proposing import PromptVersion, Shown, chosen, placeholders, rendered
from plimsoll_feedback.domain.learning.reports import SubjectKind
from plimsoll_feedback.errors import EvaluationNotFound
from plimsoll_feedback.ports.improving import HeldTry, ImprovementStore
from plimsoll_feedback.ports.learning import DatasetStore, ModelRouter, TrainingExamples
from plimsoll_feedback.service.evaluations import Evaluations
from plimsoll_feedback.service.improvements import Improvements

CANDIDATE = "candidate"
_LEASE_S = 300.0  # a draft may wait for a model that rewrites instructions
_IDLE_S = 1.0
_LOOK_AGAIN_S = 0.5
_AGAIN_S = 5.0
_EXAMPLES_CAP = 5_000
_FAILURES_TOLD = 20
_NOT_USED = "rewritten instructions are not used:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A registered candidate, or the present version when there is nothing to make better. `note` tells what became of a reflection."""

    digest: str
    note: str = ""


class Proposer:
    """Drafts a candidate. It knows the training part only: the held-out one is not among what it is given."""

    def __init__(self, training: TrainingExamples, router: ModelRouter) -> None:
        self._training = training
        self._router = router

    async def draft(self, improvement: Improvement, present: PromptVersion, version: int) -> Draft:
        """Corrected examples, and instructions as a model rewrites them where the plan says so and the model does well."""
        plan, tenant = improvement.plan, improvement.tenant
        corrected = await self._examples(tenant, improvement, version)
        learned = [_shown(one, present) for one in corrected]
        known = {example.user: example.label for example in learned}
        labelled = tuple(replace(one, label=known.get(one.user) or _label(one.assistant, learned)) for one in present.examples)
        examples = chosen(labelled, learned, plan.example_tokens)
        system, note = await self._reflected(improvement, present, corrected) if plan.reflection else (present.system, "")
        if system != present.system:
            try:
                return Draft(digest=await self._router.register_prompt(tenant, present, examples, system, [CANDIDATE]), note=note)
            except Invalid as error:
                note = f"{_NOT_USED} the registry refuses them: {error.message}"
        if [(one.user, one.assistant) for one in examples] == [(one.user, one.assistant) for one in present.examples]:
            return Draft(digest=present.digest, note=note)
        return Draft(digest=await self._router.register_prompt(tenant, present, examples, present.system, [CANDIDATE]), note=note)

    async def _examples(self, tenant: str, improvement: Improvement, version: int) -> list[Example]:
        found: list[Example] = []
        while len(found) < _EXAMPLES_CAP:
            page = await self._training.page(tenant, improvement.plan.dataset, version, found[-1].id if found else "", 500)
            found += page
            if len(page) < 500:
                break
        return found

    async def _reflected(self, improvement: Improvement, present: PromptVersion, corrected: Sequence[Example]) -> tuple[str, str]:
        """The instructions to draft with, and what became of the reflection: without a usable text the present ones stay."""
        if not any(one.available and not one.rehearsal for one in await self._router.models(improvement.tenant)):
            return present.system, "nothing was rewritten: no real model answers"
        wrong = [one for one in corrected if canonical(one.expected) != canonical(one.body.answer)][:_FAILURES_TOLD]
        failures: list[JsonValue] = [
            {"question": one.body.variables, "answered": one.body.answer, "right": one.expected, "why": list(one.lineage.reasons)}
            for one in wrong
        ]
        name, _, label = improvement.plan.reflection.partition("@")
        variables: JsonValue = {"instructions": present.system, "failures": canonical(failures)}
        written = await self._router.write(improvement.tenant, name, label, variables, f"{improvement.id}/reflection")
        if isinstance(written, Failure):
            return present.system, f"nothing was rewritten: {written.reason}: {written.message}"
        if not written.strip():
            return present.system, "nothing was rewritten: the model gave an empty answer"
        kept, found = placeholders(present.system), placeholders(written)
        if kept != found:
            told = [f"lose {_named(kept - found)}"] * bool(kept - found) + [f"make up {_named(found - kept)}"] * bool(found - kept)
            return present.system, f"{_NOT_USED} they {' and '.join(told)}"
        return written, "with instructions that a model rewrote"


class ImprovementRunner:
    """The loop that takes tries a step further."""

    def __init__(
        self,
        store: ImprovementStore,
        improvements: Improvements,
        proposer: Proposer,
        evaluations: Evaluations,
        datasets: DatasetStore,
        router: ModelRouter,
        clock: Clock,
        log: Log,
    ) -> None:
        self._store = store
        self._improvements = improvements
        self._proposer = proposer
        self._evaluations = evaluations
        self._datasets = datasets
        self._router = router
        self._clock = clock
        self._log = log

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                await self._improvements.start_due()
                if not await self.step():
                    await pause(_IDLE_S, stop)
            except PlimsollError as error:
                self._log.warning("improvement.interrupted", {"reason": error.reason})
                await pause(_AGAIN_S, stop)

    async def step(self) -> bool:
        """Take one try a step further; whether there was one."""
        held = await self._store.claim(_LEASE_S)
        if held is None:
            return False
        before = held.improvement
        try:
            after = await self._next(before)
        except (Unavailable, DeadlineExpired) as error:
            await self._store.change(held, before, error.retry_after_s or _AGAIN_S)
            raise
        except PlimsollError as error:
            after = _ended(before, Progress.FAILED, f"{error.reason}: {error.message}")
        waits = after.state is before.state
        await self._keep(
            held, replace(after, changed_at=before.changed_at if waits else self._clock.now()), _LOOK_AGAIN_S if waits else 0.0
        )
        return not waits

    async def _keep(self, held: HeldTry, after: Improvement, again_in_s: float) -> None:
        if await self._store.change(held, after, again_in_s) and after.state is not held.improvement.state:
            self._log.info("improvement.advanced", {"improvement_id": after.id, "state": after.state.value})

    async def _next(self, one: Improvement) -> Improvement:
        match one.state:
            case Progress.DRAFTING:
                return await self._draft(one)
            case Progress.EVALUATING:
                return await self._judge(one)
            case _:
                return await self._promote(one)

    async def _draft(self, one: Improvement) -> Improvement:
        plan = one.plan
        baseline = await self._router.digest_of(one.tenant, SubjectKind.PROMPT, plan.prompt, plan.label)
        if not baseline:
            return _ended(one, Progress.FAILED, f"{plan.prompt} has no version at {plan.label}: point the label at a first one")
        counts = (await self._datasets.get(one.tenant, plan.dataset)).counts
        one = replace(one, baseline_digest=baseline, dataset_version=counts.version)
        if not counts.training:
            return _ended(one, Progress.NOTHING, "the dataset has no training examples yet")
        present = await self._router.prompt(one.tenant, plan.prompt, baseline)
        draft = await self._proposer.draft(one, present, counts.version)
        one = replace(one, reason=draft.note)
        if draft.digest == baseline:
            return _ended(one, Progress.NOTHING, "the present version shows all that can be learned")
        spec = EvaluationSpec(
            dataset=plan.dataset,
            subject=SubjectKind.PROMPT,
            name=plan.prompt,
            candidate_digest=draft.digest,
            baseline_digest=baseline,
            rules=plan.rules,
        )
        evaluation = await self._evaluations.start(one.tenant, spec, plan.label, f"{one.id}/evaluation")
        return replace(one, state=Progress.EVALUATING, candidate_digest=draft.digest, evaluation_id=evaluation.id)

    async def _judge(self, one: Improvement) -> Improvement:
        try:
            evaluation = await self._evaluations.get(one.tenant, EvaluationId(one.evaluation_id))
        except EvaluationNotFound as error:
            return _ended(one, Progress.FAILED, error.message)
        if evaluation.state in {State.WAITING, State.RUNNING}:
            return one
        if evaluation.state is not State.DONE:
            return _ended(one, Progress.FAILED, f"the evaluation is {evaluation.state}: {evaluation.problem}")
        one = replace(one, report_digest=evaluation.report_digest)
        if evaluation.verdict != "passed":
            report = await self._evaluations.report(one.tenant, evaluation.report_digest)
            return _ended(one, Progress.REFUSED, f"{evaluation.verdict}: {'; '.join(report.reasons)}")
        return replace(one, state=Progress.PROMOTING)

    async def _promote(self, one: Improvement) -> Improvement:
        """The registry decides; when the label went elsewhere meanwhile, the report no longer fits, and it says no."""
        plan = one.plan
        try:
            await self._router.move_label(one.tenant, SubjectKind.PROMPT, plan.prompt, one.candidate_digest, plan.label, one.report_digest)
        except (Unavailable, DeadlineExpired):
            raise
        except PlimsollError as error:
            return _ended(one, Progress.REFUSED, f"{error.reason}: {error.message}")
        return _ended(one, Progress.PROMOTED, "better on the held-out part")


def _ended(one: Improvement, state: Progress, reason: str) -> Improvement:
    """With why it ended, and what was noted while it was drafted."""
    return replace(one, state=state, reason="; ".join(filter(None, (reason, one.reason)))[:4000])


def _named(variables: frozenset[str]) -> str:
    return ", ".join(f"{{{{{name}}}}}" for name in sorted(variables))


def _shown(example: Example, present: PromptVersion) -> Shown:
    return Shown(user=rendered(present.user, example.body.variables), assistant=example.expected, label=example.label)


def _label(answer: JsonValue, learned: list[Shown]) -> str:
    """The label of a present example: that of a learned one with the same answer, else the answer itself."""
    told = canonical(answer)
    return next((one.label for one in learned if canonical(one.assistant) == told), told)
