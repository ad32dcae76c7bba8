"""Feedback at size: how long an event takes until it is queryable, and how long lists take over a million operations.

Everything runs in this process on real servers: the whole service, as its composition root builds it.
"""

import asyncio
import os
import resource
import statistics
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta

import asyncpg
from feedback_events import Made, made_runs
from plimsoll_devstack.servers import Servers
from plimsoll_feedback.adapters.postgres_operations import PostgresOperationStore, _Query
from plimsoll_feedback.adapters.postgres_partitions import OperationPartitions
from plimsoll_feedback.adapters.postgres_session import MIGRATIONS, reading
from plimsoll_feedback.adapters.postgres_traces import PostgresTraceStore, TraceQuery
from plimsoll_feedback.config import Settings
from plimsoll_feedback.domain.operation import OperationFilter, OperationKind
from plimsoll_feedback.domain.paging import PageRequest
from plimsoll_feedback.domain.trace import TraceFilter, TraceStatus
from plimsoll_feedback.main import build
from plimsoll_feedback.transport.codec import signal_recorded
from plimsoll_runtime import logs
from plimsoll_runtime.bus import open_bus, service_stream
from plimsoll_runtime.clock import SystemClock
from plimsoll_runtime.failures import Category
from plimsoll_runtime.health import AdminServer
from plimsoll_runtime.lifecycle import App, serve
from plimsoll_runtime.metrics import Metrics
from plimsoll_runtime.outbox import OUTBOX_MIGRATIONS
from plimsoll_runtime.postgres import migrate, open_pool
from plimsoll_runtime.settings import NatsSettings, PostgresSettings, Secret, load
from plimsoll_testkit.waiting import eventually
from results import Row

TENANT = "bench"
RATE, SECONDS = 1000, int(os.environ.get("PLIMSOLL_BENCH_SECONDS", "30"))
OPERATIONS = int(os.environ.get("PLIMSOLL_BENCH_OPERATIONS", "1000000"))
_A_RUN = 10  # operations
_DAYS = 20
_TIMES = 15
_LAGS = """
select percentile_cont(array[0.5, 0.99]) within group (
    order by extract(epoch from recorded_at - (started_at + make_interval(secs => duration_s)))::float8
) from operations where tenant = $1
"""
_FILL_RUNS = """
insert into runs (
    tenant, run_id, agent, agent_version, started_at, journal, status, finished_at, duration_s, category, reason, steps, cost_micros, categories,
    tags, search, thread_id
)
select $1, 'run_' || n, 'agent-' || n % 20, 'd' || n % 3, at, true, case when n % 20 = 0 then 'failed' else 'succeeded' end, at, n % 97, null, null, 8,
    n % 5003, case when n % 20 = 0 then array['timeout'] when n % 1000 = 7 then array['wrong_tool'] else '{}'::text[] end,
    case when n % 500 = 0 then array['vip', 'ticket:' || n] else '{}'::text[] end,
    strip(to_tsvector('simple', 'classify lookup answer find_account handbook agent-' || n % 20 || case when n % 20 = 0 then ' TOO_SLOW upstream ' || n else '' end)),
    'thr_' || n / 3
from (select n, $2::timestamptz + n * (interval '20 days' / $3) as at from generate_series(1, $3::int) as n) as numbers
"""
_FILL_OPERATIONS = """
insert into operations (
    tenant, started_at, operation_id, kind, run_id, step, agent, agent_version, node, name, duration_s, category, reason, message, retryable, place,
    evidence, input_tokens, output_tokens, cached_input_tokens, reasoning_tokens, cost_micros, facts
)
select $1, at, 'op_' || n, (array['transition', 'model_call', 'tool_call', 'retrieval', 'transition'])[1 + n % 5], 'run_' || n / 10, n % 10,
    'agent-' || (n / 10) % 20, 'd' || (n / 10) % 3, (array['classify', 'lookup', 'answer'])[1 + n % 3], 'find_account', 0.25,
    case when n % 50 = 0 then 'timeout' end, case when n % 50 = 0 then 'TOO_SLOW' end, case when n % 50 = 0 then 'it took too long' end,
    case when n % 50 = 0 then true end, case when n % 50 = 0 then 'find_account' end, '', 100, 10, 0, 0, 5, '{"attempts": 1, "confidence": 0.8}'
from (select n, $2::timestamptz + n * (interval '20 days' / $3) as at from generate_series(1, $3::int) as n) as numbers
"""


