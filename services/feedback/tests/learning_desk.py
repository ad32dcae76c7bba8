"""Everything of learning on a real database, with a model that answers as a test says."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime

import asyncpg
from feedback_learning_fakes import FakeModelRouter
from feedback_learning_samples import ACME, body, spec
from plimsoll_feedback.adapters.model_router_messages import tool_results
from plimsoll_feedback.adapters.postgres_annotations import PostgresAnnotationStore
from plimsoll_feedback.adapters.postgres_datasets import PostgresDatasetStore
from plimsoll_feedback.adapters.postgres_evaluations import PostgresEvaluationStore
from plimsoll_feedback.adapters.postgres_examples import PostgresHeldOutExamples, PostgresTrainingExamples
from plimsoll_feedback.adapters.postgres_improvements import PostgresImprovementStore
from plimsoll_feedback.adapters.postgres_operations import PostgresOperationStore
from plimsoll_feedback.adapters.postgres_production import PostgresProduction
from plimsoll_feedback.adapters.postgres_signals import PostgresSignalStore
from plimsoll_feedback.adapters.postgres_traces import PostgresTraceStore
from plimsoll_feedback.domain.learning.comparison import Rules
from plimsoll_feedback.domain.learning.datasets import DatasetName
from plimsoll_feedback.domain.learning.evaluations import EvaluationSpec
from plimsoll_feedback.domain.learning.proposing import PromptVersion, Shown
from plimsoll_feedback.domain.learning.reports import SubjectKind
from plimsoll_feedback.domain.learning.rules import Correction, LowConfidence
from plimsoll_feedback.domain.operation import Operation, OperationId, OperationKind, Run, RunId
from plimsoll_feedback.main import TABLES
from plimsoll_feedback.service import FeedbackService
from plimsoll_feedback.service.datasets import Datasets
from plimsoll_feedback.service.evaluating import EvaluationRunner
from plimsoll_feedback.service.evaluations import Evaluations
from plimsoll_feedback.service.improvements import Improvements
from plimsoll_feedback.service.improving import ImprovementRunner, Proposer
from plimsoll_feedback.transport.codec import signal_recorded
from plimsoll_feedback.transport.report_codec import seal, unseal
from plimsoll_runtime import logs
from plimsoll_runtime.clock import SystemClock
from plimsoll_runtime.ids import RandomIds
from plimsoll_runtime.postgres import migrate, open_pool
from plimsoll_runtime.settings import PostgresSettings, Secret
from plimsoll_runtime.usage import Usage

SORTING = DatasetName("sorting")
PROMPT = PromptVersion(
    name="sort",
    digest="",
    version=0,
    description="",
    variables=("question",),
    system="Sort.",
    examples=(Shown(user="card 0", assistant="card"), Shown(user="pin 0", assistant="pin")),
    user="{{question}}",
)
LABELS = ("card", "pin", "refund", "loan")


class Desk:
    """Everything that learns, on one database, with a model-router in memory."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        clock, ids, log = SystemClock(), RandomIds(), logs.get("test")
        self.pool = pool
        self.router = FakeModelRouter()
        self.operations = PostgresOperationStore(pool, signal_recorded)
        signals = PostgresSignalStore(pool, signal_recorded)
        self.feedback = FeedbackService(self.operations, signals, PostgresTraceStore(pool), clock, ids)
        self.store, self.training = PostgresDatasetStore(pool), PostgresTrainingExamples(pool)
        queue = PostgresAnnotationStore(pool, ids)
        self.datasets = Datasets(self.store, queue, self.training, PostgresProduction(pool), self.router, clock, ids, self.feedback)
        self.evaluation_store = PostgresEvaluationStore(pool, seal, unseal)
        self.evaluations = Evaluations(self.evaluation_store, self.store, self.router, clock, ids)
        self.held_out = PostgresHeldOutExamples(pool)
        self.runner = EvaluationRunner(self.evaluation_store, self.held_out, self.router, tool_results, clock, log)
        self.tries = PostgresImprovementStore(pool)
        self.improvements = Improvements(self.tries, self.store, clock, ids)
        proposer = Proposer(self.training, self.router)
        self.improver = ImprovementRunner(self.tries, self.improvements, proposer, self.evaluations, self.store, self.router, clock, log)
        self.weak = self.router.add(PROMPT, "production")
        self.stop = asyncio.Event()

    async def happened(self, questions: list[str], *, tenant: str = ACME, confidence: float = 0.2, answer: str = "card") -> None:
        """Calls of the prompt, one in each run."""
        now = datetime.now(UTC)
        told = [_call(question, now, tenant, confidence, self.weak.digest) for question in questions]
        self.router.bodies |= {f"call_{question}": body(question, answer, self.weak.digest) for question in questions}
        runs = [Run(id=RunId(f"run_{question}"), tenant=tenant, agent="desk", agent_version="d1", started_at=now) for question in questions]
        await self.operations.record(told, runs)

    async def learned(self, questions: list[str]) -> None:
        """These happened, were selected, and annotated with their first word."""
        await self.happened(questions)
        await self.annotated()

    async def annotated(self) -> None:
        """All that was selected, with the first word of the question."""
        await self.datasets.select(ACME, SORTING)
        while items := await self.datasets.claim(ACME, SORTING, "ada", 100, 60):
            for item in items:
                await self.datasets.annotate(ACME, item.id, "ada", item.body.variables["question"].split()[0])  # type: ignore[index, call-overload, union-attr]


def _call(question: str, at: datetime, tenant: str, confidence: float, digest: str) -> Operation:
    return Operation(
        id=OperationId(f"op_{question}"),
        tenant=tenant,
        kind=OperationKind.MODEL_CALL,
        run_id=RunId(f"run_{question}"),
        step=2,
        agent="desk",
        agent_version="d1",
        node="sort",
        name="rehearsal",
        started_at=at,
        duration_s=0.1,
        usage=Usage(),
        facts={
            "call_id": f"call_{question}",
            "prompt": "sort",
            "prompt_digest": digest,
            "confidence": confidence,
            "task": "classification",
        },
    )


def questions(*labels: str, count: int = 30) -> list[str]:
    """Different enough not to be taken for duplicates."""
    return [f"{label} question {n} about matter {n * 7 + len(label)} of {label}{n}" for label in labels for n in range(count)]


async def begun(desk: Desk, better: PromptVersion, key: str = "", **rules: object) -> str:
    spec_ = EvaluationSpec(
        dataset=SORTING,
        subject=SubjectKind.PROMPT,
        name="sort",
        candidate_digest=better.digest,
        baseline_digest="",
        rules=replace(Rules(minimum_examples=10), **rules),  # type: ignore[arg-type]  # a test's shorthand
    )
    return (await desk.evaluations.start(ACME, spec_, "production", key)).id


@asynccontextmanager
async def a_desk(dsn: str) -> AsyncIterator[Desk]:
    """On a database of its own, with one dataset."""
    async with open_pool(PostgresSettings(dsn=Secret(dsn)), "feedback") as pool:
        await migrate(pool, "feedback", TABLES)
        desk = Desk(pool)
        await desk.datasets.put(ACME, spec(rules=(LowConfidence(below=0.5), Correction())), "ada")
        yield desk
