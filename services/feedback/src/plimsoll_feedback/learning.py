"""Composes what learns from production: datasets, evaluations, improvements, with their RPCs and loops."""

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

import asyncpg
from plimsoll_runtime.clock import Clock
from plimsoll_runtime.ids import Ids
from plimsoll_runtime.lifecycle import Loop
from plimsoll_runtime.logs import Log
from plimsoll_runtime.rpc_client import open_channel
from plimsoll_runtime.rpc_server import RpcService
from plimsoll_runtime.settings import TlsSettings

from plimsoll_feedback.adapters.model_router import GrpcModelRouter
from plimsoll_feedback.adapters.model_router_messages import tool_results
from plimsoll_feedback.adapters.postgres_alerts import PostgresAlerts
from plimsoll_feedback.adapters.postgres_annotations import PostgresAnnotationStore
from plimsoll_feedback.adapters.postgres_audit import PostgresAuditLog
from plimsoll_feedback.adapters.postgres_datasets import PostgresDatasetStore
from plimsoll_feedback.adapters.postgres_evaluations import PostgresEvaluationStore
from plimsoll_feedback.adapters.postgres_examples import PostgresHeldOutExamples, PostgresTrainingExamples
from plimsoll_feedback.adapters.postgres_improvements import PostgresImprovementStore
from plimsoll_feedback.adapters.postgres_production import PostgresProduction
from plimsoll_feedback.adapters.postgres_standings import PostgresStandings
from plimsoll_feedback.ports.learning import SignalRecorder
from plimsoll_feedback.service.datasets import Datasets, Selection
from plimsoll_feedback.service.evaluating import EvaluationRunner
from plimsoll_feedback.service.evaluations import Evaluations
from plimsoll_feedback.service.exports import Exports
from plimsoll_feedback.service.improvements import Improvements
from plimsoll_feedback.service.improving import ImprovementRunner, Proposer
from plimsoll_feedback.service.scoreboard import Scoreboard
from plimsoll_feedback.service.watching import PromotionWatch
from plimsoll_feedback.transport.grpc_learning import LearningVerbs, learning_rpcs
from plimsoll_feedback.transport.report_codec import seal, unseal

_NOWHERE = "127.0.0.1:9"  # connects when first used: without a router everything else works, and what needs it is UNAVAILABLE


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """What learning stands on."""

    pool: asyncpg.Pool
    clock: Clock
    ids: Ids
    log: Log
    tls: TlsSettings
    model_router_address: str
    select_every_s: float
    signals: SignalRecorder


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What learning adds to the service."""

    rpcs: Sequence[RpcService]
    loops: Mapping[str, Loop]


async def learning(around: Around, stack: AsyncExitStack) -> Share:
    """Only evaluations get the held-out part; nothing that proposes or exports is given a way to it."""
    pool, clock, ids, log = around.pool, around.clock, around.ids, around.log
    address = around.model_router_address or _NOWHERE
    router = GrpcModelRouter(await stack.enter_async_context(open_channel(address, around.tls, "model-router")))
    dataset_store, training = PostgresDatasetStore(pool), PostgresTrainingExamples(pool)
    queue = PostgresAnnotationStore(pool, ids)
    datasets = Datasets(dataset_store, queue, training, PostgresProduction(pool), router, clock, ids, around.signals)
    evaluation_store = PostgresEvaluationStore(pool, seal, unseal)
    evaluations = Evaluations(evaluation_store, dataset_store, router, clock, ids)
    runner = EvaluationRunner(evaluation_store, PostgresHeldOutExamples(pool), router, tool_results, clock, log)
    tries = PostgresImprovementStore(pool)
    improvements = Improvements(tries, dataset_store, clock, ids)
    improver = ImprovementRunner(tries, improvements, Proposer(training, router), evaluations, dataset_store, router, clock, log)
    verbs = LearningVerbs(
        datasets=datasets,
        exports=Exports(datasets, router, PostgresAuditLog(pool)),
        evaluations=evaluations,
        scoreboard=Scoreboard(PostgresStandings(pool), dataset_store, router, evaluations),
        improvements=improvements,
    )
    loops: dict[str, Loop] = {"watch promotions": PromotionWatch(tries, router, PostgresAlerts(pool), clock, log).run}
    if around.model_router_address:
        loops |= {
            "select candidates": Selection(datasets, dataset_store, log, every_s=around.select_every_s).run,
            "carry out evaluations": runner.run,
            "improve prompts": improver.run,
        }
    return Share(rpcs=learning_rpcs(verbs), loops=loops)
