"""The examination afterwards: what was promised against what is there, in journals, ledgers, the outside ledger, feedback and streams."""

import importlib.util
import re
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import asyncpg
import yaml
from harm import Held
from plimsoll_client import connect
from plimsoll_client.mesh import Mesh as Client
from plimsoll_devstack.mesh import Mesh
from plimsoll_feedback.adapters.operation_rows import NAMES, operation_from_row
from plimsoll_feedback.transport.codec import operation_to_proto
from plimsoll_orchestrator.domain.journal import decode_entry
from plimsoll_orchestrator.ports import JournalEntry
from plimsoll_orchestrator.transport.event_codec import event_to_proto
from plimsoll_runtime.errors import PlimsollError
from plimsoll_runtime.postgres import open_pool
from plimsoll_runtime.settings import PostgresSettings, Secret
from plimsoll_testkit import eventually
from plimsoll_testkit.parity import differences
from workload import ROOT, Accepted

_ENDED = frozenset({"succeeded", "failed", "cancelled"})
_SETTLED = _ENDED | {"waiting"}
_STREAMS = 25
_DEATHS, _DEATH = 3, re.compile(r"\S+:\d+ at \d\d:\d\d:\d\d")  # as the claim of the next worker notes the end of the last
AGENTS = {
    "outside": ROOT / "tests" / "chaos" / "agents" / "outside",
    **{name: ROOT / "deploy" / "agents" / name for name in ("support", "documents", "pipeline")},
}

Pool = asyncpg.Pool


@dataclass(slots=True)
class Examination:
    """What was found. `violations` are broken promises, in words."""

    statuses: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    unknown_calls: int = 0
    effects: int = 0
    operations: int = 0
    streams: int = 0
    recovered_s: Sequence[float] = ()
    resumed: set[str] = field(default_factory=set)
    violations: list[str] = field(default_factory=list)


async def examine(mesh: Mesh, accepted: Sequence[Accepted], *, within_s: float, held: Sequence[Held] = ()) -> Examination:
    """Wait until every run has ended or waits for people and everything was told, then look. Raises nothing for what it finds."""
    found = Examination()
    async with AsyncExitStack() as stack:
        runs, tools, feedback, outside = [
            await stack.enter_async_context(_opened(mesh, role, database))
            for role, database in (("orchestrator", ""), ("tool_dispatcher", ""), ("feedback", ""), ("examples", "examples"))
        ]
        client = await stack.enter_async_context(connect(address=mesh.grpc_address, api_key=mesh.api_key))
        await _until(found, "runs go on", lambda: _unsettled(client, runs, accepted, found), within_s)
        await _until(found, "entries wait to be published", lambda: runs.fetchval("select count(*) from journal_outbox"), within_s)
        statuses = await _runs(runs, accepted, found)
        await _journals(runs, accepted, found)
        await _effects(outside, tools, accepted, statuses, found)
        await _unknown(runs, tools, found)
        await _set_aside(runs, found)
        await _until(found, "operations of runs are missing in feedback", lambda: _untold(feedback, runs), within_s)
        await _feedback(feedback, runs, found)
        await _streams(mesh, runs, accepted, found)
        await _budgets(runs, found)
        await _recovery(runs, held, found)
    return found


async def _until(found: Examination, what: str, count: Callable[[], Awaitable[int]], within_s: float) -> None:
    """Wait until nothing is left of something; what is left then is a violation."""

    async def none() -> bool:
        return not await count()

    try:
        await eventually(none, within_s)
    except AssertionError:
        found.violations.append(f"{await count()} {what} after {within_s:g} s")


async def _unsettled(client: Client, runs: Pool, accepted: Sequence[Accepted], found: Examination) -> int:
    """Those that go on. Whose worker died under them again and again was set aside, and a person lets them go on, once."""
    for row in await runs.fetch("select run_id from runs where status = 'quarantined'"):
        if row["run_id"] not in found.resumed:
            with suppress(PlimsollError):  # asked again with the next look
                await client.runs.resume(row["run_id"])
                found.resumed.add(row["run_id"])
    known = "select count(*) from runs where run_id = any($1::text[]) and status = any($2::text[])"
    return len(accepted) - int(await runs.fetchval(known, [run.run_id for run in accepted], list(_SETTLED)))


