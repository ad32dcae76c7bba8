"""Watching: how retrieval goes without labels, what of it answers used, and what drifts."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from plimsoll_runtime import logs
from plimsoll_runtime.clock import Clock
from plimsoll_runtime.errors import ErrorKind, FieldProblem, PlimsollError
from plimsoll_runtime.retry import pause

from plimsoll_memory.domain.document import collection_problems
from plimsoll_memory.domain.quality import Drift, QualityWindow
from plimsoll_memory.domain.use import uses
from plimsoll_memory.errors import RequestRefused, SearchNotFound
from plimsoll_memory.ports import QualityStore

_LOOK_S = 15.0
_ANSWER_LENGTH = 200_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """How many passages a search gave, and how many of them were used."""

    passages: int
    used: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UseReport:
    """What was used of a search, or of all searches of a run: passages by id, or those that the answer draws on."""

    search_id: str = ""
    run_id: str = ""
    chunk_ids: frozenset[str] = frozenset()
    answer: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watching:
    """The verbs of live quality, and the loop that closes windows."""

    store: QualityStore
    clock: Clock
    log: logs.Log

    async def report_use(self, tenant: str, report: "UseReport") -> Use:
        """Keep which passages of a search, or of a run's searches, the answer used. The answer is compared and not kept.

        Raises SearchNotFound for a search that is not known, RequestRefused.
        """
        _check(report)
        if report.run_id:
            searches = await self.store.run_passages(tenant, report.run_id)
        else:
            passages = await self.store.passages(tenant, report.search_id)
            if passages is None:
                raise SearchNotFound(f"there is no search {report.search_id[:80]!r}, or it is older than a week")
            searches = {report.search_id: passages}
        used = 0
        for search_id, passages in searches.items():
            found = [one for one, text in passages.items() if one in report.chunk_ids or (report.answer and uses(report.answer, text))]
            used += await self.store.keep_use(tenant, search_id, found, add=bool(report.run_id))
        return Use(passages=sum(map(len, searches.values())), used=used)

    async def quality(self, tenant: str, collection: str) -> tuple[Sequence[QualityWindow], Sequence[Drift]]:
        """The last windows of a collection, the open one too, and what drifts. Raises RequestRefused."""
        if problems := collection_problems(collection):
            raise RequestRefused(problems=problems)
        return await self.store.windows(tenant, collection, self.clock.now())

    async def run(self, stop: asyncio.Event) -> None:
        """Close windows until `stop`, whatever fails."""
        while not stop.is_set():
            try:
                await self.look()
            except PlimsollError as error:
                fault = error if error.kind is ErrorKind.INTERNAL else None
                self.log.warning("quality.paused", {"reason": error.reason, "message": error.message}, error=fault)
            await pause(_LOOK_S, stop)

    async def look(self) -> None:
        """Close the windows that are over, and say what began to drift and what is back."""
        for drift, over in await self.store.close_windows(self.clock.now()):
            fields: dict[str, logs.Field] = {
                "collection": drift.collection,
                "signal": drift.signal,
                "value": round(drift.value, 4),
                "usual": round(drift.baseline, 4),
            }
            if over:
                self.log.info("quality.recovered", fields)
            else:
                self.log.warning("quality.drifted", fields)


def _check(report: UseReport) -> None:
    if len(report.answer) > _ANSWER_LENGTH:
        problem = f"has {len(report.answer):,} characters; the limit is {_ANSWER_LENGTH:,}"
        raise RequestRefused(problems=[FieldProblem("answer", problem, "send the part that draws on the search")])
    if not report.chunk_ids and not report.answer.strip():
        raise RequestRefused(problems=[FieldProblem("chunk_ids", "are missing", "send them, or the answer")])
    if bool(report.search_id) == bool(report.run_id):
        raise RequestRefused(problems=[FieldProblem("search_id", "and run_id are both set, or none is", "name one of them")])
