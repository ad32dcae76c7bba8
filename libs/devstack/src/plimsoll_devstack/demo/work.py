"""Runs every sample, several at once, and decides what they ask: of each agent's questions the second is refused, the others allowed."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from plimsoll_client.cli.report import Report, models_of
from plimsoll_client.events import ApprovalAsked, RunEvent
from plimsoll_client.mesh import Mesh
from plimsoll_client.models import Accepts, Approval, Run
from plimsoll_runtime.errors import PlimsollError

from plimsoll_devstack.demo.samples import Sample

AT_ONCE = 8
RUN_WITHIN_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """A question and its answer."""

    approval: Approval
    approved: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A sample and what became of its run."""

    sample: Sample
    report: Report
    decided: tuple[Decided, ...]

    @property
    def run(self) -> Run:
        return self.report.run


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """A sample whose run could not be brought to an end."""

    sample: Sample
    error: PlimsollError


class Work:
    """Runs samples on a mesh. `on_decided` and `on_end` are told as things happen."""

    def __init__(
        self,
        mesh: Mesh,
        accepts: Mapping[str, Accepts],
        *,
        key: str,
        on_decided: Callable[[Decided], None],
        on_end: Callable[[Sample], None],
    ) -> None:
        self._mesh = mesh
        self._accepts = accepts
        self._key = key
        self._on_decided = on_decided
        self._on_end = on_end
        self._asked: Counter[str] = Counter()
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def run_all(self, samples: Sequence[Sample]) -> list[Finished | Broken]:
        """The outcome of every sample, in their order."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._one(sample)) for sample in samples]
        return [task.result() for task in tasks]

    async def _one(self, sample: Sample) -> Finished | Broken:
        async with self._slots:
            try:
                async with asyncio.timeout(RUN_WITHIN_S):
                    return await self._run(sample)
            except TimeoutError:
                return Broken(sample=sample, error=PlimsollError(f"no end after {RUN_WITHIN_S:g} s", reason="TOO_SLOW"))
            except PlimsollError as error:
                return Broken(sample=sample, error=error)
            finally:
                self._on_end(sample)

    async def _run(self, sample: Sample) -> Finished:
        given = sample.input(self._accepts[sample.agent])
        started = await self._mesh.runs.submit(sample.agent, given, key=f"{self._key}/{sample.agent}/{sample.name}")
        seen: list[RunEvent] = []
        decided: list[Decided] = []
        async with aclosing(self._mesh.runs.follow(started.id)) as entries:
            async for entry in entries:
                seen.append(entry)
                if isinstance(entry.event, ApprovalAsked):
                    decided.append(await self._decide(entry.event.approval))
        run = await self._mesh.runs.get(started.id)
        return Finished(sample=sample, report=Report(run=run, models=models_of(seen), duration_s=run.duration_s), decided=tuple(decided))

    async def _decide(self, approval: Approval) -> Decided:
        self._asked[approval.agent] += 1
        approved = self._asked[approval.agent] != 2
        if approved:
            await self._mesh.approvals.approve(approval.id, comment="allowed by the demo")
        else:
            await self._mesh.approvals.reject(approval.id, comment="refused by the demo, to show the way it takes then")
        decided = Decided(approval=approval, approved=approved)
        self._on_decided(decided)
        return decided