async def measure_ingest(servers: Servers) -> list[Row]:
    """Events of four services at 1,000 a second, from their being published to their being committed."""
    async with _service(servers) as (app, pool):
        events = sum(len(run.events) for run in made_runs(TENANT, datetime.now(UTC), 50))
        runs = RATE * SECONDS // (events // 50)
        before = resource.getrusage(resource.RUSAGE_SELF)
        sent = await _publish(servers, runs, events // 50)
        operations = sum(run.operations for run in made_runs(TENANT, datetime.now(UTC), runs))
        await eventually(lambda: _count(pool, operations), within_s=60)
        used = resource.getrusage(resource.RUSAGE_SELF)
        async with reading(pool, TENANT) as connection:
            median, p99 = await connection.fetchval(_LAGS, TENANT)
        late = _share_within(app, 1.0)
    cpu = (used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime) * 1e3 / sent
    return [
        Row(name="ingest-lag p99", value=p99, unit="s", target="<= 1", passed=p99 <= 1 and late >= 0.99),
        Row(name="ingest-lag", value=median, unit="s median", target=""),
        Row(name="ingest-within-1s", value=late * 100, unit="%", target=">= 99", passed=late >= 0.99),
        Row(name="ingest-cpu", value=cpu, unit="ms/event", target=""),
    ]


async def measure_lists(servers: Servers) -> list[Row]:
    """A page of each list that people ask for, over a million operations of one tenant in twenty days."""
    dsn = servers.postgres.dsn("feedback")
    async with open_pool(PostgresSettings(dsn=Secret(dsn), statement_cap_s=900), "feedback") as pool:
        await migrate(pool, "feedback", [OUTBOX_MIGRATIONS, MIGRATIONS])
        await _fill(pool)
        traces, operations = PostgresTraceStore(pool), PostgresOperationStore(pool, signal_recorded)
        slowest, plans = 0.0, []
        for where in _trace_filters():
            query = TraceQuery(TENANT, where, PageRequest(size=50))
            plans.append((repr(where), await _plan(pool, query.text, query.arguments)))
            slowest = max(
                slowest, await _median([lambda where=where: traces.find(TENANT, where, PageRequest(size=50))] * _TIMES, repr(where))
            )
        listed = 0.0
        for one in _operation_filters():
            asked = _Query(TENANT, one, PageRequest(size=50))
            plans.append((repr(one), await _plan(pool, asked.text, asked.arguments)))
            listed = max(listed, await _median([lambda one=one: operations.find(TENANT, one, PageRequest(size=50))] * _TIMES, repr(one)))
    scans = [name for name, plan in plans if "Seq Scan" in plan]
    for name in scans:
        print(f"  read without an index: {name}")
    return [
        Row(name="trace-list", value=slowest, unit="ms slowest", target="<= 100", passed=slowest <= 100 and not scans),
        Row(name="operation-list", value=listed, unit="ms slowest", target="<= 100", passed=listed <= 100 and not scans),
    ]


def _trace_filters() -> Sequence[TraceFilter]:
    now = datetime.now(UTC)
    return [
        TraceFilter(),
        TraceFilter(agent="agent-3"),
        TraceFilter(agent="agent-3", agent_version="d1", status=TraceStatus.FAILED),
        TraceFilter(category=Category.TIMEOUT),
        TraceFilter(category=Category.WRONG_TOOL),
        TraceFilter(tags=("vip",)),
        TraceFilter(tags=("ticket:50000",)),
        TraceFilter(after=now - timedelta(days=9), before=now - timedelta(days=8)),
        TraceFilter(min_cost_micros=5000),
        TraceFilter(min_duration_s=96),
        TraceFilter(text="find_account"),
        TraceFilter(text="upstream 50000"),
        TraceFilter(text="nowhere"),
        TraceFilter(thread_id="thr_777"),
        TraceFilter(agent="agent-0", category=Category.TIMEOUT, min_cost_micros=4900, text="too_slow"),
    ]


def _operation_filters() -> Sequence[OperationFilter]:
    return [
        OperationFilter(),
        OperationFilter(agent="agent-3"),
        OperationFilter(failed_only=True),
        OperationFilter(category=Category.TIMEOUT, agent="agent-5"),
        OperationFilter(kind=OperationKind.RETRIEVAL),
    ]


async def _median(calls: Sequence[object], name: str) -> float:
    times = []
    for call in calls:
        started = time.perf_counter()
        await call()  # type: ignore[operator]
        times.append((time.perf_counter() - started) * 1e3)
    middle = statistics.median(times)
    print(f"  {middle:7.1f} ms  {name}")
    return middle


async def _plan(pool: asyncpg.Pool, text: str, arguments: Sequence[object]) -> str:
    async with reading(pool, TENANT) as connection:
        return "\n".join(row[0] for row in await connection.fetch("explain " + text, *arguments))


async def _fill(pool: asyncpg.Pool) -> None:
    began, runs = datetime.now(UTC) - timedelta(days=_DAYS), OPERATIONS // _A_RUN
    clock = SystemClock()
    partitions = OperationPartitions(pool, clock, 1, logs.get("bench"))
    async with pool.acquire() as connection:
        for day in range(_DAYS + 1):
            await partitions._ensure_day(connection, (began + timedelta(days=day)).date())
        async with connection.transaction():
            await connection.execute("select set_config('plimsoll.ingesting', 'yes', true)")
            await connection.execute(_FILL_RUNS, TENANT, began, runs, timeout=600)
            await connection.execute(_FILL_OPERATIONS, TENANT, began, OPERATIONS, timeout=900)
        await connection.execute("vacuum analyze operations", timeout=600)
        await connection.execute("vacuum analyze runs", timeout=600)


@asynccontextmanager
async def _service(servers: Servers) -> AsyncIterator[tuple[App, asyncpg.Pool]]:
    prefix = "PLIMSOLL_FEEDBACK_"
    environ = {
        "INSECURE": "true",
        "POSTGRES_DSN": servers.postgres.dsn("feedback"),
        "NATS_URL": servers.nats.url("feedback"),
        "LOG_LEVEL": "ERROR",
    }
    settings = load(Settings, prefix, {prefix + name: value for name, value in environ.items()})
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(open_pool(settings.postgres, "feedback"))
        app = await build(settings, stack)
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(serve(app, AdminServer("127.0.0.1:0"), stop, drain_s=5))
            try:
                yield app, pool
            finally:
                stop.set()


async def _publish(servers: Servers, runs: int, a_run: int) -> int:
    """At the rate, in slices of a tenth of a second; returns how many events there were."""
    sent = 0
    async with AsyncExitStack() as stack:
        buses = {}
        for service in ("orchestrator", "tool_dispatcher", "model_router", "memory"):
            buses[service] = await stack.enter_async_context(
                open_bus(NatsSettings(url=Secret(servers.nats.url(service))), "bench", Metrics())
            )
            await buses[service].ensure_stream(service_stream(service))
        began, a_slice = time.perf_counter(), max(1, RATE // 10 // a_run)
        for first in range(0, runs, a_slice):
            made: list[Made] = list(made_runs(TENANT, datetime.now(UTC), min(a_slice, runs - first), first=first))
            for service, bus in buses.items():
                await bus.publish_all([event for run in made for owner, event in run.events if owner == service])
            sent += sum(len(run.events) for run in made)
            await asyncio.sleep(max(0.0, began + sent / RATE - time.perf_counter()))
    return sent


async def _count(pool: asyncpg.Pool, wanted: int) -> bool:
    async with reading(pool, TENANT) as connection:
        return bool(await connection.fetchval("select count(*) from operations where tenant = $1", TENANT) >= wanted)


def _share_within(app: App, seconds: float) -> float:
    """Of all events, by the service's own histogram: from an event to its commit."""
    registry, total, within = app.metrics.registry, 0.0, 0.0
    for metric in registry.collect():
        for sample in metric.samples:
            if sample.name == "plimsoll_feedback_queryable_seconds_bucket":
                total += sample.value if sample.labels["le"] == "+Inf" else 0.0
                within += sample.value if sample.labels["le"] == f"{seconds:.1f}" else 0.0
    return within / total if total else 0.0
