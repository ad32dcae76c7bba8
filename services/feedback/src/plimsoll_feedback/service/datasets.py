"""Datasets: how they are set, and how they build themselves from what happened."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta

from plimsoll_runtime.clock import Clock
from plimsoll_runtime.errors import FieldProblem, NotFound, PlimsollError, unwrap
from plimsoll_runtime.ids import Ids
from plimsoll_runtime.json_types import JsonValue, dump_json
from plimsoll_runtime.logs import Log
from plimsoll_runtime.retry import pause

from plimsoll_feedback.domain.learning import deeds, likeness
from plimsoll_feedback.domain.learning.annotation import Annotation
from plimsoll_feedback.domain.learning.datasets import (
    BODY_CAP_CHARACTERS,
    Body,
    Candidate,
    Dataset,
    DatasetName,
    DatasetSpec,
    Example,
    ExampleId,
    ItemId,
    Lineage,
    Recorded,
    problems_of,
)
from plimsoll_feedback.domain.learning.parts import part_of
from plimsoll_feedback.domain.learning.redaction import redact
from plimsoll_feedback.domain.learning.rules import Subject, reasons
from plimsoll_feedback.domain.operation import OperationId, RunId
from plimsoll_feedback.domain.signal import Demonstrated, Judged, SignalDraft, Verdict
from plimsoll_feedback.errors import InvalidDataset, ItemClosed
from plimsoll_feedback.ports.learning import (
    AnnotationStore,
    DatasetStore,
    Item,
    ModelRouter,
    Outcome,
    Production,
    SignalRecorder,
    TrainingExamples,
)

ANNOTATORS = "annotators"
"""Source of the signals that agreed annotations become."""

_SCAN = 200
_OVERLAP = timedelta(seconds=10)  # for what committed after others that began later
_AT_ONCE = 8
_CLAIMS_CAP = 100
_LEASE_CAP_S = 86_400.0
_NAME_CAP = 256
_NONE = Body(prompt="", prompt_digest="", variables=None, asked=None, answer=None, task="")


@dataclass(frozen=True, slots=True, kw_only=True)
class Selected:
    """What a look at production brought."""

    selected: int = 0
    duplicates: int = 0
    lost: int = 0

    def plus(self, other: "Selected") -> "Selected":
        return Selected(selected=self.selected + other.selected, duplicates=self.duplicates + other.duplicates, lost=self.lost + other.lost)


class Datasets:
    """The verbs of datasets and of their annotators. `every_s` is how often its loop looks at production."""

    def __init__(
        self,
        store: DatasetStore,
        queue: AnnotationStore,
        training: TrainingExamples,
        production: Production,
        router: ModelRouter,
        clock: Clock,
        ids: Ids,
        signals: SignalRecorder,
    ) -> None:
        self._store = store
        self._queue = queue
        self._training = training
        self._production = production
        self._router = router
        self._clock = clock
        self._ids = ids
        self._signals = signals

    async def put(self, tenant: str, spec: DatasetSpec, by: str) -> Dataset:
        """Raises InvalidDataset or DatasetTaken."""
        if problems := tuple(problems_of(spec)):
            raise InvalidDataset(problems=problems)
        return await self._store.put(tenant, spec, self._clock.now(), deeds.dataset_put(tenant, spec, by))

    async def get(self, tenant: str, name: DatasetName) -> Dataset:
        """Raises DatasetNotFound."""
        return await self._store.get(tenant, name)

    async def list(self, tenant: str) -> Sequence[Dataset]:
        return await self._store.list(tenant)

    async def examples(self, tenant: str, name: DatasetName, version: int, after: str, limit: int) -> tuple[int, Sequence[Example]]:
        """The training part of a version, and which version that is; 0 is the present one. Raises DatasetNotFound or InvalidDataset."""
        present = (await self._store.get(tenant, name)).counts.version
        if not 0 <= version <= present:
            raise InvalidDataset(problems=(FieldProblem("version", f"is {version}", f"use 1 to {present}, or 0 for the present one"),))
        return version or present, await self._training.page(tenant, name, version or present, after, limit)

    async def delete(self, tenant: str, name: DatasetName, example_id: ExampleId, by: str) -> bool:
        """Whether there was one. Raises DatasetNotFound."""
        await self._store.get(tenant, name)
        return await self._queue.delete(tenant, name, example_id, deeds.example_deleted(tenant, name, example_id, by))

    async def claim(self, tenant: str, name: DatasetName, annotator: str, limit: int, lease_s: float) -> Sequence[Item]:
        """Raises DatasetNotFound or InvalidDataset."""
        _check_name("annotator", annotator)
        if not 1 <= limit <= _CLAIMS_CAP:
            raise InvalidDataset(problems=(FieldProblem("limit", f"is {limit}", f"use 1 to {_CLAIMS_CAP}, or 0 for 10"),))
        if not 0 < lease_s <= _LEASE_CAP_S:
            raise InvalidDataset(problems=(FieldProblem("lease", f"is {lease_s:g} s", "use up to a day"),))
        await self._store.get(tenant, name)
        return await self._queue.claim(tenant, name, annotator, limit, self._clock.now() + timedelta(seconds=lease_s))

    async def annotate(self, tenant: str, item_id: ItemId, annotator: str, expected: JsonValue) -> Outcome:
        """Raises InvalidDataset, ItemNotFound or ItemClosed."""
        _check_name("annotator", annotator)
        if len(dump_json(expected)) > BODY_CAP_CHARACTERS:
            raise InvalidDataset(problems=(FieldProblem("expected", "is too long", f"use at most {BODY_CAP_CHARACTERS} characters"),))
        said = Annotation(annotator=annotator, expected=redact(expected), at=self._clock.now())
        outcome = await self._queue.annotate(tenant, item_id, said, None)
        if outcome.item is not None:
            await self._tell(tenant, outcome.item, outcome.expected)
        return outcome

    async def discard(self, tenant: str, item_id: ItemId, annotator: str) -> Outcome:
        """Say that the item is no example; it takes as many to agree as an example does. Raises InvalidDataset, ItemNotFound or ItemClosed."""
        _check_name("annotator", annotator)
        said = Annotation(annotator=annotator, expected=None, at=self._clock.now(), discards=True)
        return await self._queue.annotate(tenant, item_id, said, None)

    async def disputed(self, tenant: str, name: DatasetName) -> Sequence[Item]:
        """Raises DatasetNotFound."""
        await self._store.get(tenant, name)
        return await self._queue.disputed(tenant, name)

    async def select(self, tenant: str, name: DatasetName) -> Selected:
        """Look at what came since the last time, and take what the rules ask for. Raises DatasetNotFound."""
        spec = (await self._store.get(tenant, name)).spec
        since = await self._store.scanned_to(tenant, name) - _OVERLAP
        total, after, more = Selected(), None, True
        while more:
            scan = await self._production.scan(tenant, spec, since, after, _SCAN)
            total = total.plus(await self._take(tenant, spec, scan.subjects))
            await self._store.scanned(tenant, name, scan.seen_to)
            after, more = scan.last, scan.last is not None
        return total

    async def _take(self, tenant: str, spec: DatasetSpec, subjects: Sequence[Subject]) -> Selected:
        known = await self._store.known(tenant, spec.name, [one.operation_id for one in subjects])
        wanted = [one for one in subjects if one.operation_id not in known and reasons(spec.rules, one)]
        bodies = await self._bodies(tenant, wanted)
        candidates = [self._candidate(tenant, spec, one, bodies.get(one.operation_id)) for one in wanted]
        found = [one for one in candidates if one.body is not _NONE]
        lost = [one for one in candidates if one.body is _NONE]
        taken = set(await self._store.add(found, lost))
        items = known | {one.lineage.operation_id: one.id for one in found if one.id in taken}
        for subject in subjects:
            if subject.operation_id in items:
                await self._hear(tenant, spec, items[subject.operation_id], subject)
        return Selected(selected=len(wanted), duplicates=len(found) - len(taken), lost=len(lost))

    async def expire(self, tenant: str, name: DatasetName) -> int:
        """Delete what has been kept for as long as it may be."""
        kept_s = (await self._store.get(tenant, name)).spec.retention_s
        return 0 if kept_s is None else await self._queue.expire(tenant, name, self._clock.now() - timedelta(seconds=kept_s))

    async def _tell(self, tenant: str, item: Item, expected: JsonValue) -> None:
        """What annotators agreed on is a verdict on the answer, or a correction of it: monitors and scoreboards go by it."""
        lineage = item.lineage
        if not lineage.run_id:
            return
        was_right = likeness.content_digest(expected) == likeness.content_digest(item.body.answer)
        draft = SignalDraft(
            run_id=RunId(lineage.run_id),
            operation_id=OperationId(lineage.operation_id),
            value=Judged(verdict=Verdict.GOOD) if was_right else Demonstrated(answer=expected),
            comment="",
            source=ANNOTATORS,
        )
        with suppress(NotFound):  # what it is about may be kept for less long than the item
            await self._signals.record_signal(tenant, draft, f"annotation/{item.id}")

    async def _hear(self, tenant: str, spec: DatasetSpec, item: ItemId, subject: Subject) -> None:
        """Corrections in production are annotations; what comes when the item is closed changes nothing."""
        for one in subject.corrections:
            if one.by == ANNOTATORS:
                continue
            said = Annotation(annotator=one.by, expected=redact(one.answer, spec.redactions), at=one.at)
            try:
                await self._queue.annotate(tenant, item, said, one.signal_id)
            except ItemClosed:
                return

    async def _bodies(self, tenant: str, subjects: Sequence[Subject]) -> Mapping[str, Body]:
        gate = asyncio.Semaphore(_AT_ONCE)

        async def fetched(subject: Subject) -> Body | None:
            async with gate:
                return await self._router.body(tenant, subject.call_id) if subject.call_id else None

        try:
            async with asyncio.TaskGroup() as group:
                tasks = {one.operation_id: group.create_task(fetched(one)) for one in subjects}
        except BaseExceptionGroup as raised:
            error = unwrap(raised)
            raise error from raised
        return {operation_id: body for operation_id, task in tasks.items() if (body := task.result()) is not None}

    def _candidate(self, tenant: str, spec: DatasetSpec, subject: Subject, body: Body | None) -> Candidate:
        """Redacted before anybody keeps it; without a body, or with one that is too large, only noted as seen."""
        if body is not None and len(dump_json([body.variables, body.asked, body.answer])) > BODY_CAP_CHARACTERS:
            body = None
        kept = _NONE if body is None else _redacted(body, spec)
        return Candidate(
            id=ItemId(self._ids.new("item")),
            tenant=tenant,
            dataset=spec.name,
            part=part_of(tenant, subject.conversation),
            body=kept,
            lineage=Lineage(
                run_id=subject.run_id,
                operation_id=subject.operation_id,
                call_id=subject.call_id,
                prompt_digest=subject.prompt_digest,
                agent=subject.agent,
                conversation=subject.conversation,
                reasons=reasons(spec.rules, subject),
                signal_ids=subject.signal_ids,
                confidence=subject.confidence,
            ),
            content_digest=likeness.content_digest(_question(kept)),
            shingles=likeness.shingles(_question(kept)),
            created_at=self._clock.now(),
        )


class Selection:
    """The loop that looks at production for every dataset of every tenant."""

    def __init__(self, datasets: Datasets, store: DatasetStore, log: Log, *, every_s: float) -> None:
        self._datasets = datasets
        self._store = store
        self._log = log
        self._every_s = every_s

    async def run(self, stop: asyncio.Event) -> None:
        """One dataset that fails does not keep the others from being looked at."""
        while not stop.is_set():
            try:
                names = await self._store.everywhere()
            except PlimsollError as error:
                self._log.warning("selection.interrupted", {"reason": error.reason})
                names = []
            for tenant, name in names:
                await self._look(tenant, name)
            await pause(self._every_s, stop)

    async def _look(self, tenant: str, name: DatasetName) -> None:
        try:
            await self._datasets.select(tenant, name)
            await self._datasets.expire(tenant, name)
        except PlimsollError as error:
            self._log.warning("selection.failed", {"tenant": tenant, "dataset": name, "reason": error.reason})


def _redacted(body: Body, spec: DatasetSpec) -> Body:
    asked = body.asked
    if isinstance(asked, dict) and "messages" in asked:
        asked = asked | {"messages": redact(asked["messages"], spec.redactions)}
    return replace(
        body,
        variables=redact(body.variables, spec.redactions),
        asked=asked,
        answer=redact(body.answer, spec.redactions),
        recorded=tuple(
            Recorded(
                tool=one.tool,
                arguments=redact(one.arguments, spec.redactions),
                result=redact(one.result, spec.redactions),
                is_error=one.is_error,
            )
            for one in body.recorded
        ),
    )


def _question(body: Body) -> JsonValue:
    """What makes two calls the same question: the values of the variables, and the conversation so far."""
    asked = body.asked.get("messages") if isinstance(body.asked, dict) else None
    told: list[JsonValue] = [*(body.variables.values() if isinstance(body.variables, dict) else [body.variables])]
    texts = [one if isinstance(one, str) else dump_json(one) for one in (*told, *([asked] if asked else []))]
    return "\n".join(texts)


def _check_name(field: str, name: str) -> None:
    if not name or len(name) > _NAME_CAP or "\x00" in name:
        raise InvalidDataset(problems=(FieldProblem(field, "is empty, too long, or holds a NUL character", "say who annotates"),))
