"""Operations and signals: what happened, where it failed, and what people and systems think of it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from plimsoll_runtime.clock import Clock
from plimsoll_runtime.errors import FieldProblem, PlimsollError
from plimsoll_runtime.ids import Ids

from plimsoll_feedback.domain.events import Event
from plimsoll_feedback.domain.observation import observe
from plimsoll_feedback.domain.operation import FailureCounts, Operation, OperationFilter, RunId, Window
from plimsoll_feedback.domain.paging import PAGE_SIZE_CAP, Page, PageRequest, Position, cut
from plimsoll_feedback.domain.signal import (
    IdempotencyKey,
    Signal,
    SignalDraft,
    SignalEntry,
    SignalId,
    fingerprint,
    problems_of,
    problems_of_key,
)
from plimsoll_feedback.errors import IdempotencyKeyReused, InvalidQuery, InvalidSignal, OperationNotFound, RunNotFound, TagAmbiguous
from plimsoll_feedback.ports import Decisions, Keyed, OperationStore, SignalStore, TraceStore

DEFAULT_WINDOW = timedelta(hours=24)
SIGNALS_CAP = 500


class FeedbackService:
    """Stores what happened, says where it failed, and keeps what people think of it."""

    def __init__(self, operations: OperationStore, signals: SignalStore, traces: TraceStore, clock: Clock, ids: Ids) -> None:
        self._operations = operations
        self._signals = signals
        self._traces = traces
        self._clock = clock
        self._ids = ids

    async def record_operations(self, events: Sequence[Event]) -> None:
        """Store what the events tell; events that were seen before change nothing."""
        seen = [observe(event) for event in events]
        operations = [one.operation for one in seen if one.operation is not None]
        runs = [one.run for one in seen if one.run is not None]
        decisions = Decisions(
            proposals=[one.proposal for one in seen if one.proposal is not None],
            signals=[one.signal for one in seen if one.signal is not None],
        )
        if operations or runs:
            await self._operations.record(operations, runs, decisions)

    async def list_operations(self, tenant: str, where: OperationFilter, page: PageRequest) -> Page[Operation]:
        """In order of time within a run, newest first across runs. Raises InvalidQuery."""
        check_size(page)
        found = await self._operations.find(tenant, where, replace(page, size=page.size + 1))
        return cut(found, page.size, lambda operation: Position(at=operation.started_at, id=operation.id))

    async def count_failures(self, tenant: str, after: datetime | None, before: datetime | None, agent: str | None) -> FailureCounts:
        """Failures by category from `after` to `before`; by default the last 24 hours. Raises InvalidQuery."""
        end = self._clock.now() if before is None else before
        start = end - DEFAULT_WINDOW if after is None else after
        if start >= end:
            problem = f"is {start.isoformat()}, not before {end.isoformat()}"
            raise InvalidQuery(problems=(FieldProblem("after_time", problem, "the window begins before it ends"),))
        return await self._operations.count_failures(tenant, Window(after=start, before=end), agent)

    async def record_signal(self, tenant: str, draft: SignalDraft, idempotency_key: str) -> Signal:
        """Record a signal about a run or one of its operations; the same key again returns what it recorded first.

        Raises InvalidSignal, RunNotFound, OperationNotFound, TagAmbiguous or IdempotencyKeyReused.
        """
        [result] = await self.record_signals(tenant, [SignalEntry(draft=draft, idempotency_key=idempotency_key)])
        if isinstance(result, PlimsollError):
            raise result
        return result

    async def record_signals(self, tenant: str, entries: Sequence[SignalEntry]) -> Sequence[Signal | PlimsollError]:
        """Record each that can be recorded, all of those in one transaction; in place of the others, why not. Raises InvalidSignal."""
        if len(entries) > SIGNALS_CAP:
            problem = FieldProblem("entries", f"has {len(entries)} signals", f"send at most {SIGNALS_CAP} at once")
            raise InvalidSignal(problems=(problem,))
        drafts = await self._judged(tenant, entries)
        keyed = [
            Keyed(signal=self._signal(tenant, draft), key=_key(entries[place], draft))
            for place, draft in enumerate(drafts)
            if isinstance(draft, SignalDraft)
        ]
        recorded = iter(await self._signals.record_all(tenant, keyed) if keyed else ())
        results: list[Signal | PlimsollError] = []
        for entry, draft in zip(entries, drafts, strict=True):
            result = draft if isinstance(draft, PlimsollError) else next(recorded)
            results.append(_reused(entry) if result is None else result)
        return results

    async def list_signals(self, tenant: str, run_id: RunId, page: PageRequest) -> Page[Signal]:
        """The signals of a run, oldest first. Raises InvalidQuery or RunNotFound."""
        check_size(page)
        if not run_id:
            raise InvalidQuery(problems=(FieldProblem("run_id", "is empty", "say whose signals to list"),))
        if not await self._operations.has_run(tenant, run_id):
            raise no_run(run_id)
        found = await self._signals.find(tenant, run_id, replace(page, size=page.size + 1))
        return cut(found, page.size, lambda signal: Position(at=signal.created_at, id=signal.id))

    async def _judged(self, tenant: str, entries: Sequence[SignalEntry]) -> Sequence[SignalDraft | PlimsollError]:
        """Each draft with the run that it means, or why it cannot be recorded."""
        judged: list[SignalDraft | PlimsollError] = []
        for entry in entries:
            problems = (*problems_of(entry.draft), *problems_of_key(entry.idempotency_key))
            judged.append(InvalidSignal(problems=problems) if problems else entry.draft)
        drafts = [one for one in judged if isinstance(one, SignalDraft)]
        tags = sorted({draft.tag for draft in drafts if draft.tag})
        bearers = await self._traces.tagged(tenant, tags) if tags else {}
        judged = [_placed(one, bearers) if isinstance(one, SignalDraft) else one for one in judged]
        subjects = {
            subject for one in judged if isinstance(one, SignalDraft) for subject in ((one.run_id, None), (one.run_id, one.operation_id))
        }
        known = await self._traces.known(tenant, list(subjects)) if subjects else frozenset()
        return [_existing(one, known) if isinstance(one, SignalDraft) else one for one in judged]

    def _signal(self, tenant: str, draft: SignalDraft) -> Signal:
        return Signal(
            id=SignalId(self._ids.new("sig")),
            tenant=tenant,
            run_id=draft.run_id,
            operation_id=draft.operation_id,
            value=draft.value,
            comment=draft.comment,
            source=draft.source,
            created_at=self._clock.now(),
            recorded_by=draft.recorded_by,
        )


def no_run(run_id: RunId) -> RunNotFound:
    return RunNotFound(f"no run {run_id} is known", remedy="check the id; a run that was submitted just now is known within a second")


def check_size(page: PageRequest) -> None:
    """Raises InvalidQuery."""
    if not 1 <= page.size <= PAGE_SIZE_CAP:
        raise InvalidQuery(problems=(FieldProblem("page_size", f"is {page.size}", f"use 1 to {PAGE_SIZE_CAP}, or 0 for the default"),))


def _key(entry: SignalEntry, draft: SignalDraft) -> IdempotencyKey | None:
    """Of what was asked for, not of the run that a tag led to."""
    return IdempotencyKey(key=entry.idempotency_key, fingerprint=fingerprint(entry.draft)) if entry.idempotency_key else None


def _reused(entry: SignalEntry) -> IdempotencyKeyReused:
    return IdempotencyKeyReused(f"idempotency key {entry.idempotency_key} recorded another signal", remedy="use a new key for a new signal")


def _placed(draft: SignalDraft, bearers: Mapping[str, Sequence[RunId]]) -> SignalDraft | PlimsollError:
    if not draft.tag:
        return draft
    match bearers.get(draft.tag, ()):
        case []:
            return RunNotFound(f"no run bears the tag {draft.tag}", remedy="tag the run before you send its outcome")
        case [only]:
            return replace(draft, run_id=only)
        case _:
            return TagAmbiguous(f"more than one run bears the tag {draft.tag}", remedy="use the run's id, or a tag of its own")


def _existing(draft: SignalDraft, known: frozenset[tuple[RunId, object]]) -> SignalDraft | PlimsollError:
    if (draft.run_id, None) not in known:
        return no_run(draft.run_id)
    if (draft.run_id, draft.operation_id) not in known:
        return OperationNotFound(
            f"run {draft.run_id} has no operation {draft.operation_id}", remedy="take the id from the list of the run's operations"
        )
    return draft
