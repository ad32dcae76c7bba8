"""A pair of stores, real or model, and what a worker would write to them."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from orchestrator_fakes import TENANT, open_bench
from orchestrator_model_ledger import Ledger
from orchestrator_model_store import FakeClaimStore, FakeRunStore
from plimsoll_graph.parse import parse_graph
from plimsoll_orchestrator.domain.fold import fold
from plimsoll_orchestrator.domain.journal import (
    Entry,
    RunFinished,
    RunStatus,
    StepStarted,
    encode_entry,
)
from plimsoll_orchestrator.domain.letters import Delivery, SignalSent
from plimsoll_orchestrator.domain.options import RunOptions
from plimsoll_orchestrator.domain.run import Run
from plimsoll_orchestrator.ports import Append, Claimed, ClaimStore, Committed, Release, RunStore, submission
from plimsoll_runtime.json_types import JsonObject
from plimsoll_testkit.clock import FakeClock

SOURCE = """
agent: short
input: {type: object}
state: {type: object, properties: {n: {type: integer}}}
start: a
output: {n: state.n}
nodes:
  a: {set: {n: 1}, next: end}
"""
GRAPH = parse_graph(SOURCE, "short.yaml")
LETTER = SignalSent(signal_id="s1", name="go")
STEP = StepStarted(node="a", node_kind="set")
END = RunFinished(status=RunStatus.SUCCEEDED, output={"n": 1})


@dataclass
class Stores:
    """A pair of stores, and a way to let time pass for them. `in_company` nothing is written alone, but in a batch with one that is fenced off."""

    claims: ClaimStore
    runs: RunStore
    pass_time: Callable[[float], Awaitable[None]]
    made: int = 0
    in_company: bool = False

    async def make(self, key: str = "", fingerprint: str = "", value: JsonObject | None = None, thread_id: str = "") -> str:
        self.made += 1
        options = RunOptions(thread_id=thread_id)
        one = submission(TENANT, f"run_{self.made:03}", GRAPH, value or {}, options=options, idempotency_key=key, fingerprint=fingerprint)
        return (await self.runs.accept(one)).run_id

    async def take(self, worker: str = "w") -> Claimed:
        [claimed] = await self.claims.claim(worker, 10, {}) or await self.claims.claim_suspects(worker, [])
        return claimed

    async def write(self, append: Append) -> bool:
        return append.run_id in (await self.commit(append)).appended

    async def commit(self, append: Append) -> Committed:
        return await self.claims.append([replace(append, run_id="run_of_nobody"), append] if self.in_company else [append])

    async def tell(self, run_id: str, number: int = 1) -> bool:
        letter = SignalSent(signal_id=f"s{number}", name="go")
        return await self.runs.deliver(TENANT, Delivery(run_id=run_id, letter_id=f"s{number}", letter=letter))

    async def seq(self, run_id: str) -> int:
        summary = await self.runs.summary(TENANT, run_id)
        assert summary is not None
        return summary.seq


def folded(claimed: Claimed, *more: Entry) -> Run:
    fresh = Run(run_id=claimed.run_id, tenant=claimed.tenant, agent=claimed.agent, agent_digest=claimed.agent_digest)
    start = claimed.snapshot.run if claimed.snapshot else fresh
    run = fold(start, ((entry.seq, entry.at, entry.entry) for entry in claimed.entries), GRAPH.start)
    at = claimed.entries[0].at
    return fold(run, ((run.seq + place, at, entry) for place, entry in enumerate(more, 1)), GRAPH.start)


def appending(claimed: Claimed, *entries: Entry) -> Append:
    run = folded(claimed, *entries)
    release = Release(status=run.status, wake_at=None) if run.is_final else None
    return Append(
        run_id=claimed.run_id,
        tenant=claimed.tenant,
        epoch=claimed.epoch,
        expected_seq=run.seq - len(entries),
        entries=entries,
        encoded=[encode_entry(entry) for entry in entries],
        run=run,
        release=release,
        mail=claimed.mail,
    )


def letting_go(claimed: Claimed, status: RunStatus, *entries: Entry) -> Append:
    return replace(appending(claimed, *entries), release=Release(status=status, wake_at=None))


@asynccontextmanager
async def real_stores(dsn: str, *, in_company: bool = False) -> AsyncIterator[Stores]:
    async with open_bench(dsn) as bench:
        await bench.agents.register(TENANT, GRAPH, SOURCE)

        async def pass_time(seconds: float) -> None:
            await bench.pool.execute("update runs set wake_at = wake_at - $1 * interval '1 second'", seconds)

        yield Stores(bench.claims, bench.runs, pass_time, in_company=in_company)


@asynccontextmanager
async def model_stores() -> AsyncIterator[Stores]:
    clock = FakeClock()
    ledger = Ledger(clock)

    async def pass_time(seconds: float) -> None:
        clock.advance(seconds)

    yield Stores(FakeClaimStore(ledger), FakeRunStore(ledger), pass_time)
