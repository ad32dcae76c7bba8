"""A simulated fleet: real engines over the model store, where every call waits until the simulator lets it happen, fail, or kill its worker.

Time stands still unless nothing else can happen. What happens in which order comes from a seed; 0 means first come, first served. What
goes wrong, and after how many calls, comes from a plan. So a history is a function of graph, input, seed and plan, and can be told again.
"""

import asyncio
import random
import zlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from orchestrator_arrivals import Arrivals
from orchestrator_fakes import TENANT, FakeMemory, FakeModels, LostSignals
from orchestrator_history import History
from orchestrator_model_ledger import Ledger
from orchestrator_model_store import FakeClaimStore, FakeRunStore
from orchestrator_simulated import (
    OF_CALLS,
    OF_WORKERS,
    FakeAgentStore,
    Fault,
    GatedMemory,
    GatedModels,
    GatedStore,
    GatedTools,
    SimulatedTools,
    history_of,
    said,
)
from plimsoll_graph.graph import Graph
from plimsoll_orchestrator.committer import Committer
from plimsoll_orchestrator.domain.fold import fold
from plimsoll_orchestrator.domain.journal import ApprovalStatus, RunStatus, decode_entry
from plimsoll_orchestrator.domain.letters import Delivery, InputSent, Letter, SignalSent
from plimsoll_orchestrator.domain.options import RunOptions
from plimsoll_orchestrator.domain.run import Run
from plimsoll_orchestrator.engine import Engine
from plimsoll_orchestrator.ports import Claimed
from plimsoll_orchestrator.service import Control, Orchestrator
from plimsoll_orchestrator.speaker import Speaker
from plimsoll_orchestrator.steps.perform import Performer
from plimsoll_runtime import logs
from plimsoll_runtime.errors import ErrorKind, PlimsollError, Unavailable
from plimsoll_runtime.json_types import JsonObject
from plimsoll_testkit.clock import FakeClock
from plimsoll_testkit.ids import FakeIds

T = TypeVar("T")
_LEASE_S = 16.0
_WORKERS = 3
_SLOTS = 8
_CALLS_MOST = 6000


@dataclass(slots=True)
class Call:
    """A call that waits to be let through."""

    worker: "Fleetling"
    what: str
    act: Callable[[], Awaitable[object]]
    answer: "asyncio.Future[object]"


class Fleetling:
    """A worker of the simulation: what the real one does, without its timers. A dead one does nothing any more."""

    def __init__(self, fleet: "Fleet", name: str, group: asyncio.TaskGroup) -> None:
        self.name = name
        self.alive = True
        self.tasks: dict[str, tuple[int, asyncio.Task[None]]] = {}
        self._fleet = fleet
        self._group = group
        gate = partial(fleet.gate, self)
        self.store = GatedStore(gate, fleet.claims)
        self.committer = Committer(self.store, LostSignals())
        self.engine = Engine(
            performer=Performer(
                models=GatedModels(gate, fleet.models), tools=GatedTools(gate, fleet.tools), memory=GatedMemory(gate, fleet.memory)
            ),
            grants=fleet.tools,
            committer=self.committer,
            store=self.store,
            speaker=Speaker(LostSignals()),
            find_graph=fleet.agents.graph,
            find_newest=fleet.agents.newest_graph,
            clock=fleet.clock,
            ids=fleet.ids,
            log=logs.get("simulation"),
            draining=asyncio.Event(),
        )
        self._living = group.create_task(self._live())

    async def _live(self) -> None:
        async with self.committer.running():
            await asyncio.Event().wait()

    def take(self, claimed: Claimed) -> None:
        held = self.tasks.get(claimed.run_id)
        if held is not None and not held[1].done():
            held[1].cancel()  # our own lease on it ended: it waits for the next claim
            return
        self.tasks[claimed.run_id] = (claimed.epoch, self._group.create_task(self._advance(claimed)))

    async def _advance(self, claimed: Claimed) -> None:
        try:
            hold = await self.engine.hold(claimed)
            await self.engine.advance(hold)
        except PlimsollError as error:
            self._fleet.tell(f"{self.name} drops {claimed.run_id}: {error.reason}")
            if error.kind is ErrorKind.INTERNAL:
                await self._set_aside(claimed, error)
            else:
                await self._give_back(claimed)
        except asyncio.CancelledError:
            await self._give_back(claimed)
            raise
        except Exception as error:  # noqa: BLE001 - as the real worker does
            self._fleet.broken.append(f"{claimed.run_id}: {error!r}")
            await self._set_aside(claimed, error)

    async def _give_back(self, claimed: Claimed) -> None:
        if self.alive:
            await self._fleet.claims.release({claimed.run_id: claimed.epoch})

    async def _set_aside(self, claimed: Claimed, error: Exception) -> None:
        if self.alive:
            self._fleet.tell(f"{self.name} sets {claimed.run_id} aside: {error!r}")
            await self._fleet.claims.set_aside(claimed.run_id, claimed.epoch, repr(error))

    @property
    def held(self) -> dict[str, int]:
        return {run_id: epoch for run_id, (epoch, task) in self.tasks.items() if not task.done()}

    async def end(self) -> None:
        """It is gone without a word: nothing that it still runs reaches anything."""
        self.alive = False
        tasks = [task for _, task in self.tasks.values()]
        for task in (*tasks, self._living):
            task.cancel()
        await asyncio.gather(*tasks, self._living, return_exceptions=True)


