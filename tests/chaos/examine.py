"""The examination afterwards: what was promised against what is there, in journals, ledgers, the outside ledger, feedback and streams."""

import asyncio
import importlib.util
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import asyncpg
import grpc
import promises
from harm import Held
from plimsoll.gateway.v1 import gateway_service_pb2_grpc, runs_pb2
from plimsoll.orchestrator.v1 import run_events_pb2
from plimsoll_client import connect
from plimsoll_devstack.mesh import Mesh
from plimsoll_feedback.adapters.operation_rows import NAMES, operation_from_row
from plimsoll_feedback.transport.codec import operation_to_proto
from plimsoll_orchestrator.domain.journal import decode_entry
from plimsoll_orchestrator.ports import JournalEntry
from plimsoll_orchestrator.transport.event_codec import event_to_proto
from plimsoll_runtime.errors import PlimsollError
from plimsoll_runtime.postgres import open_pool
from plimsoll_runtime.settings import PostgresSettings, Secret
from plimsoll_testkit.parity import differences
from workload import Accepted, Tenants

_ENDED = frozenset({"succeeded", "failed", "cancelled"})
_SETTLED = _ENDED | {"waiting"}
_STREAMS, _STREAM_S = 25, 60.0
_LOOK_EVERY_S = 0.5  # less often than would keep the database from what is waited for

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


async def examine(mesh: Mesh, keys: Tenants, accepted: Sequence[Accepted], *, within_s: float, held: Sequence[Held] = ()) -> Examination:
    """Wait until every run has ended or waits for people and everything was told, then look. Raises nothing for what it finds."""
    found = Examination()
    async with AsyncExitStack() as stack:
        runs, tools, models, feedback, outside = [
            await stack.enter_async_context(_opened(mesh, role, "examples" if role == "examples" else ""))
            for role in ("orchestrator", "tool_dispatcher", "model_router", "feedback", "examples")
        ]
        await _until(found, "runs go on", lambda: _unsettled(mesh, keys, runs, accepted, found), within_s)
        await _until(found, "entries wait to be published", lambda: runs.fetchval("select count(*) from journal_outbox"), within_s)
        statuses = await _runs(runs, accepted, found)
        await _journals(runs, accepted, found)
        await _effects(outside, accepted, statuses, found)
        await _unknown(runs, tools, found)
        await _set_aside(runs, found)
        await _until(found, "operations of runs are missing in feedback", lambda: _untold(feedback, runs), within_s)
        journals = await _published(runs)
        await _feedback(feedback, journals, found)
        await _streams(mesh, keys, journals, accepted, found)
        await _tenants(runs, tools, models, feedback, found)
        await _recovery(runs, held, found)
    return found


async def _until(found: Examination, what: str, count: Callable[[], Awaitable[int]], within_s: float) -> None:
    """Wait until nothing is left of something, as long as it becomes less: how fast that goes is the machine's matter. What is left when it
    does not any more is a violation."""
    left = await count()
    least, ends = left, time.monotonic() + within_s
    while left and time.monotonic() < ends:
        await asyncio.sleep(_LOOK_EVERY_S)
        left = await count()
        if left < least:
            least, ends = left, time.monotonic() + within_s
    if left:
        found.violations.append(f"{left} {what}, and no fewer for {within_s:g} s")


async def _unsettled(mesh: Mesh, keys: Tenants, runs: Pool, accepted: Sequence[Accepted], found: Examination) -> int:
    """Those that go on. Whose worker died under them again and again was set aside, and a person lets them go on, once."""
    for row in await runs.fetch("select tenant, run_id from runs where status = 'quarantined'"):
        if row["run_id"] not in found.resumed:
            with suppress(PlimsollError):  # asked again with the next look
                async with connect(address=mesh.grpc_address, api_key=keys[row["tenant"]]) as client:
                    await client.runs.resume(row["run_id"])
                found.resumed.add(row["run_id"])
    known = "select count(*) from runs where run_id = any($1::text[]) and status = any($2::text[])"
    return len(accepted) - int(await runs.fetchval(known, [run.run_id for run in accepted], list(_SETTLED)))


async def _runs(runs: Pool, accepted: Sequence[Accepted], found: Examination) -> Mapping[str, str]:
    """No accepted run is lost, none is two, none ended for a fault of ours."""
    rows = await runs.fetch("select run_id, tenant, idempotency_key as key, status from runs where parent_run_id = ''")
    there = [promises.Run(**row) for row in rows]
    statuses = {run.run_id: run.status for run in there}
    found.violations += promises.accepted_runs(accepted, there)
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


