"""What the workers of a simulation reach: the store through a gate, tools and models that answer by what they are asked."""

import zlib
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, TypeVar

from orchestrator_fakes import FakeMemory, FakeModels, FakeTools, answer
from orchestrator_history import History, Row, Written
from orchestrator_model_ledger import Ledger
from orchestrator_model_store import FakeClaimStore
from plimsoll_graph.graph import Graph
from plimsoll_orchestrator.domain.journal import ToolCall, kind_of
from plimsoll_orchestrator.domain.letters import Received
from plimsoll_orchestrator.domain.snapshot import decode_run
from plimsoll_orchestrator.ports import (
    AgentVersion,
    Answer,
    Append,
    Claimed,
    Committed,
    Grant,
    Hear,
    Kept,
    NoAnswer,
    Note,
    Passages,
    Question,
    Refused,
    Remembered,
    Returned,
    ToolDefinition,
    ToolOutcome,
)
from plimsoll_runtime.clock import Clock
from plimsoll_runtime.errors import Conflict
from plimsoll_runtime.failures import Category, Failure
from plimsoll_runtime.json_types import JsonObject, canonical
from plimsoll_runtime.usage import Usage
from plimsoll_runtime.work import WorkContext

T = TypeVar("T")
CHILD = """
agent: child
input: {type: object, properties: {text: {type: string}}}
state: {type: object, properties: {text: {type: string}, got: {type: object}}}
start: a
output: {text: state.text}
nodes:
  a: {tool: {name: fetch, arguments: {text: state.text}}, save: {got: "{'text': state.text}"}, on_failure: {any: b}, next: b}
  b: {set: {text: "state.text + '.'"}, next: end}
"""


class Fault(StrEnum):
    CRASH_BEFORE = "crash before the call"
    CRASH_AFTER = "crash after the call"
    LOSE_ANSWER = "the call acts, its answer is lost"
    LOSE_CALL = "the call never arrives"
    STALL = "all workers stand still until their leases end"
    DRAIN = "a worker is told to leave"
    RENEW = "leases are renewed"
    INTERRUPT = "a worker is told to drop a run"
    SIGNAL = "a signal comes, twice"
    INPUT = "an input comes"
    PAUSE = "somebody pauses a run"
    CANCEL = "somebody cancels a run"
    ARRIVE = "another run is submitted to a thread, or with a key"
    TOOL_LOST = "the next tool acts, its answer is lost"


OF_CALLS = frozenset({Fault.CRASH_BEFORE, Fault.CRASH_AFTER, Fault.LOSE_ANSWER, Fault.LOSE_CALL})
OF_WORKERS = frozenset({Fault.RENEW, Fault.DRAIN, Fault.INTERRUPT})
OURS = (Fault.CRASH_BEFORE, Fault.CRASH_AFTER, Fault.STALL, Fault.DRAIN, Fault.RENEW, Fault.INTERRUPT)
"""What must not show in a run's outcome. Calls that get lost on the way to the store are ours as well, those on the way to a tool are not."""


class Passage(Protocol):
    """Lets one worker's calls through, or not."""

    async def __call__(self, what: str, act: Callable[[], Awaitable[T]]) -> T: ...


@dataclass(frozen=True, slots=True)
class GatedStore:
    """The model store, as one worker reaches it."""

    gate: Passage
    claims: FakeClaimStore

    async def append(self, batch: Sequence[Append]) -> Committed:
        what = "; ".join(f"{one.run_id} {one.expected_seq}+{[kind_of(entry) for entry in one.entries]}" for one in batch)
        return await self.gate(f"append {what}", lambda: self.claims.append(batch))

    async def letters(self, run_id: str, after: int) -> Sequence[Received]:
        return await self.gate(f"letters {run_id}", lambda: self.claims.letters(run_id, after))

    async def kept(self, tenant: str, thread_id: str) -> Kept:
        return await self.gate("kept", lambda: self.claims.kept(tenant, thread_id))

    async def claim(self, worker: str, limit: int, held: Mapping[str, int]) -> Sequence[Claimed]:
        raise AssertionError("the simulation claims")

    async def claim_suspects(self, worker: str, on_trial: Sequence[int]) -> Sequence[Claimed]:
        raise AssertionError("the simulation claims")

    async def renew(self, held: Mapping[str, int]) -> Sequence[str]:
        raise AssertionError("the simulation renews")

    async def release(self, held: Mapping[str, int]) -> None:
        await self.gate(f"release {held}", lambda: self.claims.release(held))

    async def set_aside(self, run_id: str, epoch: int, fault: str, *, unreadable: bool = False) -> None:
        raise AssertionError("the simulation sets aside")


