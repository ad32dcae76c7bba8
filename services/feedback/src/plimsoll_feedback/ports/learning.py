"""What learning from production needs: stores whose methods are whole transactions, and the model-router."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from plimsoll_runtime.audit import AuditRecord
from plimsoll_runtime.failures import Failure
from plimsoll_runtime.json_types import JsonValue

from plimsoll_feedback.domain.learning.annotation import Annotation
from plimsoll_feedback.domain.learning.datasets import (
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
)
from plimsoll_feedback.domain.learning.evaluations import Evaluation, EvaluationId, Result
from plimsoll_feedback.domain.learning.proposing import PromptVersion, Shown
from plimsoll_feedback.domain.learning.reports import Report, SubjectKind
from plimsoll_feedback.domain.learning.rules import Subject
from plimsoll_feedback.domain.paging import Position
from plimsoll_feedback.domain.signal import Signal, SignalDraft


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """Calls that something happened to, oldest first; `last` is where the next page begins, None on the last one.

    `seen_to` is until when all were seen.
    """

    subjects: tuple[Subject, ...]
    seen_to: datetime
    last: Position | None = None


class Production(Protocol):
    """What happened, as selection looks at it."""

    async def scan(self, tenant: str, spec: DatasetSpec, since: datetime, after: Position | None, limit: int) -> Scan:
        """Calls of the dataset's prompt that arrived, or were judged, since then."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A selected call as annotators see it."""

    id: ItemId
    tenant: str
    dataset: DatasetName
    body: Body
    lineage: Lineage
    status: str
    claimed_until: datetime | None = None
    annotations: tuple[Annotation, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What an annotation came to; with the item and the right answer once enough agreed."""

    status: str
    example_id: str = ""
    item: Item | None = None
    expected: JsonValue = None


class DatasetStore(Protocol):
    """Keeps datasets, what they selected, and what annotators said. It writes both parts and gives none of them out."""

    async def put(self, tenant: str, spec: DatasetSpec, at: datetime, told: AuditRecord) -> Dataset:
        """Make it, or change how it selects, and tell of it in the audit log. Raises DatasetTaken when its name selects from another prompt."""
        ...

    async def get(self, tenant: str, name: DatasetName) -> Dataset:
        """Raises DatasetNotFound."""
        ...

    async def list(self, tenant: str) -> Sequence[Dataset]: ...

    async def everywhere(self) -> Sequence[tuple[str, DatasetName]]:
        """Every tenant's datasets, by name."""
        ...

    async def scanned_to(self, tenant: str, name: DatasetName) -> datetime: ...

    async def known(self, tenant: str, name: DatasetName, operation_ids: Sequence[str]) -> dict[str, ItemId]:
        """Which of these calls were looked at before."""
        ...

    async def add(self, candidates: Sequence[Candidate], lost: Sequence[Candidate]) -> Sequence[ItemId]:
        """Take the candidates that say something new; what is nearly the same as another is kept as a duplicate, without its body."""
        ...

    async def scanned(self, tenant: str, name: DatasetName, to: datetime) -> None: ...


class AnnotationStore(Protocol):
    """The queue of annotators, and the examples that come of it."""

    async def claim(self, tenant: str, name: DatasetName, annotator: str, limit: int, until: datetime) -> Sequence[Item]:
        """Items that nobody else has and the annotator has not seen, oldest first."""
        ...

    async def annotate(self, tenant: str, item_id: ItemId, annotation: Annotation, signal_id: str | None) -> Outcome:
        """Keep what the annotator says; when enough agree, make the example, or discard the item and tell of it in the audit log.

        Raises ItemNotFound or ItemClosed.
        """
        ...

    async def disputed(self, tenant: str, name: DatasetName) -> Sequence[Item]: ...

    async def delete(self, tenant: str, name: DatasetName, example_id: ExampleId, told: AuditRecord) -> bool:
        """Take it out of later versions, remove what it says wherever that is kept, and tell of it; False when there is none."""
        ...

    async def expire(self, tenant: str, name: DatasetName, before: datetime) -> int:
        """Delete what is older."""
        ...


class AuditLog(Protocol):
    """Keeps what people did."""

    async def tell(self, record: AuditRecord) -> None: ...


class SignalRecorder(Protocol):
    """Records what somebody said of an operation."""

    async def record_signal(self, tenant: str, draft: SignalDraft, idempotency_key: str) -> Signal:
        """The same key again returns what it recorded first. Raises RunNotFound or OperationNotFound."""
        ...


class TrainingExamples(Protocol):
    """The part to learn from. Nothing that learns has another way to examples."""

    async def page(self, tenant: str, name: DatasetName, version: int, after: str, limit: int) -> Sequence[Example]:
        """Of a version, in order of their ids."""
        ...


class HeldOutExamples(Protocol):
    """The part that evaluations ask; only they have it."""

    async def all(self, tenant: str, name: DatasetName, version: int) -> Sequence[Example]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """An evaluation that this process carries out; a higher epoch always wins."""

    evaluation: Evaluation
    epoch: int


class EvaluationStore(Protocol):
    """Keeps evaluations, their results one by one, and the reports."""

    async def start(self, evaluation: Evaluation, key: str) -> Evaluation:
        """Keep it, or return the one that was started under the key. Raises EvaluationKeyReused when that is another one."""
        ...

    async def get(self, tenant: str, evaluation_id: EvaluationId) -> Evaluation:
        """Raises EvaluationNotFound."""
        ...

    async def list(self, tenant: str, dataset: str, limit: int) -> Sequence[Evaluation]: ...

    async def cancel(self, tenant: str, evaluation_id: EvaluationId) -> bool: ...

    async def claim(self, lease_s: float) -> Held | None:
        """The oldest that nobody carries out now."""
        ...

    async def renew(self, held: Held, lease_s: float) -> bool:
        """False when it was cancelled or another process has it."""
        ...

    async def release(self, held: Held) -> None:
        """Leave it to another process, or for later."""
        ...

    async def begin(self, held: Held, wanted: int) -> None: ...

    async def results(self, held: Held) -> Sequence[Result]: ...

    async def add(self, held: Held, results: Sequence[Result]) -> bool:
        """False when it is not ours any more: nothing was kept."""
        ...

    async def finish(self, held: Held, report: Report) -> bool:
        """Keep the report and end the evaluation, together."""
        ...

    async def fail(self, held: Held, problem: str) -> None: ...

    async def report(self, tenant: str, digest: str) -> Report:
        """Raises ReportNotFound."""
        ...


NOTHING_ASKED: Final = Body(prompt="", prompt_digest="", variables=None, asked=None, answer=None, task="")


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """A recorded question, to be asked again.

    Attributes:
    key            a repeat under it costs nothing
    prompt_digest  the version that is asked
    model          asks for this one; `model_digest` for exactly this version of an entry; empty for the task's route
    more           messages behind the recorded ones, as the recording's own JSON
    """

    key: str = ""
    body: Body = NOTHING_ASKED
    prompt: str = ""
    prompt_digest: str = ""
    model: str = ""
    model_digest: str = ""
    more: tuple[JsonValue, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolAsked:
    call_id: str
    tool: str
    arguments: JsonValue


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What came of a replay."""

    value: JsonValue
    message: JsonValue = None
    tools: tuple[ToolAsked, ...] = ()
    cost_micros: int = 0
    latency_s: float = 0.0
    failure: Failure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelName:
    """A model that routes can name."""

    provider: str
    name: str
    rehearsal: bool
    available: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteCandidate:
    model: str
    quality: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteVersion:
    """A route as the registry has it, as far as it is of interest here."""

    name: str
    digest: str
    candidates: tuple[RouteCandidate, ...]


class ToolAnswers(Protocol):
    """Makes the message that answers tool calls, by their ids, as the recording's own JSON."""

    def __call__(self, results: Sequence[tuple[str, Recorded]], /) -> JsonValue: ...


class ModelRouter(Protocol):
    """The model-router: bodies of calls, replays, and the registry. Raises what it refuses, with its own reasons."""

    async def body(self, tenant: str, call_id: str) -> Body | None:
        """None when the router does not keep it any more."""
        ...

    async def replay(self, tenant: str, replay: Replay) -> Answered: ...

    async def ask(self, tenant: str, prompt: str, label: str, variables: JsonValue, key: str) -> Answered:
        """A judge's question, which is answered with a score."""
        ...

    async def write(self, tenant: str, prompt: str, label: str, variables: JsonValue, key: str) -> str | Failure:
        """A question that a real model answers with a text that it brought to its end; what kept it from that otherwise."""
        ...

    async def digest_of(self, tenant: str, kind: SubjectKind, name: str, label: str) -> str:
        """Digest of the version that the label points at; empty when there is none."""
        ...

    async def has(self, tenant: str, kind: SubjectKind, name: str, digest: str) -> bool: ...

    async def prompt(self, tenant: str, name: str, digest: str) -> PromptVersion: ...

    async def register_prompt(
        self, tenant: str, prompt: PromptVersion, examples: Sequence[Shown], system: str, labels: Sequence[str]
    ) -> str:
        """Digest of the version with these examples and this system text."""
        ...

    async def move_label(self, tenant: str, kind: SubjectKind, name: str, digest: str, label: str, report_digest: str) -> bool: ...

    async def roll_back(self, tenant: str, kind: SubjectKind, name: str, label: str, reason: str) -> None: ...

    async def models(self, tenant: str) -> Sequence[ModelName]: ...

    async def route(self, tenant: str, name: str, *, label: str = "", digest: str = "") -> RouteVersion | None: ...

    async def register_route(self, tenant: str, name: str, present: RouteVersion | None, candidates: Sequence[RouteCandidate]) -> str:
        """Digest of the version that is as the present one but for its candidates."""
        ...
