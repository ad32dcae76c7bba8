"""The composition root: settings → resources in order → adapters → service and worker → servers."""

import asyncio
import os
import socket
from contextlib import AsyncExitStack

from plimsoll.orchestrator.v1 import orchestrator_service_pb2, orchestrator_service_pb2_grpc
from plimsoll_runtime import logs
from plimsoll_runtime.bus import open_bus, service_stream
from plimsoll_runtime.clock import SystemClock
from plimsoll_runtime.ids import RandomIds
from plimsoll_runtime.lifecycle import App, Loop, run_service
from plimsoll_runtime.metrics import Metrics
from plimsoll_runtime.outbox import OutboxRelay
from plimsoll_runtime.postgres import MigrationSet, migrate, open_pool, ping, upgrade
from plimsoll_runtime.rpc_client import open_channel
from plimsoll_runtime.rpc_server import EVERY_METHOD, PeerCertificates, RpcServer, RpcService

from plimsoll_orchestrator.adapters.database_clock import DatabaseClock
from plimsoll_orchestrator.adapters.journal_outbox import JournalOutbox
from plimsoll_orchestrator.adapters.load_metrics import LoadMetrics
from plimsoll_orchestrator.adapters.memory import RemoteMemory
from plimsoll_orchestrator.adapters.model_router import RemoteModels
from plimsoll_orchestrator.adapters.postgres_agents import PostgresAgentStore
from plimsoll_orchestrator.adapters.postgres_claims import PostgresClaimStore
from plimsoll_orchestrator.adapters.postgres_load import PostgresLoadGauge
from plimsoll_orchestrator.adapters.postgres_retention import PostgresRetention
from plimsoll_orchestrator.adapters.postgres_runs import PostgresRunStore
from plimsoll_orchestrator.adapters.postgres_schedules import PostgresScheduleStore
from plimsoll_orchestrator.adapters.postgres_unfinished import PostgresUnfinishedRuns
from plimsoll_orchestrator.adapters.postgres_webhooks import PostgresWebhookStore
from plimsoll_orchestrator.adapters.postgres_workers import PostgresWorkers
from plimsoll_orchestrator.adapters.signals import HINT_CONSUMER, HINTS, BusSignals, JournalWatch, SpeechWatch
from plimsoll_orchestrator.adapters.tool_dispatcher import RemoteGrants, RemoteTools
from plimsoll_orchestrator.adapters.webhook_sender import WebhookSender
from plimsoll_orchestrator.committer import Committer
from plimsoll_orchestrator.config import Settings
from plimsoll_orchestrator.engine import Engine
from plimsoll_orchestrator.retention import Caretaker
from plimsoll_orchestrator.scheduler import Scheduler
from plimsoll_orchestrator.service import Control, Following, Orchestrator
from plimsoll_orchestrator.service.dry_run import DryRun
from plimsoll_orchestrator.service.load import LoadWatch
from plimsoll_orchestrator.service.schedules import Schedules, starting_with
from plimsoll_orchestrator.service.webhooks import Webhooks
from plimsoll_orchestrator.speaker import Speaker
from plimsoll_orchestrator.steps.perform import Performer
from plimsoll_orchestrator.transport.event_codec import event_to_publish
from plimsoll_orchestrator.transport.grpc import OrchestratorServicer
from plimsoll_orchestrator.webhooks import Courier
from plimsoll_orchestrator.worker import Worker

NAME = "orchestrator"
CALLERS = {"gateway": EVERY_METHOD, "feedback": frozenset({"FollowRun"})}
MIGRATIONS = MigrationSet("orchestrator", "plimsoll_orchestrator.adapters")