@dataclass(frozen=True, slots=True)
class GatedTools:
    gate: Passage
    tools: FakeTools

    async def definitions(self, names: Sequence[str]) -> Sequence[ToolDefinition]:
        return await self.tools.definitions(names)

    async def dispatch(
        self, call_key: str, tool: str, arguments: JsonObject, grants: Sequence[Grant], work: WorkContext, first: bool
    ) -> ToolOutcome:
        return await self.gate(
            f"tool {tool} {call_key} {canonical(arguments)}",
            lambda: self.tools.dispatch(call_key, tool, arguments, grants, work, first),
        )


@dataclass(frozen=True, slots=True)
class GatedModels:
    gate: Passage
    models: FakeModels

    async def generate(self, question: Question, hear: Hear | None) -> Answer | NoAnswer:
        return await self.gate(f"model {question.request_key}", lambda: self.models.generate(question, hear))


@dataclass(frozen=True, slots=True)
class GatedMemory:
    gate: Passage
    memory: FakeMemory

    async def search(self, collection: str, query: str, limit: int, filter_: JsonObject, work: WorkContext) -> Passages | Failure:
        return await self.gate("search", lambda: self.memory.search(collection, query, limit, filter_, work))

    async def remember(self, note: Note, work: WorkContext) -> Remembered:
        return await self.gate(f"remember {note.key}", lambda: self.memory.remember(note, work))

    async def recall(self, thread_id: str, max_tokens: int, query: str) -> JsonObject:
        return await self.gate("recall", lambda: self.memory.recall(thread_id, max_tokens, query))

    async def report_use(self, answer: str, work: WorkContext) -> None:
        await self.memory.report_use(answer, work)


class SimulatedTools(FakeTools):
    """Tools of which some always fail, and some fail the first time that a node calls them: as its arguments say.

    As the tool-dispatcher does, a key acts once, always for the same call, and never for a claim that was superseded.
    """

    def __init__(self, family: Callable[[str], str]) -> None:
        super().__init__()
        self.family = family
        self.tries: dict[str, list[str]] = {}
        self.calls: dict[str, str] = {}
        self.epochs: Counter[str] = Counter()
        self.changed: list[str] = []
        self.effects: Counter[str] = Counter()

    async def dispatch(
        self, call_key: str, tool: str, arguments: JsonObject, grants: Sequence[Grant], work: WorkContext, first: bool
    ) -> ToolOutcome:
        if work.epoch < self.epochs[work.run_id]:
            raise Conflict("a later claim acts for this run", reason="STALE_EPOCH")
        self.epochs[work.run_id] = work.epoch
        call = f"{tool} {canonical(arguments)}"
        if first and call_key in self.calls:
            self.changed.append(f"{call_key}: said to be the first, and sent before")
        if self.calls.setdefault(call_key, call) != call:
            self.changed.append(f"{call_key}: {self.calls[call_key]}, then {call}")
        if call_key in self.recorded:
            return self.recorded[call_key]
        place = f"{self.family(work.run_id)} {work.node} {call}"
        tries = self.tries.setdefault(place, [])
        if call_key not in tries:
            tries.append(call_key)
        category = _fails(call, tries.index(call_key))
        if category is not None:
            failure = Failure(category=category, reason="SIMULATED", message="on purpose", retryable=True, where=tool)
            return Refused(failure=failure)
        self.effects[place] += 1
        self.executed.append((call_key, tool, arguments))
        self.recorded[call_key] = Returned(result=arguments)
        return self.recorded[call_key]