async def _effects(outside: Pool, accepted: Sequence[Accepted], statuses: Mapping[str, str], found: Examination) -> None:
    counted = Counter(row["name"] for row in await outside.fetch("select name from counted"))
    struck = Counter(row["name"] for row in await outside.fetch("select name from struck"))
    found.effects = counted.total() + struck.total()
    found.violations += promises.effects(accepted, statuses, counted, struck)


async def _unknown(runs: Pool, tools: Pool, found: Examination) -> None:
    unknown = [row["run_id"] for row in await tools.fetch("select run_id from calls where state = 'unknown'")]
    found.unknown_calls = len(unknown)
    told = "select distinct run_id from journal where run_id = any($1::text[]) and entry like '%outcome_unknown%'"
    found.violations += promises.unknown_outcomes(unknown, {row["run_id"] for row in await runs.fetch(told, unknown)})


async def _set_aside(runs: Pool, found: Examination) -> None:
    entries = "select run_id, entry::jsonb -> 'evidence' as evidence from journal where entry like '{\"kind\":\"run_quarantined\"%'"
    evidence = {row["run_id"]: row["evidence"] for row in await runs.fetch(entries)}
    found.violations += promises.set_aside(found.resumed, evidence)


async def _tenants(runs: Pool, tools: Pool, models: Pool, feedback: Pool, found: Examination) -> None:
    """Every call of a tool or a model, and whatever feedback keeps, is of the tenant whose run it was for."""
    known = {row["run_id"]: row["tenant"] for row in await runs.fetch("select run_id, tenant from runs")}
    query = "select distinct tenant, run_id from {}"
    ledgers = {
        "a call of a tool": await tools.fetch(query.format("calls")),
        "a call of a model": await _all_tenants(models, "plimsoll.keeping", query.format("calls")),
        "an operation": await _all_tenants(feedback, _FEEDBACK, query.format("operations")),
    }
    for what, rows in ledgers.items():
        found.violations += promises.tenants(what, [(row["tenant"], row["run_id"]) for row in rows], known)


_FEEDBACK = "plimsoll.ingesting"
_OF_RUNS = "select run_id from operations where kind = 'run' group by run_id"


async def _untold(feedback: Pool, runs: Pool) -> int:
    ended = {row["run_id"] for row in await runs.fetch("select run_id from runs where finished_at is not null")}
    return len(ended - {row["run_id"] for row in await _all_tenants(feedback, _FEEDBACK, _OF_RUNS)})


async def _published(runs: Pool) -> Mapping[str, list[run_events_pb2.RunEvent]]:
    """The journals of ended runs as the mesh tells them."""
    ended = await runs.fetch("select run_id, tenant, agent, agent_digest from runs where finished_at is not null")
    rows = await _by_run(runs.fetch("select run_id, seq, epoch, at, entry from journal order by run_id, seq"))
    return {
        run["run_id"]: [event_to_proto(run["tenant"], run["agent"], run["agent_digest"], _entry(row)) for row in rows[run["run_id"]]]
        for run in ended
    }


async def _feedback(feedback: Pool, journals: Mapping[str, Sequence[run_events_pb2.RunEvent]], found: Examination) -> None:
    """Feedback says of each ended run exactly what its journal says."""
    rows = await _by_run(_all_tenants(feedback, _FEEDBACK, f"select {NAMES} from operations where run_id <> ''"))
    found.operations = sum(map(len, rows.values()))
    for run_id, journal in journals.items():
        operations = [operation_to_proto(operation_from_row(row["tenant"], row)) for row in rows.get(run_id, ())]
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


async def _all_tenants(pool: Pool, setting: str, query: str) -> Sequence[asyncpg.Record]:
    """Some keep tenants apart by row-level security; whoever owns their tables says so, as what keeps house there does."""
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("select set_config($1, 'yes', true)", setting)
        rows: Sequence[asyncpg.Record] = await connection.fetch(query)
    return rows


async def _streams(
    mesh: Mesh,
    keys: Tenants,
    journals: Mapping[str, Sequence[run_events_pb2.RunEvent]],
    accepted: Sequence[Accepted],
    found: Examination,
) -> None:
    """What a client is streamed is the journal."""
    ended = [run for run in accepted if run.run_id in journals]
    async with grpc.aio.insecure_channel(mesh.grpc_address) as channel:
        stub = gateway_service_pb2_grpc.GatewayServiceStub(channel)
        for run in ended[:: max(1, len(ended) // _STREAMS)]:
            asked = runs_pb2.FollowRunRequest(run_id=run.run_id)
            call = stub.FollowRun(asked, timeout=_STREAM_S, metadata=(("authorization", f"Bearer {keys[run.tenant]}"),))
            found.violations += promises.stream(run.run_id, [answer.event async for answer in call], journals[run.run_id])
            found.streams += 1


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