async def build(settings: Settings, stack: AsyncExitStack) -> App:
    """Enter every resource and wire the service; nothing runs yet."""
    metrics, log, ids = Metrics(), logs.get(NAME), RandomIds()
    pool = await stack.enter_async_context(open_pool(settings.postgres, "orchestrator", application=f"orchestrator-{settings.role}"))
    await migrate(pool, "orchestrator", [MIGRATIONS])
    bus = await stack.enter_async_context(open_bus(settings.nats, NAME, metrics))
    await bus.ensure_stream(HINTS)
    clock = DatabaseClock(SystemClock())
    clock.set(await pool.fetchval("select now()"))
    agents, runs = PostgresAgentStore(pool), PostgresRunStore(pool, clock)
    signals, watch, speech, workers = BusSignals(bus), JournalWatch(bus), SpeechWatch(bus), PostgresWorkers(pool)
    schedules, webhooks = PostgresScheduleStore(pool), PostgresWebhookStore(pool)
    sender = await stack.enter_async_context(WebhookSender.opened(settings.webhooks.rules, clock))

    servers: list[RpcServer] = []
    loops: dict[str, Loop] = {}
    if settings.serves:
        await stack.enter_async_context(runs.accepting())
        service = Orchestrator(agents=agents, runs=runs, signals=signals, clock=clock, ids=ids)
        channel = await stack.enter_async_context(open_channel(settings.tool_dispatcher_address, settings.server.tls, "tool-dispatcher"))
        load = LoadWatch(PostgresLoadGauge(pool), clock)
        control = Control(orchestrator=service, workers=workers, grants=RemoteGrants(channel, log), clock=clock, ids=ids)
        servicer = OrchestratorServicer(
            service,
            control,
            Following(runs=runs, watch=watch, listening=speech),
            Schedules(agents=agents, store=schedules, clock=clock, ids=ids),
            Webhooks(store=webhooks, receivers=sender),
            DryRun(agents=agents, runs=PostgresUnfinishedRuns(pool)),
            load,
        )
        register = RpcService(
            orchestrator_service_pb2.DESCRIPTOR.services_by_name["OrchestratorService"].full_name,
            lambda server: orchestrator_service_pb2_grpc.add_OrchestratorServiceServicer_to_server(servicer, server),
        )
        callers = PeerCertificates(CALLERS, insecure=settings.server.insecure)
        servers.append(RpcServer(settings.server, [register], callers, metrics, log))
        loops["watch"] = watch.run
        loops["speech"] = speech.run
        loops["load"] = LoadMetrics(load, metrics.registry).run
        loops["scheduler"] = Scheduler(schedules, starting_with(service), log).run
    if settings.works:
        speaker = Speaker(signals)
        claims = PostgresClaimStore(pool, clock)
        await stack.enter_async_context(claims.keeping())
        worker = await _worker(settings, stack, agents, claims, signals, speaker, workers, clock)
        outbox = JournalOutbox(event_to_publish, log)
        loops["worker"] = worker.run
        loops["hints"] = lambda stop: bus.consume(HINT_CONSUMER, worker.hear_hints, stop)
        loops["interruptions"] = lambda stop: signals.hear_interruptions(stop, worker.hear_interruption)
        loops["letters"] = lambda stop: signals.hear_letters(stop, worker.hear_letters)
        loops["followers"] = lambda stop: signals.hear_followers(stop, speaker.hear_follower)
        loops["speaker"] = speaker.run
        loops["relay"] = OutboxRelay(pool, bus, service_stream(NAME), log, outbox).run
        loops["webhooks"] = Courier(webhooks, sender, clock, log).run
        kept = settings.retention
        loops["retention"] = Caretaker(PostgresRetention(pool), log, journals_days=kept.journal_days, runs_days=kept.run_days).run
    return App(name=NAME, metrics=metrics, pings={"postgres": lambda: ping(pool), "nats": bus.ping}, servers=servers, loops=loops)


async def _worker(
    settings: Settings,
    stack: AsyncExitStack,
    agents: PostgresAgentStore,
    claims: PostgresClaimStore,
    signals: BusSignals,
    speaker: Speaker,
    workers: PostgresWorkers,
    clock: DatabaseClock,
) -> Worker:
    log, tls = logs.get(NAME), settings.server.tls
    models = await stack.enter_async_context(open_channel(settings.model_router_address, tls, "model-router"))
    tools = await stack.enter_async_context(open_channel(settings.tool_dispatcher_address, tls, "tool-dispatcher"))
    memory = await stack.enter_async_context(open_channel(settings.memory_address, tls, "memory"))
    engine = Engine(
        performer=Performer(models=RemoteModels(models), tools=RemoteTools(tools), memory=RemoteMemory(memory)),
        grants=RemoteGrants(tools, log),
        committer=Committer(claims, signals),
        store=claims,
        speaker=speaker,
        find_graph=agents.graph,
        find_newest=agents.newest_graph,
        clock=clock,
        ids=RandomIds(),
        log=log,
        draining=asyncio.Event(),
    )
    name = f"{socket.gethostname()}:{os.getpid()}"
    return Worker(name, claims, engine, log, slots=settings.slots, drain_s=settings.server.drain_s / 2, beat=workers.beat)


def main() -> None:
    run_service(NAME, Settings, build, upgrade=lambda settings: upgrade(settings.postgres, NAME, [MIGRATIONS]))
