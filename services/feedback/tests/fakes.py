"""The ports of feedback in memory."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from plimsoll_feedback.domain.operation import FailureCount, FailureCounts, Operation, OperationFilter, OperationId, Run, RunId, Window
from plimsoll_feedback.domain.paging import PageRequest
from plimsoll_feedback.domain.signal import IdempotencyKey, Signal
from plimsoll_feedback.errors import IdempotencyKeyReused


class FakeOperationStore:
    def __init__(self) -> None:
        self.operations: dict[tuple[str, OperationId], Operation] = {}
        self.runs: dict[tuple[str, RunId], Run] = {}

    async def record(self, operations: Sequence[Operation], runs: Sequence[Run]) -> None:
        for operation in operations:
            self.operations.setdefault((operation.tenant, operation.id), operation)
        for run in runs:
            self.runs.setdefault((run.tenant, run.id), run)

    async def has_run(self, tenant: str, run_id: RunId) -> bool:
        return (tenant, run_id) in self.runs

    async def has_operation(self, tenant: str, run_id: RunId, operation_id: OperationId) -> bool:
        found = self.operations.get((tenant, operation_id))
        return found is not None and found.run_id == run_id

    async def find(self, tenant: str, where: OperationFilter, page: PageRequest) -> Sequence[Operation]:
        newest_first = where.run_id is None
        found = [operation for operation in self.operations.values() if operation.tenant == tenant and _matches(operation, where)]
        found.sort(key=_place, reverse=newest_first)
        if page.after is not None:
            last = (page.after.at, page.after.id)
            found = [operation for operation in found if (_place(operation) < last if newest_first else _place(operation) > last)]
        return found[: page.size]

    async def count_failures(self, tenant: str, window: Window, agent: str | None) -> FailureCounts:
        inside = [
            operation
            for operation in self.operations.values()
            if operation.tenant == tenant and window.after <= operation.started_at < window.before and agent in {None, operation.agent}
        ]
        counts = _counts([operation for operation in inside if operation.failure is not None])
        return FailureCounts(counts=tuple(sorted(counts, key=lambda count: (-count.count, count.category))), operations=len(inside))


class FakeSignalStore:
    def __init__(self) -> None:
        self.signals: list[Signal] = []
        self.announced: list[Signal] = []
        self._by_key: dict[tuple[str, str], _Kept] = {}

    async def record(self, signal: Signal, key: IdempotencyKey | None) -> Signal:
        kept = None if key is None else self._by_key.get((signal.tenant, key.key))
        if kept is not None and key is not None:
            if kept.fingerprint != key.fingerprint:
                raise IdempotencyKeyReused
            return kept.signal
        self.signals.append(signal)
        self.announced.append(signal)
        if key is not None:
            self._by_key[signal.tenant, key.key] = _Kept(fingerprint=key.fingerprint, signal=signal)
        return signal

    async def find(self, tenant: str, run_id: RunId, page: PageRequest) -> Sequence[Signal]:
        found = [signal for signal in self.signals if signal.tenant == tenant and signal.run_id == run_id]
        found.sort(key=lambda signal: (signal.created_at, signal.id))
        if page.after is not None:
            found = [signal for signal in found if (signal.created_at, signal.id) > (page.after.at, page.after.id)]
        return found[: page.size]


@dataclass(frozen=True, slots=True)
class _Kept:
    fingerprint: str
    signal: Signal


def _place(operation: Operation) -> tuple[object, str]:
    return (operation.started_at, operation.id)


def _matches(operation: Operation, where: OperationFilter) -> bool:
    return (
        where.run_id in {None, operation.run_id}
        and where.agent in {None, operation.agent}
        and where.kind in {None, operation.kind}
        and (where.category is None or (operation.failure is not None and operation.failure.category is where.category))
        and (not where.failed_only or operation.failure is not None)
    )


def _counts(failed: Sequence[Operation]) -> Sequence[FailureCount]:
    counts = []
    for category in {operation.failure.category for operation in failed}:
        those = [operation for operation in failed if operation.failure.category is category]
        levels = Counter((operation.run_id or operation.id, operation.kind) for operation in those)
        subjects = {subject for subject, _ in levels}
        reasons = Counter(operation.failure.reason for operation in those)
        counts.append(
            FailureCount(
                category=category,
                count=sum(max(seen for (subject, _), seen in levels.items() if subject == one) for one in subjects),
                reasons=tuple(sorted(reasons, key=lambda reason: (-reasons[reason], reason))[:5]),
                last_at=max(operation.started_at for operation in those),
            )
        )
    return counts
