"""Feedback and the real model-router side by side, and what people do with them: ask, annotate, evaluate, promote."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace

import grpc
import pytest
from plimsoll.common.v1 import json_pb2, work_pb2
from plimsoll.feedback.v1 import dataset_pb2, dataset_service_pb2, dataset_service_pb2_grpc
from plimsoll.feedback.v1 import evaluation_service_pb2 as evaluation_pb
from plimsoll.feedback.v1 import evaluation_service_pb2_grpc as evaluation_rpc
from plimsoll.feedback.v1 import improvement_service_pb2_grpc as improvement_rpc
from plimsoll.model_router.v1 import model_router_service_pb2 as router_pb
from plimsoll.model_router.v1 import model_router_service_pb2_grpc as router_rpc
from plimsoll.model_router.v1 import prompt_pb2, registry_pb2
from plimsoll_feedback.config import Settings
from plimsoll_feedback.main import build as build_feedback
from plimsoll_model_router.config import BreakerSettings, ProviderSettings, TimerSettings
from plimsoll_model_router.config import Settings as RouterSettings
from plimsoll_model_router.main import build as build_router
from plimsoll_runtime.context import acting_for
from plimsoll_runtime.errors import PlimsollError
from plimsoll_runtime.health import AdminServer
from plimsoll_runtime.json_types import dump_json, parse_json
from plimsoll_runtime.lifecycle import App, serve
from plimsoll_runtime.rpc_client import call, open_channel
from plimsoll_runtime.settings import NatsSettings, PostgresSettings, RedisSettings, Secret, ServerSettings, TlsSettings
from plimsoll_testkit.waiting import eventually

LABEL = "production"
WORDS = {"card": "where is my new card {n}", "pin": "the pin code {n} is wrong", "refund": "give me my money back for order {n}"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Both:
    """Feedback and the model-router, as the gateway reaches them."""

    datasets: "dataset_service_pb2_grpc.DatasetServiceAsyncStub"
    evaluations: "evaluation_rpc.EvaluationServiceAsyncStub"
    improvements: "improvement_rpc.ImprovementServiceAsyncStub"
    router: "router_rpc.ModelRouterServiceAsyncStub"


def router_settings(listen: str, feedback_at: str, postgres_dsn: str, nats_url: str, redis_url: str) -> RouterSettings:
    """Without a provider, so that it rehearses."""
    server = ServerSettings(tls=TlsSettings(), insecure=True, drain_s=5.0)
    return RouterSettings(
        server=replace(server, grpc_listen=listen),
        postgres=PostgresSettings(dsn=Secret(postgres_dsn)),
        nats=NatsSettings(url=Secret(nats_url)),
        redis=RedisSettings(url=Secret(redis_url)),
        anthropic=ProviderSettings(),
        openai=ProviderSettings(),
        gemini=ProviderSettings(),
        compatible=ProviderSettings(),
        timers=TimerSettings(),
        breaker=BreakerSettings(),
        feedback_address=feedback_at,
    )


def stubs(feedback: grpc.aio.Channel, router: grpc.aio.Channel) -> Both:
    return Both(
        datasets=dataset_service_pb2_grpc.DatasetServiceStub(feedback),
        evaluations=evaluation_rpc.EvaluationServiceStub(feedback),
        improvements=improvement_rpc.ImprovementServiceStub(feedback),
        router=router_rpc.ModelRouterServiceStub(router),
    )


@asynccontextmanager
async def side_by_side(feedback: Settings, router: RouterSettings) -> AsyncIterator[Both]:
    """Both in this process, asked by ada of acme."""
    server = ServerSettings(tls=TlsSettings(), insecure=True, drain_s=5.0, grpc_listen=router.feedback_address)
    told = replace(feedback, server=server, model_router_address=router.server.grpc_listen, select_every_s=3600.0)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(served([await build_router(router, stack), await build_feedback(told, stack)]))
        of_feedback = await stack.enter_async_context(open_channel(router.feedback_address, TlsSettings(), "feedback"))
        of_router = await stack.enter_async_context(open_channel(router.server.grpc_listen, TlsSettings(), "model-router"))
        stack.enter_context(acting_for("acme", "ada"))
        yield stubs(of_feedback, of_router)


@asynccontextmanager
async def served(apps: list[App]) -> AsyncIterator[None]:
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for app in apps:
            group.create_task(serve(app, AdminServer("127.0.0.1:0"), stop, drain_s=5.0))
        try:
            yield
        finally:
            stop.set()


def prompt(*labels: str, shown: int = 2) -> prompt_pb2.Prompt:
    """Shows examples of these labels only."""
    examples = [
        prompt_pb2.PromptExample(user=WORDS[label].format(n=900 + n), assistant=json_pb2.JsonValue(text=dump_json(label)))
        for label in labels
        for n in range(shown)
    ]
    return prompt_pb2.Prompt(name="sort", variables=["question"], system="Sort.", examples=examples, user="{{question}}")


async def registered(both: Both, told: prompt_pb2.Prompt, *labels: str) -> str:
    request = router_pb.RegisterPromptRequest(prompt=told, labels=labels)
    return (await call(both.router.RegisterPrompt, request, cap_s=60)).prompt.digest


async def learned(both: Both, count: int = 36) -> None:
    """Questions are asked in production, selected and annotated."""
    rules = [dataset_pb2.SelectionRule(sample=1.0)]
    dataset = dataset_pb2.Dataset(name="sorting", prompt="sort", rules=rules)
    await call(both.datasets.PutDataset, dataset_service_pb2.PutDatasetRequest(dataset=dataset), cap_s=60)
    for label, words in WORDS.items():
        for n in range(count):
            await asked(both, f"{words.format(n=n)} ({label}{n * 13})", f"run_{label}_{n}")
    select = dataset_service_pb2.SelectCandidatesRequest(dataset="sorting")
    selected = 0

    async def all_there() -> bool:
        nonlocal selected
        selected += (await call(both.datasets.SelectCandidates, select, cap_s=60)).selected
        return selected >= count * len(WORDS)

    await eventually(all_there)
    claim = dataset_service_pb2.ClaimAnnotationsRequest(dataset="sorting", limit=100)
    while items := (await call(both.datasets.ClaimAnnotations, claim, cap_s=60)).items:
        for item in items:
            question = parse_json(item.input.text)
            assert isinstance(question, dict)
            label = next(label for label, words in WORDS.items() if str(question["question"]).startswith(words.split("{")[0]))
            said = dataset_service_pb2.AnnotateRequest(item_id=item.item_id, expected=json_pb2.JsonValue(text=dump_json(label)))
            await call(both.datasets.Annotate, said, cap_s=60)


async def evaluated(both: Both, start: evaluation_pb.StartEvaluationRequest) -> evaluation_pb.Evaluation:
    return await finished(both, (await call(both.evaluations.StartEvaluation, start, cap_s=60)).evaluation.evaluation_id)


async def finished(both: Both, evaluation_id: str) -> evaluation_pb.Evaluation:
    request = evaluation_pb.GetEvaluationRequest(evaluation_id=evaluation_id)

    async def done() -> list[evaluation_pb.Evaluation]:
        found = (await call(both.evaluations.GetEvaluation, request, cap_s=60)).evaluation
        assert found.state != evaluation_pb.EVALUATION_STATE_FAILED, found.problem
        return [found] if found.state == evaluation_pb.EVALUATION_STATE_DONE else []

    return (await eventually(done, within_s=60))[0]


def about(candidate: str, baseline: str = "") -> evaluation_pb.StartEvaluationRequest:
    return evaluation_pb.StartEvaluationRequest(
        dataset="sorting",
        subject=evaluation_pb.EVALUATION_SUBJECT_PROMPT,
        name="sort",
        candidate_digest=candidate,
        baseline_digest=baseline,
        rules=evaluation_pb.EvaluationRules(minimum_examples=15),
    )


async def move(
    both: Both, digest: str, report: str, kind: registry_pb2.EntryKind.ValueType = registry_pb2.ENTRY_KIND_PROMPT, name: str = "sort"
) -> bool:
    target = registry_pb2.EntryReference(kind=kind, name=name, digest=digest)
    request = router_pb.MoveLabelRequest(target=target, label=LABEL, report_digest=report)
    moved: bool = (await call(both.router.MoveLabel, request, cap_s=60)).moved
    return moved


async def refusal(both: Both, digest: str, report: str) -> str:
    with pytest.raises(PlimsollError) as refused:
        await move(both, digest, report)
    return refused.value.reason


async def asked(both: Both, question: str, run_id: str) -> None:
    generation = router_pb.Generation(
        prompt=prompt_pb2.PromptReference(name="sort", label=LABEL),
        variables=json_pb2.JsonValue(text=dump_json({"question": question})),
        task="classification",
        work=work_pb2.WorkContext(run_id=run_id, step=1, node="sort", agent="desk"),
    )
    await call(both.router.Generate, router_pb.GenerateRequest(generation=generation), cap_s=60)