def _fails(call: str, tried: int) -> Category | None:
    lot = zlib.crc32(call.encode()) % 8
    category = (Category.TIMEOUT, Category.UPSTREAM_UNAVAILABLE, Category.RATE_LIMITED)[zlib.crc32(call.encode(), 7) % 3]
    return category if lot == 0 or (lot < 3 and tried == 0) else None


def said(question: Question) -> Answer | NoAnswer:
    """What a model answers depends on what it is asked, never on when."""
    asked = f"{question.prompt.name} {canonical(question.variables)} {len(question.conversation)}"
    lot = zlib.crc32(asked.encode()) % 8
    if lot == 0:
        failure = Failure(category=Category.UPSTREAM_UNAVAILABLE, reason="SIMULATED", message="on purpose", where="model")
        return NoAnswer(failure=failure, usage=Usage(input_tokens=1))
    if question.tools and lot < 5:
        names = [tool.name for tool in question.tools]
        calls = [ToolCall(call_id=f"c{n}", tool=names[n % len(names)], arguments={"text": asked, "n": n}) for n in range(1 + lot % 2)]
        return answer(calls=calls)
    return answer("said", output={"label": "b" if lot == 1 else "a"} if question.output_schema else None)


class FakeAgentStore:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._versions: list[AgentVersion] = []

    async def register(self, tenant: str, graph: Graph, source: str) -> tuple[AgentVersion, bool]:
        known = await self.by_digest(tenant, graph.agent, graph.digest)
        if known is not None:
            return known, False
        number = 1 + sum(version.graph.agent == graph.agent for version in self._versions)
        self._versions.append(AgentVersion(version=number, graph=graph, created_at=self._clock.now()))
        return self._versions[-1], True

    async def newest(self, tenant: str, name: str) -> AgentVersion | None:
        return next((version for version in reversed(self._versions) if version.graph.agent == name), None)

    def recent(self, tenant: str, name: str) -> AgentVersion | None:
        return None

    async def by_digest(self, tenant: str, name: str, digest: str) -> AgentVersion | None:
        return next((version for version in self._versions if (version.graph.agent, version.graph.digest) == (name, digest)), None)

    async def list_newest(self, tenant: str, after: str, limit: int) -> Sequence[AgentVersion]:
        names = sorted({version.graph.agent for version in self._versions if version.graph.agent > after})
        found = [await self.newest(tenant, name) for name in names[:limit]]
        return [version for version in found if version is not None]

    async def graph(self, tenant: str, name: str, digest: str) -> Graph | None:
        version = await self.by_digest(tenant, name, digest)
        return version.graph if version else None

    async def newest_graph(self, tenant: str, name: str) -> Graph | None:
        version = await self.newest(tenant, name)
        return version.graph if version else None


def history_of(ledger: Ledger, agents: "FakeAgentStore") -> History:
    """For the history checker."""
    rows = [
        Row(
            run_id=row.run_id,
            tenant=row.tenant,
            agent=row.agent,
            agent_digest=row.agent_digest,
            status=row.status.value,
            epoch=row.epoch,
            seq=row.seq,
            steps=row.steps,
            tokens=row.usage.tokens,
            wakes=row.wake_at is not None,
            held=row.worker is not None,
            finished=row.finished_at is not None,
        )
        for row in ledger.runs.values()
    ]
    return History(
        rows=rows,
        journals={
            run_id: [Written(one.seq, one.epoch, one.at, one.entry) for one in ledger.entries(run_id, 0)] for run_id in ledger.journals
        },
        texts={run_id: "".join(one.text for one in journal) for run_id, journal in ledger.journals.items()},
        snapshots={run_id: decode_run(body) for run_id, (_, body) in ledger.snapshots.items()},
        graphs={(version.graph.agent, version.graph.digest): version.graph for version in agents._versions},
        outbox=ledger.outbox,
    )