async def _runs(runs: Pool, accepted: Sequence[Accepted], found: Examination) -> Mapping[str, str]:
    """No accepted run is lost, none is two, none ended for a fault of ours."""
    rows = await runs.fetch("select run_id, idempotency_key, status from runs where parent_run_id = ''")
    statuses = {row["run_id"]: row["status"] for row in rows}
    found.violations += [f"{run.run_id}: accepted, and lost" for run in accepted if run.run_id not in statuses]
    keys = Counter(row["idempotency_key"] for row in rows if row["idempotency_key"])
    found.violations += [f"{key}: {times} runs under one key" for key, times in keys.items() if times > 1]
    found.statuses = Counter(statuses[run.run_id] for run in accepted if run.run_id in statuses)
    ends = "select run_id, entry::jsonb -> 'failure' as failure from journal where entry like '{\"kind\":\"run_finished\"%'"
    for row in await runs.fetch(ends):
        failure = row["failure"]
        if failure:
            found.failures[f"{failure['category']} {failure['reason']}"] += 1
            if failure["category"] == "internal":
                found.violations.append(f"{row['run_id']}: failed for a fault of ours: {failure['reason']} {failure['message']}")
    return statuses


async def _journals(runs: Pool, accepted: Sequence[Accepted], found: Examination) -> None:
    """The invariants of the engine, as its own tests have them."""
    canaries = [str(run.input["canary"]) for run in accepted if "canary" in run.input]
    found.violations += await _history().violations(runs, canaries)


async def _effects(outside: Pool, tools: Pool, accepted: Sequence[Accepted], statuses: Mapping[str, str], found: Examination) -> None:
    """No effect twice; each that a run says it had is there."""
    counted = Counter(row["name"] for row in await outside.fetch("select name from counted"))
    struck = Counter(row["name"] for row in await outside.fetch("select name from struck"))
    found.effects = counted.total() + struck.total()
    for run in accepted:
        if run.agent != "outside":
            continue
        name, succeeded = str(run.input["name"]), statuses.get(run.run_id) == "succeeded"
        for what, times in (("counted", counted[name]), ("struck", struck[name])):
            if times > 1 or (succeeded and times != 1):
                found.violations.append(f"{run.run_id}: {name} was {what} {times} times")
    strangers = (counted.keys() | struck.keys()) - {str(run.input.get("name")) for run in accepted}
    found.violations += [f"{name}: an effect of no accepted run" for name in strangers]


async def _unknown(runs: Pool, tools: Pool, found: Examination) -> None:
    """Whatever may have acted and nobody knows was said to somebody: its run did not go on as if nothing had been."""
    unknown = [row["run_id"] for row in await tools.fetch("select run_id from calls where state = 'unknown'")]
    found.unknown_calls = len(unknown)
    told = "select distinct run_id from journal where run_id = any($1::text[]) and entry like '%outcome_unknown%'"
    said = {row["run_id"] for row in await runs.fetch(told, unknown)}
    found.violations += [
        f"{run_id}: the outcome of a call is unknown, and its run does not say so" for run_id in unknown if run_id not in said
    ]


async def _set_aside(runs: Pool, found: Examination) -> None:
    """Whatever was set aside was so for the deaths of its workers, each on record in its journal; never because the engine broke on it."""
    entries = "select run_id, entry::jsonb -> 'evidence' as evidence from journal where entry like '{\"kind\":\"run_quarantined\"%'"
    evidence = {row["run_id"]: row["evidence"] for row in await runs.fetch(entries)}
    found.violations += [f"{run_id}: set aside, and its journal does not say why" for run_id in found.resumed - evidence.keys()]
    found.violations += [
        f"{run_id}: set aside, and not for its workers' deaths: {said}"
        for run_id, said in evidence.items()
        if len(said) < _DEATHS or not all(map(_DEATH.fullmatch, said))
    ]


_OF_RUNS = "select run_id from operations where kind = 'run' group by run_id"


async def _untold(feedback: Pool, runs: Pool) -> int:
    ended = {row["run_id"] for row in await runs.fetch("select run_id from runs where finished_at is not null")}
    return len(ended - {row["run_id"] for row in await _all_tenants(feedback, _OF_RUNS)})


