"""Traces: lists of runs, the timeline of one, and what people note on it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from plimsoll_runtime.errors import FieldProblem

from plimsoll_feedback.domain.operation import RunId
from plimsoll_feedback.domain.paging import Page, PageRequest, Position, cut
from plimsoll_feedback.domain.signal import Remarked, SignalDraft, problems_of
from plimsoll_feedback.domain.trace import Trace, TraceFilter, TracePage, problems_of_tags
from plimsoll_feedback.errors import InvalidQuery
from plimsoll_feedback.ports import TraceStore
from plimsoll_feedback.service.feedback import FeedbackService, check_size, no_run


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """What somebody notes on a run."""

    run_id: RunId
    add_tags: Sequence[str]
    remove_tags: Sequence[str]
    comment: str
    source: str


class Traces:
    """Shows runs. Comments are signals; tags belong to the run."""

    def __init__(self, traces: TraceStore, feedback: FeedbackService) -> None:
        self._traces = traces
        self._feedback = feedback

    async def list_traces(self, tenant: str, where: TraceFilter, page: PageRequest) -> Page[Trace]:
        """Newest first. Raises InvalidQuery."""
        check_size(page)
        if where.after is not None and where.before is not None and where.after >= where.before:
            problem = f"is {where.after.isoformat()}, not before {where.before.isoformat()}"
            raise InvalidQuery(problems=(FieldProblem("after_time", problem, "the window begins before it ends"),))
        found = await self._traces.find(tenant, where, replace(page, size=page.size + 1))
        return cut(found, page.size, lambda trace: Position(at=trace.started_at, id=trace.run_id))

    async def get_trace(self, tenant: str, run_id: RunId, page: PageRequest) -> tuple[TracePage, Position | None]:
        """One page of a run's timeline, and where the next one begins. Raises InvalidQuery or RunNotFound."""
        check_size(page)
        found = await self._traces.get(tenant, run_id, replace(page, size=page.size + 1))
        if found is None:
            raise no_run(run_id)
        cut_off = cut(found.entries, page.size, lambda entry: Position(at=entry.operation.started_at, id=entry.operation.id))
        return replace(found, entries=cut_off.rows), cut_off.next

    async def annotate(self, tenant: str, note: Annotation) -> Trace:
        """Change the tags, then record the comment. Raises InvalidQuery, InvalidSignal, RunNotFound or TooManyTags."""
        remark = SignalDraft(
            run_id=note.run_id, operation_id=None, value=Remarked(), comment=note.comment, source=note.source, recorded_by=note.source
        )
        problems = (*problems_of_tags(note.add_tags, "add_tags"), *problems_of_tags(note.remove_tags, "remove_tags"))
        problems += problems_of(remark) if note.comment else ()
        if not (note.add_tags or note.remove_tags or note.comment):
            problems = (FieldProblem("add_tags", "is empty, as is all else", "give a tag or a comment"),)
        if problems:
            raise InvalidQuery(problems=problems)
        trace = await self._traces.annotate(tenant, note.run_id, note.add_tags, note.remove_tags)
        if trace is None:
            raise no_run(note.run_id)
        if note.comment:
            await self._feedback.record_signal(tenant, remark, "")
        return trace
