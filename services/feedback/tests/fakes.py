"""The ports of feedback in memory."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from plimsoll_feedback.domain.operation import FailureCount, FailureCounts, Operation, OperationFilter, OperationId, Run, RunId, Window
from plimsoll_feedback.domain.paging import PageRequest
from plimsoll_feedback.domain.signal import IdempotencyKey, Signal
from plimsoll_feedback.domain.trace import (
    TAGS_CAP,
    Frame,
    Glimpse,
    Trace,
    TraceEntry,
    TraceFilter,
    TracePage,
    TraceStatus,
    depth_of,
    glimpses,
    parents,
)
from plimsoll_feedback.errors import IdempotencyKeyReused, TooManyTags
from plimsoll_feedback.ports import Keyed
from plimsoll_feedback.ports.operations import NONE, Decisions
from plimsoll_feedback.ports.traces import Subject
from plimsoll_runtime.json_types import JsonObject
from plimsoll_runtime.usage import Usage


class FakeOperationStore:
    def __init__(self) -> None:
        self.operations: dict[tuple[str, OperationId], Operation] = {}
        self.runs: dict[tuple[str, RunId], Run] = {}
        self.proposals: dict[tuple[str, RunId, str], JsonObject] = {}
        self.decided: dict[tuple[str, str], Signal] = {}

    async def record(self, operations: Sequence[Operation], runs: Sequence[Run], decisions: Decisions = NONE) -> None:
        self.proposals |= {(one.tenant, one.run_id, one.approval_id): one.context for one in decisions.proposals}
        for signal in decisions.signals:
            self.decided.setdefault((signal.tenant, signal.id), signal)
        for operation in operations:
            self.operations.setdefault((operation.tenant, operation.id), operation)
        for run in runs:
            known = self.runs.get((run.tenant, run.id))
            if known is None or run.started_at < known.started_at:
                self.runs[run.tenant, run.id] = run

    async def has_run(self, tenant: str, run_id: RunId) -> bool:
        return (tenant, run_id) in self.runs

    async def has_operation(self, tenant: str, run_id: RunId, operation_id: OperationId) -> bool:
        found = self.operations.get((tenant, operation_id))
        return found is not None and found.run_id == run_id

    async def get(self, tenant: str, run_id: RunId, operation_id: OperationId) -> Operation | None:
        found = self.operations.get((tenant, operation_id))
        return found if found is not None and found.run_id == run_id else None

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

    async def record_all(self, tenant: str, signals: Sequence[Keyed]) -> Sequence[Signal | None]:
        results: list[Signal | None] = []
        for one in signals:
            try:
                results.append(await self.record(one.signal, one.key))
            except IdempotencyKeyReused:
                results.append(None)
        return results

    async def find(self, tenant: str, run_id: RunId, page: PageRequest) -> Sequence[Signal]:
        found = [signal for signal in self.signals if signal.tenant == tenant and signal.run_id == run_id]
        found.sort(key=lambda signal: (signal.created_at, signal.id))
        if page.after is not None:
            found = [signal for signal in found if (signal.created_at, signal.id) > (page.after.at, page.after.id)]
        return found[: page.size]


class FakeTraceStore:
    """Reads what a FakeOperationStore holds; the words of a run are those of its glimpse."""

    def __init__(self, operations: FakeOperationStore) -> None:
        self._operations = operations
        self.tags: dict[tuple[str, RunId], set[str]] = {}

    async def find(self, tenant: str, where: TraceFilter, page: PageRequest) -> Sequence[Trace]:
        found = [trace for trace in self._all(tenant) if self._matches(trace, where)]
        found.sort(key=lambda trace: (trace.started_at, trace.run_id), reverse=True)
        if page.after is not None:
            found = [trace for trace in found if (trace.started_at, trace.run_id) < (page.after.at, page.after.id)]
        return found[: page.size]

    async def get(self, tenant: str, run_id: RunId, page: PageRequest) -> TracePage | None:
        trace = next((one for one in self._all(tenant) if one.run_id == run_id), None)
        if trace is None:
            return None
        everything = await self._operations.find(tenant, OperationFilter(run_id=run_id), PageRequest(size=10_000))
        shown = await self._operations.find(tenant, OperationFilter(run_id=run_id), page)
        above = parents([Frame(id=one.id, kind=one.kind, step=one.step, node=one.node) for one in everything])
        entries = (TraceEntry(operation=one, parent=above.get(one.id, OperationId("")), depth=depth_of(one.kind)) for one in shown)
        children = [one for one in self._all(tenant) if one.parent_run_id == run_id]
        return TracePage(trace=trace, entries=tuple(entries), children=tuple(sorted(children, key=lambda one: one.started_at)))

    async def annotate(self, tenant: str, run_id: RunId, add: Sequence[str], remove: Sequence[str]) -> Trace | None:
        if (tenant, run_id) not in self._operations.runs:
            return None
        tags = (self.tags.get((tenant, run_id), set()) - {*remove}) | {*add}
        if len(tags) > TAGS_CAP:
            raise TooManyTags
        self.tags[tenant, run_id] = tags
        return next(one for one in self._all(tenant) if one.run_id == run_id)

    async def tagged(self, tenant: str, tags: Sequence[str]) -> Mapping[str, Sequence[RunId]]:
        return {tag: sorted(run for (owner, run), borne in self.tags.items() if owner == tenant and tag in borne)[:2] for tag in tags}

    async def known(self, tenant: str, subjects: Sequence[Subject]) -> frozenset[Subject]:
        held = self._operations
        operations = {(one.run_id, one.id) for one in held.operations.values() if one.tenant == tenant}
        return frozenset(one for one in subjects if ((tenant, one[0]) in held.runs if one[1] is None else one in operations))

    def _all(self, tenant: str) -> list[Trace]:
        held = self._operations
        seen = glimpses(
            [one for one in held.operations.values() if one.tenant == tenant], [one for one in held.runs.values() if one.tenant == tenant]
        )
        return [self._trace(tenant, glimpse) for glimpse in seen if glimpse.journal]

    def _trace(self, tenant: str, glimpse: Glimpse) -> Trace:
        end = glimpse.finish
        return Trace(
            run_id=glimpse.run.id,
            tenant=tenant,
            agent=glimpse.run.agent,
            agent_version=glimpse.run.agent_version,
            status=end.status if end else TraceStatus.RUNNING,
            started_at=glimpse.run.started_at,
            finished_at=end.finished_at if end else None,
            duration_s=end.duration_s if end else None,
            usage=replace(end.usage, cached_input_tokens=0, reasoning_tokens=0) if end else Usage(),
            steps=end.steps if end else 0,
            category=end.category if end else None,
            reason=end.reason if end else "",
            categories=glimpse.categories,
            tags=tuple(sorted(self.tags.get((tenant, glimpse.run.id), ()))),
            parent_run_id=glimpse.run.parent_run_id,
            thread_id=glimpse.run.thread_id,
        )

    def _words(self, trace: Trace) -> set[str]:
        mine = [one for one in self._operations.operations.values() if (one.tenant, one.run_id) == (trace.tenant, trace.run_id)]
        text = " ".join([glimpse.words for glimpse in glimpses(mine, [])] + list(trace.tags))
        return set(re.findall(r"[a-z0-9]+", text.lower()))

    def _matches(self, trace: Trace, where: TraceFilter) -> bool:
        return (
            where.agent in {None, trace.agent}
            and where.agent_version in {None, trace.agent_version}
            and where.status in {None, trace.status}
            and where.thread_id in {None, trace.thread_id}
            and where.parent_run_id in {None, trace.parent_run_id}
            and (where.category is None or where.category in trace.categories)
            and {*where.tags} <= {*trace.tags}
            and (where.after is None or trace.started_at >= where.after)
            and (where.before is None or trace.started_at < where.before)
            and (where.min_cost_micros is None or trace.usage.cost_micros >= where.min_cost_micros)
            and (where.min_duration_s is None or (trace.duration_s or 0) >= where.min_duration_s)
            and (where.text is None or set(re.findall(r"[a-z0-9]+", where.text.lower())) <= self._words(trace))
        )


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
        and where.agent_version in {None, operation.agent_version}
        and where.name in {None, operation.name}
        and where.prompt_digest in {None, operation.facts.get("prompt_digest")}
        and (where.after is None or operation.started_at >= where.after)
        and (where.before is None or operation.started_at < where.before)
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
