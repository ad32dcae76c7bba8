"""Stand-ins for the services that steps call, and a whole orchestrator around a real database."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime

import asyncpg
import msgspec
from plimsoll_orchestrator.adapters.database_clock import DatabaseClock
from plimsoll_orchestrator.adapters.postgres_agents import PostgresAgentStore
from plimsoll_orchestrator.adapters.postgres_claims import PostgresClaimStore
from plimsoll_orchestrator.adapters.postgres_runs import PostgresRunStore
from plimsoll_orchestrator.adapters.postgres_workers import PostgresWorkers
from plimsoll_orchestrator.committer import Committer
from plimsoll_orchestrator.domain.journal import ApprovalStatus, Proposal, ToolCall
from plimsoll_orchestrator.domain.options import USUAL, RunOptions
from plimsoll_orchestrator.domain.speech import SpokenText
from plimsoll_orchestrator.engine import Engine
from plimsoll_orchestrator.main import MIGRATIONS
from plimsoll_orchestrator.ports import (
    Answer,
    ApprovalView,
    ClaimStore,
    Grant,
    Growth,
    Hear,
    Hearing,
    NeedsApproval,
    NoAnswer,
    Note,
    Passages,
    Piece,
    Question,
    Refused,
    Remembered,
    Returned,
    Tail,
    ToolDefinition,
    ToolOutcome,
)
from plimsoll_orchestrator.service import Control, Following, Orchestrator, RunView
from plimsoll_orchestrator.speaker import Speaker
from plimsoll_orchestrator.steps.perform import Performer
from plimsoll_orchestrator.worker import Worker
from plimsoll_runtime import logs
from plimsoll_runtime.clock import Clock, SystemClock
from plimsoll_runtime.errors import Conflict, Unavailable
from plimsoll_runtime.failures import Category, Failure
from plimsoll_runtime.ids import RandomIds
from plimsoll_runtime.json_types import JsonObject
from plimsoll_runtime.postgres import migrate, open_pool
from plimsoll_runtime.settings import PostgresSettings, Secret
from plimsoll_runtime.usage import Usage
from plimsoll_runtime.work import WorkContext
from plimsoll_testkit.waiting import eventually

TENANT = "acme"
STEPS = """
agent: steps
input: {type: object, properties: {canary: {type: string}}, required: [canary], additionalProperties: false}
state:
  type: object
  properties: {canary: {type: string}, seen: {type: array}, n: {type: integer}}
start: a
output: {canary: state.canary, seen: state.seen}
nodes:
  a: {set: {seen: "[state.canary]", n: 1}, next: b}
  b: {tool: {name: echo, arguments: {value: state.canary}}, save: {seen: "state.seen + [result.value]"}, next: c}
  c: {decide: {branches: [{when: "state.n == 1", next: d}], default: end}}
  d: {set: {seen: "state.seen + [state.canary]"}, next: end}