async def _feedback(feedback: Pool, runs: Pool, found: Examination) -> None:
    """Feedback says of each ended run exactly what its journal says."""
    ended = await runs.fetch("select run_id, tenant, agent, agent_digest from runs where finished_at is not null")
    journals = await _by_run(runs.fetch("select run_id, seq, epoch, at, entry from journal order by run_id, seq"))
    rows = await _by_run(_all_tenants(feedback, f"select {NAMES} from operations where run_id <> ''"))
    found.operations = sum(map(len, rows.values()))
    for run in ended:
        run_id, tenant = run["run_id"], run["tenant"]
        journal = [event_to_proto(tenant, run["agent"], run["agent_digest"], _entry(row)) for row in journals[run_id]]
        operations = [operation_to_proto(operation_from_row(tenant, row)) for row in rows.get(run_id, ())]
        found.violations += [f"{run_id}: feedback and journal differ: {what}" for what in differences(journal, operations)]


async def _by_run(rows: Awaitable[Sequence[asyncpg.Record]]) -> dict[str, list[asyncpg.Record]]:
    found: dict[str, list[asyncpg.Record]] = {}
    for row in await rows:
        found.setdefault(row["run_id"], []).append(row)
    return found


def _entry(row: asyncpg.Record) -> JournalEntry:
    return JournalEntry(run_id=row["run_id"], seq=row["seq"], at=row["at"], epoch=row["epoch"], entry=decode_entry(row["entry"]))


async def _recovery(runs: Pool, held: Sequence[Held], found: Examination) -> None:
    """From the death of a worker to the first thing that another one wrote of each run it held."""
    query = (
        "select held.at, min(journal.at) as goes_on from unnest($1::text[], $2::bigint[], $3::timestamptz[]) as held (run_id, epoch, at)"
        " join journal on journal.run_id = held.run_id and journal.epoch > held.epoch group by held.run_id, held.at"
    )
    given = ([one.run_id for one in held], [one.epoch for one in held], [one.killed_at for one in held])
    found.recovered_s = sorted((row["goes_on"] - row["at"]).total_seconds() for row in await runs.fetch(query, *given))


async def _budgets(runs: Pool, found: Examination) -> None:
    """No run took more steps than its graph allows."""
    graphs = {agent: yaml.safe_load((folder / "agent.yaml").read_text()) for agent, folder in AGENTS.items()}
    for agent, graph in graphs.items():
        if most := graph.get("budget", {}).get("steps"):
            rows = await runs.fetch("select run_id, steps from runs where agent = $1 and steps > $2", agent, most)
            found.violations += [f"{row['run_id']}: {row['steps']} steps, and its budget is {most}" for row in rows]


async def _all_tenants(feedback: Pool, query: str) -> Sequence[asyncpg.Record]:
    """Feedback keeps tenants apart by row-level security; whoever owns its tables says so, as its ingestion does."""
    async with feedback.acquire() as connection, connection.transaction():
        await connection.execute("select set_config('plimsoll.ingesting', 'yes', true)")
        rows: Sequence[asyncpg.Record] = await connection.fetch(query)
    return rows


async def _streams(mesh: Mesh, runs: Pool, accepted: Sequence[Accepted], found: Examination) -> None:
    """What a client is streamed is the journal."""
    ended = [run for run in accepted if await runs.fetchval("select finished_at is not null from runs where run_id = $1", run.run_id)]
    async with connect(address=mesh.grpc_address, api_key=mesh.api_key) as client:
        for run in ended[:: max(1, len(ended) // _STREAMS)]:
            seqs = [entry.seq async for entry in client.runs.follow(run.run_id)]
            found.streams += 1
            if seqs != list(range(1, await runs.fetchval("select seq from runs where run_id = $1", run.run_id) + 1)):
                found.violations.append(f"{run.run_id}: the stream is not the journal: {seqs}")


def _opened(mesh: Mesh, role: str, database: str) -> AbstractAsyncContextManager[Pool]:
    servers = mesh.servers.postgres
    dsn = servers.dsn(role, database=database) if database else servers.dsn(role)
    return open_pool(PostgresSettings(dsn=Secret(dsn), pool_max=2), "public" if database else role)


def _history() -> ModuleType:
    """The history checker of the engine's own tests."""
    name = "orchestrator_history"
    if name not in sys.modules:
        path = Path(__file__).resolve().parents[2] / "services" / "orchestrator" / "tests" / "history.py"
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[name]
