"""What the demo does with a mesh that is up, and whether it went as promised."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from plimsoll_client.bundles import Bundle, apply, read_bundles
from plimsoll_client.cli.answer import REHEARSAL, answer_lines, answer_of, cost_line
from plimsoll_client.cli.output import one_line, seconds, table, visible
from plimsoll_client.files import GivenFile
from plimsoll_client.mesh import Mesh
from plimsoll_client.models import RunStatus
from plimsoll_client.observations import OperationKind
from plimsoll_runtime.ids import Ids

from plimsoll_devstack.audit.grading import Outcome
from plimsoll_devstack.audit.learning import SORTER, mended, refused
from plimsoll_devstack.demo.accuracy import met, tallies
from plimsoll_devstack.demo.display import Display
from plimsoll_devstack.demo.samples import Sample, read_samples
from plimsoll_devstack.demo.summary import accuracy_table, costs_by_agent, costs_table, failures_table
from plimsoll_devstack.demo.work import AT_ONCE, Broken, Finished, Work

_FEEDBACK_WITHIN_S = 15.0
_POLL_S = 0.2
_ANSWER_LINES = 24
_PROBLEMS_SHOWN = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """Something that the demo claims, and whether it held."""

    text: str
    kept: bool


class Story:
    """The demo, chapter by chapter. `promises` grows as it goes."""

    def __init__(self, mesh: Mesh, bundles: Sequence[Bundle], display: Display, ids: Ids) -> None:
        self._mesh = mesh
        self._bundles = bundles
        self._display = display
        self._key = ids.new("demo")
        self.promises: list[Promise] = []

    async def tell(self) -> None:
        """All of it, from empty mesh to summary."""
        began = datetime.now(UTC)
        samples = [sample for bundle in self._bundles for sample in read_samples(bundle)]
        await self._bring_agents()
        await self._name_models()
        finished = await self._run(samples)
        self._show_answers(finished)
        self._show_costs(finished)
        self._show_accuracy(finished)
        await self._show_failures(finished, began)

    async def learn(self) -> None:
        """The learning loop, once round. Only with the rehearsal model: it takes hundreds of calls, and a provider's cost money."""
        if not all(model.rehearsal for model in await self._mesh.models.list()):
            return
        self._display.title("Learning: an agent that was never shown one kind of question, and people who say what is right")
        for bundle in read_bundles(SORTER):
            await apply(self._mesh, bundle)
        for part in (mended, refused):
            check = await part(self._mesh)
            self._display.line(f"  {check.evidence}")
            self.promise(check.what, kept=check.outcome is Outcome.KEPT)

    def promise(self, text: str, *, kept: bool) -> None:
        """Claim something."""
        self.promises.append(Promise(text=text, kept=kept))

    async def _bring_agents(self) -> None:
        self._display.title("Agents: prompts, knowledge and graph of each are brought into the mesh")
        applied = [await apply(self._mesh, bundle) for bundle in self._bundles]
        rows = ((a.agent, str(a.version), str(a.prompts), str(a.documents), ", ".join(a.collections) or "-") for a in applied)
        self._display.table(table(("agent", "version", "prompts", "documents", "collections"), rows))

    async def _name_models(self) -> None:
        models = await self._mesh.models.list()
        self.promise("a model can answer", kept=bool(models))
        if models and models[0].rehearsal:
            self._display.line(f"\nModel: {models[0].name}. {REHEARSAL.replace('Answered', 'Runs are answered')}", style="yellow")
        elif models:
            self._display.line(f"\nModel: {models[0].provider} {models[0].name}")

    async def _run(self, samples: Sequence[Sample]) -> list[Finished]:
        self._display.title(f"{len(samples)} runs, {AT_ONCE} at a time")
        accepts = {bundle.agent: (await self._mesh.agents.get(bundle.agent)).accepts for bundle in self._bundles}
        began = asyncio.get_running_loop().time()
        with self._display.bars(samples) as bars:
            work = Work(self._mesh, accepts, key=self._key, on_decided=self._display.decided, on_end=bars.end)
            outcomes = await work.run_all(samples)
        finished = [outcome for outcome in outcomes if isinstance(outcome, Finished)]
        self._display.line(f"{len(finished)} runs ended in {seconds(asyncio.get_running_loop().time() - began)}.")
        self._judge(outcomes, finished)
        return finished

    def _judge(self, outcomes: Sequence[Finished | Broken], finished: Sequence[Finished]) -> None:
        failed = [each for each in finished if each.run.status is not RunStatus.SUCCEEDED]
        problems = [f"{each.sample.agent} {each.sample.name}: {each.error.message}" for each in outcomes if isinstance(each, Broken)]
        problems += [f"{each.sample.agent} {each.sample.name} {each.run.id}: {_cause(each)}" for each in failed]
        for problem in problems[:_PROBLEMS_SHOWN]:
            self._display.line(f"  {visible(problem)}", style="red")
        if len(problems) > _PROBLEMS_SHOWN:
            self._display.line(f"  … and {len(problems) - _PROBLEMS_SHOWN} more", style="red")
        decisions = [decided.approved for each in finished for decided in each.decided]
        asked = f"{decisions.count(True)} approved, {decisions.count(False)} rejected"
        self.promise(f"every run ends ({len(finished)} of {len(outcomes)})", kept=len(finished) == len(outcomes))
        self.promise(f"every run succeeds ({len(finished) - len(failed)} of {len(finished)})", kept=not failed)
        self.promise(f"approvals are asked and decided both ways ({asked})", kept=set(decisions) == {True, False})

    def _show_answers(self, finished: Sequence[Finished]) -> None:
        for each in _telling(finished):
            given = each.sample.given
            question = f"file {given.name}" if isinstance(given, GivenFile) else one_line(" ".join(map(str, given.values())), 300)
            self._display.title(f"{each.sample.agent} on {visible(question)}")
            lines = list(answer_lines(answer_of(each.run.output)))
            for line in lines[:_ANSWER_LINES]:
                self._display.line(f"  {line}")
            if len(lines) > _ANSWER_LINES:
                self._display.line(f"  … {len(lines) - _ANSWER_LINES} more lines", style="dim")
            self._display.line(f"  {cost_line(each.report)}", style="dim")

    def _show_costs(self, finished: Sequence[Finished]) -> None:
        self._display.title("What runs cost")
        self._display.table(costs_table(costs_by_agent(finished)))
        models = sorted({model for each in finished for model in each.report.models})
        rehearsed = any(each.run.rehearsal for each in finished)
        self._display.line(
            REHEARSAL if rehearsed else f"Answered by {', '.join(models) or 'no model'}.", style="yellow" if rehearsed else ""
        )

    def _show_accuracy(self, finished: Sequence[Finished]) -> None:
        checked = [(each.sample.agent, met(each.sample.expect, each.run)) for each in finished if each.sample.expect]
        if checked:
            self._display.title("Accuracy against what the samples expect")
            self._display.table(accuracy_table(tallies(checked)))

    async def _show_failures(self, finished: Sequence[Finished], began: datetime) -> None:
        self._display.title("Errors by category, as the feedback service counted them")
        arrived = await self._arrived({each.run.id for each in finished})
        self.promise(f"feedback knows every run ({arrived} of {len(finished)})", kept=arrived == len(finished))
        report = await self._mesh.feedback.failures(after=began)
        if report.counts:
            self._display.table(failures_table(report))
        failed = sum(count.count for count in report.counts)
        survived = all(each.run.status is RunStatus.SUCCEEDED for each in finished)
        ending = "; each took the route that its graph has for it" if survived else ""
        self._display.line(f"{failed} failures in {report.operations} operations{ending}.")

    async def _arrived(self, run_ids: set[str]) -> int:
        """How many of the runs feedback has heard of, waiting a while for the last ones."""
        try:
            async with asyncio.timeout(_FEEDBACK_WITHIN_S):
                while (arrived := await self._known(run_ids)) < len(run_ids):  # noqa: ASYNC110 - only asking again tells
                    await asyncio.sleep(_POLL_S)
                return arrived
        except TimeoutError:
            return await self._known(run_ids)

    async def _known(self, run_ids: set[str]) -> int:
        operations = await self._mesh.feedback.operations(kind=OperationKind.RUN, limit=2 * len(run_ids) + 10)
        return len(run_ids & {operation.run_id for operation in operations})


def _cause(each: Finished) -> str:
    failure = each.run.failure
    return f"{failure.category}, {failure.message}" if failure else each.run.status


def _telling(finished: Sequence[Finished]) -> list[Finished]:
    """Per agent the run that shows most, and the first one that asked."""
    chosen: list[Finished] = []
    for agent in dict.fromkeys(each.sample.agent for each in finished):
        mine = [each for each in finished if each.sample.agent == agent and each.run.status is RunStatus.SUCCEEDED]
        asked = [each for each in mine if each.decided]
        quiet = sorted((each for each in mine if not each.decided), key=_interest, reverse=True)
        chosen.extend([*quiet[:1], *asked[:1]])
    return chosen


def _interest(each: Finished) -> tuple[bool, int, int, int]:
    """As expected before otherwise, then the more there was to find, the more sources, and the more text up to a screenful."""
    answer, expected = answer_of(each.run.output), met(each.sample.expect, each.run)
    return all(expected.values()), len(expected), min(len(answer.sources), 2), min(len(answer.text), 600)