"""


def answer(text: str = "", *, output: JsonObject | None = None, calls: Sequence[ToolCall] = ()) -> Answer:
    return Answer(
        message={"role": "ROLE_ASSISTANT", "parts": [{"text": {"text": text}}]},
        text=text,
        calls=calls,
        output=output,
        usage=Usage(input_tokens=10, output_tokens=5),
        provider="fake",
        model="fake-1",
        rehearsal=False,
        confidence=0.9,
        prompt_digest="d" * 64,
    )


PROPOSAL = Proposal(tool="refund", tool_digest="t", effective_arguments={"amount": 900}, call_digest="digest-of-the-call")


def failure(category: Category, reason: str = "TEST", **more: bool) -> Refused:
    return Refused(failure=Failure(category=category, reason=reason, message="on purpose", where="fetch", **more))


def needs_grant(tool: str, arguments: object, grants: tuple) -> Returned | NeedsApproval:
    granted = any(grant.call_digest == PROPOSAL.call_digest for grant in grants)
    return Returned(result={"done": True}) if granted else NeedsApproval(proposal=PROPOSAL)


async def pending(bench: "Bench", run_id: str) -> ApprovalView:
    """The question that a run asks, once it does."""
    [found] = await eventually(lambda: bench.service.list_approvals(TENANT, ApprovalStatus.PENDING, run_id, "", 10))
    return found


async def comes(bench: "Bench", run_id: str, moment: datetime) -> None:
    """It is `moment`: what is stored of a run that nobody holds is moved so far, because no test can say when it gets where."""
    now = await bench.pool.fetchval("select now()")
    words = [str(msgspec.to_builtins(one)) for one in (moment, now)]
    async with bench.pool.acquire() as connection, connection.transaction():
        for column in ("journal set entry = replace(entry, $2, $3)", "snapshots set body = replace(body, $2, $3)"):
            await connection.execute(f"update {column} where run_id = $1", run_id, *words)
        await connection.execute("update runs set wake_at = wake_at - $2::interval where run_id = $1", run_id, moment - now)
        await connection.execute("update gates set since = $3 where run_id = $1 and since = $2", run_id, moment, now)


async def rests(bench: "Bench", run_id: str) -> bool:
    """Nobody holds the run, and it is looked at later."""
    found: bool = await bench.pool.fetchval("select worker is null and wake_at > now() from runs where run_id = $1", run_id)
    return found


@dataclass
class FakeModels:
    """Answers by a function of the question; remembers answers by request key, as the model-router does."""

    reply: Callable[[Question], Answer | NoAnswer] = field(default=lambda question: answer("hello"))
    asked: list[Question] = field(default_factory=list)
    recorded: dict[str, Answer | NoAnswer] = field(default_factory=dict)
    pieces: Sequence[str] = ()

    async def generate(self, question: Question, hear: Hear | None = None) -> Answer | NoAnswer:
        for place, piece in enumerate(self.pieces if hear else ()):
            hear(Piece(place // 1000 + 1, piece))
        if question.request_key not in self.recorded:
            self.asked.append(question)
            self.recorded[question.request_key] = self.reply(question)
        return self.recorded[question.request_key]


class CallKeyTaken(Conflict):
    """The call key stands for another request."""

    reason = "CALL_KEY_TAKEN"


@dataclass
class FakeTools:
    """Answers by a function of tool, arguments and grants; executes a call key once, as the tool-dispatcher does."""

    reply: Callable[[str, JsonObject, Sequence[Grant]], ToolOutcome] = field(
        default=lambda tool, arguments, grants: Returned(result=arguments)
    )
    executed: list[tuple[str, str, JsonObject]] = field(default_factory=list)
    taken: dict[str, JsonObject] = field(default_factory=dict)
    recorded: dict[str, ToolOutcome] = field(default_factory=dict)
    gate: asyncio.Event | None = None
    lose_answers: int = 0
    asked: list[tuple[str, str, JsonObject]] = field(default_factory=list)
    sent: set[str] = field(default_factory=set)
    firsts: list[str] = field(default_factory=list)
    granted: list[Grant] = field(default_factory=list)
    spent: set[str] = field(default_factory=set)
    revoked: set[str] = field(default_factory=set)
    read: dict[str, tuple[str, ...]] = field(default_factory=dict)

    async def definitions(self, names: Sequence[str]) -> Sequence[ToolDefinition]:
        return [ToolDefinition(name=name, description=name, arguments_schema={"type": "object"}) for name in names]

    async def revoke(self, grant_id: str) -> bool:
        if grant_id in self.spent:
            return False
        self.revoked.add(grant_id)
        return True

    async def dispatch(
        self, call_key: str, tool: str, arguments: JsonObject, grants: Sequence[Grant], work: WorkContext, first: bool
    ) -> ToolOutcome:
        assert not (first and call_key in self.sent), "who says that a call is the first knows it"
        self.sent.add(call_key)
        self.firsts += [call_key] if first else []
        if self.taken.get(call_key, arguments) != arguments:
            raise CallKeyTaken
        self.asked.append((call_key, tool, arguments))
        self.read[tool] = work.labels
        if self.gate is not None:
            await self.gate.wait()
        if call_key not in self.recorded:
            self.granted = list(grants)
            outcome = self.reply(tool, arguments, grants)
            if not isinstance(outcome, NeedsApproval):  # only a call that is let through takes its key
                self.taken[call_key] = arguments
            if not isinstance(outcome, Returned):
                return outcome
            if any(grant.grant_id in self.revoked for grant in grants):
                return failure(Category.POLICY_DENIED, "GRANT_REVOKED")
            self.spent.update(grant.grant_id for grant in grants)
            self.executed.append((call_key, tool, arguments))
            self.recorded[call_key] = outcome
        if self.lose_answers:
            self.lose_answers -= 1
            raise Unavailable
        return self.recorded[call_key]


@dataclass
class FakeMemory:
    notes: dict[str, Note] = field(default_factory=dict)
    reported: list[tuple[str, str]] = field(default_factory=list)

    passages: Sequence[JsonObject] = ({"text": "Refunds take five days.", "source": "refunds.md"},)

    async def search(self, collection: str, query: str, limit: int, filter_: JsonObject, work: WorkContext) -> Passages | Failure:
        return Passages(passages=self.passages[:limit], receipt={"returned": len(self.passages)})

    async def remember(self, note: Note, work: WorkContext) -> Remembered:
        self.notes.setdefault(note.key, note)
        return Remembered(turns=len(note.turns), facts=len(note.facts), left_out=())

    async def recall(self, thread_id: str, max_tokens: int, query: str) -> JsonObject:
        turns = [
            {"origin": turn.origin, "text": turn.text} for note in self.notes.values() if note.thread_id == thread_id for turn in note.turns
        ]
        return {"turns": turns, "summary": "", "facts": [], "recalled": []}

    async def report_use(self, answer: str, work: WorkContext) -> None:
        self.reported.append((work.run_id, answer))


class LostSignals:
    """Every wake-up call is lost: nothing may depend on one."""

    async def runs_readied(self, run_ids: Sequence[str]) -> None:
        return None

    async def spoke(self, run_id: str, text: SpokenText) -> None:
        return None

    @asynccontextmanager
    async def hearing(self, run_id: str, woken: asyncio.Event) -> AsyncIterator[Hearing]:
        yield Hearing(woken)

    async def run_ready(self, run_id: str) -> None:
        return None

    async def run_interrupted(self, run_id: str) -> None:
        return None

    async def journals_grew(self, grown: Sequence[Growth]) -> None:
        return None

    @asynccontextmanager
    async def watching(self, run_id: str) -> AsyncIterator[Tail]:
        yield Tail()


class LocalSignals(LostSignals):
    """Wake-up calls within this process."""

    def __init__(self) -> None:
        self.workers: list[Worker] = []
        self.followers: dict[str, list[Tail]] = {}
        self.hearings: dict[str, Hearing] = {}

    async def run_ready(self, run_id: str) -> None:
        for worker in self.workers:
            worker.hint()

    async def runs_readied(self, run_ids: Sequence[str]) -> None:
        for worker in self.workers:
            worker.hear_letters(run_ids)

    async def spoke(self, run_id: str, text: SpokenText) -> None:
        if run_id in self.hearings:
            self.hearings[run_id].take(text)

    @asynccontextmanager
    async def hearing(self, run_id: str, woken: asyncio.Event) -> AsyncIterator[Hearing]:
        self.hearings[run_id] = Hearing(woken)
        yield self.hearings[run_id]

    async def run_interrupted(self, run_id: str) -> None:
        for worker in self.workers:
            worker.hear_interruption(run_id)

    async def journals_grew(self, grown: Sequence[Growth]) -> None:
        for growth in grown:
            for tail in self.followers.get(growth.run_id, ()):
                tail.take(growth)

    @asynccontextmanager
    async def watching(self, run_id: str) -> AsyncIterator[Tail]:
        tail = Tail()
        self.followers.setdefault(run_id, []).append(tail)
        yield tail


@dataclass
class Bench:
    """An orchestrator on a real database, with as many workers as a test starts."""

    pool: asyncpg.Pool
    runs: PostgresRunStore
    claims: PostgresClaimStore
    agents: PostgresAgentStore
    service: Orchestrator
    control: Control
    following: Following
    signals: LostSignals
    models: FakeModels = field(default_factory=FakeModels)
    tools: FakeTools = field(default_factory=FakeTools)
    memory: FakeMemory = field(default_factory=FakeMemory)

    async def register(self, source: str) -> None:
        await self.service.register_agent(TENANT, source, "agent.yaml")

    async def start(self, agent: str, value: JsonObject, key: str = "", options: RunOptions = USUAL) -> str:
        started = await self.service.start_run(TENANT, agent, value, key, options)
        return started.view.summary.run_id

    def worker(
        self, name: str = "w1", *, slots: int = 200, store: ClaimStore | None = None, drain_s: float = 2.0, local: Clock | None = None
    ) -> Worker:
        """`local` is the clock of its machine."""
        log, clock = logs.get("test"), DatabaseClock(local or SystemClock())
        store = store or PostgresClaimStore(self.pool, clock)
        engine = Engine(
            performer=Performer(models=self.models, tools=self.tools, memory=self.memory),
            grants=self.tools,
            committer=Committer(store, self.signals),
            store=store,
            speaker=Speaker(self.signals),
            find_graph=self.agents.graph,
            find_newest=self.agents.newest_graph,
            clock=clock,
            ids=RandomIds(),
            log=log,
            draining=asyncio.Event(),
        )
        worker = Worker(name, store, engine, log, slots=slots, drain_s=drain_s, beat=PostgresWorkers(self.pool).beat)
        if isinstance(self.signals, LocalSignals):
            self.signals.workers.append(worker)
        return worker

    @asynccontextmanager
    async def working(self, *workers: Worker) -> AsyncIterator[None]:
        """Run the workers inside the block, then drain them."""
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for worker in workers or (self.worker(),):
                group.create_task(worker.run(stop))
            try:
                yield
            finally:
                stop.set()

    async def ended(self, run_id: str, within_s: float = 60.0) -> RunView:
        """The run, once it is final."""
        async with asyncio.timeout(within_s):
            async for _ in self.following.follow_run(TENANT, run_id, 0):
                pass
        return await self.service.get_run(TENANT, run_id)

    async def run(self, agent: str, value: JsonObject) -> RunView:
        async with self.working():
            return await self.ended(await self.start(agent, value))


@asynccontextmanager
async def open_bench(dsn: str, signals: LostSignals | None = None) -> AsyncIterator[Bench]:
    async with open_pool(PostgresSettings(dsn=Secret(dsn), pool_max=8), "orchestrator") as pool:
        await migrate(pool, "orchestrator", [MIGRATIONS])
        clock = DatabaseClock(SystemClock())
        agents, runs = PostgresAgentStore(pool), PostgresRunStore(pool, clock)
        signals = signals or LocalSignals()
        service = Orchestrator(agents=agents, runs=runs, signals=signals, clock=clock, ids=RandomIds())
        workers = PostgresWorkers(pool)
        tools = FakeTools()
        control = Control(orchestrator=service, workers=workers, grants=tools, clock=clock, ids=RandomIds())
        following = Following(runs=runs, watch=signals, listening=signals)
        async with runs.accepting():
            yield Bench(
                pool=pool,
                runs=runs,
                claims=PostgresClaimStore(pool, clock),
                agents=agents,
                service=service,
                control=control,
                following=following,
                signals=signals,
                tools=tools,
            )
