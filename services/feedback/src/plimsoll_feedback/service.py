"""The verbs of feedback."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from plimsoll_runtime.clock import Clock
from plimsoll_runtime.errors import FieldProblem
from plimsoll_runtime.ids import Ids

from plimsoll_feedback.domain.events import Event
from plimsoll_feedback.domain.observation import observe
from plimsoll_feedback.domain.operation import FailureCounts, Operation, OperationFilter, RunId, Window
from plimsoll_feedback.domain.paging import PAGE_SIZE_CAP, Page, PageRequest, Position, cut
from plimsoll_feedback.domain.signal import IdempotencyKey, Signal, SignalDraft, SignalId, fingerprint, problems_of, problems_of_key
from plimsoll_feedback.errors import InvalidQuery, InvalidSignal, OperationNotFound, RunNotFound
from plimsoll_feedback.ports import OperationStore, SignalStore

DEFAULT_WINDOW = timedelta(hours=24)


class FeedbackService:
    """Stores what happened, says where it failed, and keeps what people think of it."""

    def __init__(self, operations: OperationStore, signals: SignalStore, clock: Clock, ids: Ids) -> None:
        self._operations = operations
        self._signals = signals
        self._clock = clock
        self._ids = ids

    async def record_operations(self, events: Sequence[Event]) -> None:
        """Store what the events tell; events that were seen before change nothing."""
        seen = [observe(event) for event in events]
        operations = [one.operation for one in seen if one.operation is not None]
        runs = [one.run for one in seen if one.run is not None]
        if operations or runs:
            await self._operations.record(operations, runs)

    async def list_operations(self, tenant: str, where: OperationFilter, page: PageRequest) -> Page[Operation]:
        """In order of time within a run, newest first across runs. Raises InvalidQuery."""
        _check_size(page)
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

        Raises InvalidSignal, RunNotFound, OperationNotFound or IdempotencyKeyReused.
        """
        if problems := (*problems_of(draft), *problems_of_key(idempotency_key)):
            raise InvalidSignal(problems=problems)
        await self._check_subject(tenant, draft)
        signal = Signal(
            id=SignalId(self._ids.new("sig")),
            tenant=tenant,
            run_id=draft.run_id,
            operation_id=draft.operation_id,
            value=draft.value,
            comment=draft.comment,
            source=draft.source,
            created_at=self._clock.now(),
        )
        key = IdempotencyKey(key=idempotency_key, fingerprint=fingerprint(draft)) if idempotency_key else None
        return await self._signals.record(signal, key)

    async def list_signals(self, tenant: str, run_id: RunId, page: PageRequest) -> Page[Signal]:
        """The signals of a run, oldest first. Raises InvalidQuery or RunNotFound."""
        _check_size(page)
        if not run_id:
            raise InvalidQuery(problems=(FieldProblem("run_id", "is empty", "say whose signals to list"),))
        if not await self._operations.has_run(tenant, run_id):
            raise _no_run(run_id)
        found = await self._signals.find(tenant, run_id, replace(page, size=page.size + 1))
        return cut(found, page.size, lambda signal: Position(at=signal.created_at, id=signal.id))

    async def _check_subject(self, tenant: str, draft: SignalDraft) -> None:
        if not await self._operations.has_run(tenant, draft.run_id):
            raise _no_run(draft.run_id)
        wanted = draft.operation_id
        if wanted is not None and not await self._operations.has_operation(tenant, draft.run_id, wanted):
            raise OperationNotFound(
                f"run {draft.run_id} has no operation {wanted}", remedy="take the id from the list of the run's operations"
            )


def _no_run(run_id: RunId) -> RunNotFound:
    return RunNotFound(f"no run {run_id} is known", remedy="check the id; a run that was submitted just now is known within a second")


def _check_size(page: PageRequest) -> None:
    if not 1 <= page.size <= PAGE_SIZE_CAP:
        raise InvalidQuery(problems=(FieldProblem("page_size", f"is {page.size}", f"use 1 to {PAGE_SIZE_CAP}, or 0 for the default"),))