@dataclass
class Fleet:
    """Attributes:
    seed       what happens in which order; 0 is first come, first served
    plan       (after how many further calls, what goes wrong), one after the other
    snapshots  whether a snapshot is taken with every commit, or never
    told       what happened, in words
    broken     errors that no worker should ever meet
    """

    seed: int = 0
    plan: Sequence[tuple[int, Fault]] = ()
    told: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.clock, self.ids = FakeClock(), FakeIds()
        self.ledger = Ledger(self.clock)
        self.claims, self.runs = FakeClaimStore(self.ledger), FakeRunStore(self.ledger)
        self.agents = FakeAgentStore(self.clock)
        self.service = Orchestrator(agents=self.agents, runs=self.runs, signals=LostSignals(), clock=self.clock, ids=self.ids)
        self.arrivals = Arrivals(self.service, self.ledger, self.tell)
        self.models, self.memory = FakeModels(reply=said), FakeMemory()
        self.tools = SimulatedTools(self._family)
        self.control = Control(orchestrator=self.service, workers=None, grants=self.tools, clock=self.clock, ids=self.ids)  # type: ignore[arg-type]
        self.calls, self.workers, self.passed = list[Call](), list[Fleetling](), 0
        self._random = random.Random(self.seed)
        self._faults = list(self.plan)
        self._countdown = self._faults[0][0] if self._faults else 0
        self._lose_tool, self._hired = False, 0

    def tell(self, text: str) -> None:
        self.told.append(f"{self.clock.now():%d %H:%M:%S} {text}")

    async def gate(self, worker: Fleetling, what: str, act: Callable[[], Awaitable[T]]) -> T:
        """Wait to be let through."""
        call = Call(worker, what, act, asyncio.get_running_loop().create_future())
        self.calls.append(call)
        return await call.answer  # type: ignore[return-value]

    async def register(self, source: str) -> Graph:
        version, _ = await self.service.register_agent(TENANT, source, "agent.yaml")
        return version.graph

    async def start(self, agent: str, value: JsonObject, thread_id: str = "") -> str:
        started = await self.service.start_run(TENANT, agent, value, "", RunOptions(thread_id=thread_id))
        return started.view.summary.run_id

    async def run(self) -> None:
        """Until every run has ended."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            self.workers = [self._hire() for _ in range(_WORKERS)]
            try:
                while self._unfinished():
                    await self._go_on()
            finally:
                for worker in self.workers:
                    await worker.end()

    async def _go_on(self) -> None:
        self.passed += 1
        assert self.passed < _CALLS_MOST, "the runs do not come to an end"
        assert self.ledger.gates.overfull() == []
        await self._settle()
        await self._fault_between()
        for worker in self.workers:
            if worker.engine.draining.is_set() and not worker.held:
                await self._replace(worker)
        if self._unfinished():
            await self._next()

    def _unfinished(self) -> list[str]:
        return [row.run_id for row in self.ledger.runs.values() if row.finished_at is None]

    async def _settle(self) -> None:
        """Let all tasks go on until each waits for a call of its own."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(0)
        while loop._ready:  # type: ignore[attr-defined] # noqa: ASYNC110 - nobody else says that there is nothing left to do
            await asyncio.sleep(0)
        self.calls = [call for call in self.calls if call.worker.alive and not call.answer.done()]

    def _hire(self) -> Fleetling:
        self._hired += 1
        return Fleetling(self, f"w{self._hired}", self._group)

    def _one_of(self, options: Sequence[T]) -> T:
        return options[self._random.randrange(len(options)) if self.seed else 0]

    async def _next(self) -> None:
        """Something that can happen now happens: a call, or a claim; when nothing can, people answer; when they have, time passes."""
        due = self.claims.due()
        able = [worker for worker in self.workers if len(worker.held) < _SLOTS and not worker.engine.draining.is_set()]
        moves = [*self.calls, *(due if able else ())]
        if not moves:
            if not await self._people_answer():
                self._pass_time()
            return
        move = self._one_of(moves)
        if isinstance(move, Call):
            await self._let(move, self._fault_now())
        else:
            worker = self._one_of(sorted(able, key=lambda one: len(one.held)))
            claimed = self.claims.take(worker.name, move, together=1)
            self.tell(f"{worker.name} claims {move}" + ("" if claimed else ", whose turn has not come"))
            if claimed is not None:
                worker.take(claimed)

    async def _let(self, call: Call, fault: Fault | None) -> None:
        self.calls.remove(call)
        lost = Unavailable("lost on purpose")
        if call.what.startswith("tool") and self._lose_tool:
            self._lose_tool, fault = False, Fault.LOSE_ANSWER
        self.tell(f"{call.worker.name} {call.what}" + (f" ({fault.value})" if fault else ""))
        if fault not in {Fault.CRASH_BEFORE, Fault.LOSE_CALL}:
            try:
                answered = await call.act()
                error = None
            except PlimsollError as refused:
                answered, error = None, refused
        if fault in {Fault.CRASH_BEFORE, Fault.CRASH_AFTER}:
            await self._replace(call.worker)
        elif fault in {Fault.LOSE_CALL, Fault.LOSE_ANSWER}:
            call.answer.set_exception(lost)
        elif error is not None:
            call.answer.set_exception(error)
        else:
            call.answer.set_result(answered)

    async def _replace(self, worker: Fleetling) -> None:
        self.workers[self.workers.index(worker)] = self._hire()
        await worker.end()

    def _fault_now(self) -> Fault | None:
        """The fault that is due, when it is one of a call."""
        if not self._faults or self._countdown > 0:
            self._countdown -= 1
            return None
        fault = self._faults[0][1]
        if fault not in OF_CALLS:
            return None
        self._drop_fault()
        return fault

    def _drop_fault(self) -> None:
        self._faults.pop(0)
        self._countdown = self._faults[0][0] if self._faults else 0

    async def _fault_between(self) -> None:
        """The fault that is due, when it is one between calls."""
        if not self._faults or self._countdown > 0:
            return
        fault = self._faults[0][1]
        if fault in OF_CALLS or (fault in OF_WORKERS and not any(worker.held for worker in self.workers)):
            return  # its time comes
        self.tell(f"-- {fault.value}")
        self._drop_fault()
        if fault in OF_WORKERS:
            await self._disturb(fault, self._one_of([worker for worker in self.workers if worker.held]))
        elif fault is Fault.STALL:
            self.clock.advance(_LEASE_S)
        elif fault is Fault.TOOL_LOST:
            self._lose_tool = True
        else:
            await self._meddle(fault, self._one_of(self._unfinished()))
        await self._settle()

    async def _disturb(self, fault: Fault, worker: Fleetling) -> None:
        """What reaches a worker."""
        match fault:
            case Fault.RENEW:
                ours = await self.claims.renew(worker.held)
                for run_id in worker.held.keys() - set(ours):
                    worker.tasks[run_id][1].cancel()
            case Fault.DRAIN:
                worker.engine.draining.set()
            case _:
                worker.tasks[self._one_of(sorted(worker.held))][1].cancel()

    async def _meddle(self, fault: Fault, run_id: str) -> None:
        """What people do to a run."""
        name = f"s{self.passed}"
        match fault:
            case Fault.SIGNAL:
                for _ in range(2):
                    await self._post(run_id, name, SignalSent(signal_id=name, name="go", payload="early"))
            case Fault.INPUT:
                await self._post(run_id, name, InputSent(input_id=name, input={"text": "steered"}))
            case Fault.ARRIVE:
                await self.arrivals.arrive(run_id, self._one_of)
            case Fault.PAUSE:
                await self.control.pause_run(TENANT, run_id, "on purpose", "somebody")
            case _:
                await self.control.cancel_run(TENANT, run_id, "on purpose", "somebody")

    async def _post(self, run_id: str, letter_id: str, letter: Letter) -> bool:
        return await self.runs.deliver(TENANT, Delivery(run_id=run_id, letter_id=letter_id, letter=letter))

    async def _people_answer(self) -> bool:
        """Decide what is asked, let go on what is stopped, send the signals that are waited for; false when there was nothing of that."""
        for view in await self.service.list_approvals(TENANT, ApprovalStatus.PENDING, "", "", 100):
            yes = zlib.crc32(view.approval.node.encode()) % 3 > 0
            self.tell(f"{view.run_id} {view.approval.node}: {'yes' if yes else 'no'}")
            await self.control.decide_approval(TENANT, view.approval.approval_id, yes, "", "somebody")
            return True
        for row in self.ledger.runs.values():
            if row.status in {RunStatus.PAUSED, RunStatus.QUARANTINED}:
                self.tell(f"{row.run_id} is resumed")
                await self.control.resume_run(TENANT, row.run_id, "somebody")
                return True
            if row.status is RunStatus.WAITING and await self._signalled(row.run_id):
                return True
        return False

    async def _signalled(self, run_id: str) -> bool:
        view = await self.service.get_run(TENANT, run_id)
        step = view.run.step
        if step is None or not step.waiting:
            return False
        signal_id = f"{run_id}:{step.seq}"
        if signal_id in view.run.seen or any(known == signal_id for known, _ in self.ledger.mail.get(run_id, {}).values()):
            return False
        self.tell(f"{run_id} is sent the signal go")
        return await self._post(run_id, signal_id, SignalSent(signal_id=signal_id, name="go", payload=None, sent_by="somebody"))

    def _pass_time(self) -> None:
        """To the next moment at which a run wakes."""
        now = self.clock.now()
        moments = [row.wake_at for row in self.ledger.runs.values() if row.wake_at is not None and row.wake_at > now]
        assert moments, "nothing will ever wake these runs"
        self.clock.advance((min(moments) - now).total_seconds())

    def _family(self, run_id: str) -> str:
        """A run's place in its tree, by which it is the same in every history."""
        first = decode_entry(self.ledger.journals[run_id][0].text)
        parent = first.origin.parent_run_id
        return f"{self._family(parent)}/{first.origin.place}" if parent else run_id

    def outcome(self, run_id: str) -> tuple[object, ...]:
        """What must not depend on how a run was carried out."""
        run = self.folded(run_id)
        failure = (run.failure.category, run.failure.reason, run.failure.where) if run.failure else None
        return run.status, run.output, failure, run.state, run.steps, run.usage

    def folded(self, run_id: str) -> Run:
        row = self.ledger.runs[run_id]
        graph = next(v.graph for v in self.agents._versions if v.graph.digest == row.agent_digest)
        fresh = Run(run_id=run_id, tenant=row.tenant, agent=row.agent, agent_digest=row.agent_digest)
        return fold(fresh, ((one.seq, one.at, one.entry) for one in self.ledger.entries(run_id, 0)), graph.start)

    def history(self) -> History:
        """For the history checker."""
        return history_of(self.ledger, self.agents)
