"""The gate, with the real model-router: its events, its bodies, its replays, and its registry, which nothing passes without a report."""

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
from plimsoll.model_router.v1 import model_router_service_pb2 as router_pb
from plimsoll.model_router.v1 import model_router_service_pb2_grpc as router_rpc
from plimsoll.model_router.v1 import prompt_pb2, registry_pb2, routing_pb2
from plimsoll_feedback.config import Settings
from plimsoll_feedback.main import build as build_feedback
from plimsoll_model_router.config import BreakerSettings, ProviderSettings, TimerSettings
from plimsoll_model_router.config import Settings as RouterSettings
from plimsoll_model_router.main import build as build_router
from plimsoll_runtime.context import acting_for
from plimsoll_runtime.errors import Denied, NotFound, PlimsollError
from plimsoll_runtime.health import AdminServer
from plimsoll_runtime.json_types import dump_json, parse_json
from plimsoll_runtime.lifecycle import App, serve
from plimsoll_runtime.rpc_client import call, open_channel
from plimsoll_runtime.settings import NatsSettings, PostgresSettings, RedisSettings, Secret, ServerSettings, TlsSettings
from plimsoll_testkit.upstream import unused_address
from plimsoll_testkit.waiting import eventually

LABEL = "production"
WORDS = {"card": "where is my new card {n}", "pin": "the pin code {n} is wrong", "refund": "give me my money back for order {n}"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Both:
    """Feedback and the model-router, as the gateway reaches them."""

    datasets: "dataset_service_pb2_grpc.DatasetServiceAsyncStub"
    evaluations: "evaluation_rpc.EvaluationServiceAsyncStub"
    router: "router_rpc.ModelRouterServiceAsyncStub"


@pytest.fixture
async def both(settings: Settings, postgres_dsn: str, nats_url: str, redis_url: str) -> AsyncIterator[Both]:
    feedback_at, router_at = (unused_address().removeprefix("http://") for _ in range(2))
    server = ServerSettings(tls=TlsSettings(), insecure=True, drain_s=5.0)
    settings = replace(settings, server=replace(server, grpc_listen=feedback_at), model_router_address=router_at, select_every_s=3600.0)
    of_router = RouterSettings(
        server=replace(server, grpc_listen=router_at),
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
    async with AsyncExitStack() as stack:
        apps = [await build_router(of_router, stack), await build_feedback(settings, stack)]
        await stack.enter_async_context(_served(apps))
        feedback = await stack.enter_async_context(open_channel(feedback_at, TlsSettings(), "feedback"))
        router = await stack.enter_async_context(open_channel(router_at, TlsSettings(), "model-router"))
        stack.enter_context(acting_for("acme", "ada"))
        yield _stubs(feedback, router)


def _stubs(feedback: grpc.aio.Channel, router: grpc.aio.Channel) -> Both:
    return Both(
        datasets=dataset_service_pb2_grpc.DatasetServiceStub(feedback),
        evaluations=evaluation_rpc.EvaluationServiceStub(feedback),
        router=router_rpc.ModelRouterServiceStub(router),
    )


@asynccontextmanager
async def _served(apps: list[App]) -> AsyncIterator[None]:
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
    return (await call(both.router.RegisterPrompt, request, cap_s=10)).prompt.digest


async def learned(both: Both, count: int = 36) -> None:
    """Questions are asked in production, selected and annotated."""
    rules = [dataset_pb2.SelectionRule(sample=1.0)]
    dataset = dataset_pb2.Dataset(name="sorting", prompt="sort", rules=rules)
    await call(both.datasets.PutDataset, dataset_service_pb2.PutDatasetRequest(dataset=dataset), cap_s=10)
    for label, words in WORDS.items():
        for n in range(count):
            await _asked(both, f"{words.format(n=n)} ({label}{n * 13})", f"run_{label}_{n}")
    select = dataset_service_pb2.SelectCandidatesRequest(dataset="sorting")
    selected = 0

    async def all_there() -> bool:
        nonlocal selected
        selected += (await call(both.datasets.SelectCandidates, select, cap_s=30)).selected
        return selected >= count * len(WORDS)

    await eventually(all_there, within_s=30)
    claim = dataset_service_pb2.ClaimAnnotationsRequest(dataset="sorting", limit=100)
    while items := (await call(both.datasets.ClaimAnnotations, claim, cap_s=10)).items:
        for item in items:
            question = parse_json(item.input.text)
            assert isinstance(question, dict)
            label = next(label for label, words in WORDS.items() if str(question["question"]).startswith(words.split("{")[0]))
            said = dataset_service_pb2.AnnotateRequest(item_id=item.item_id, expected=json_pb2.JsonValue(text=dump_json(label)))
            await call(both.datasets.Annotate, said, cap_s=10)


async def evaluated(both: Both, start: evaluation_pb.StartEvaluationRequest) -> evaluation_pb.Evaluation:
    started = (await call(both.evaluations.StartEvaluation, start, cap_s=10)).evaluation
    request = evaluation_pb.GetEvaluationRequest(evaluation_id=started.evaluation_id)

    async def done() -> list[evaluation_pb.Evaluation]:
        found = (await call(both.evaluations.GetEvaluation, request, cap_s=10)).evaluation
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
    moved: bool = (await call(both.router.MoveLabel, request, cap_s=10)).moved
    return moved


async def refusal(both: Both, digest: str, report: str) -> str:
    with pytest.raises(PlimsollError) as refused:
        await move(both, digest, report)
    return refused.value.reason


async def test_production_moves_only_with_a_passing_report_of_exactly_these_two_versions(both: Both) -> None:
    weak = await registered(both, prompt("card", "pin"), LABEL)
    await learned(both)
    better, other, worse = (
        await registered(both, prompt("card", "pin", "refund")),
        await registered(both, prompt("card", "pin", "refund", shown=3)),
        await registered(both, prompt("card", "refund")),
    )
    passed, failed = await evaluated(both, about(better)), await evaluated(both, about(worse))
    assert (passed.verdict, failed.verdict) == (evaluation_pb.EVALUATION_VERDICT_PASSED, evaluation_pb.EVALUATION_VERDICT_FAILED)
    assert await refusal(both, better, "") == "LABEL_PROTECTED"
    assert await refusal(both, better, "0" * 64) == "REPORT_REFUSED"
    assert await refusal(both, other, passed.report_digest) == "REPORT_REFUSED"  # of another version
    assert await refusal(both, worse, failed.report_digest) == "REPORT_REFUSED"  # better on average, perhaps; worse in a slice
    reversed_pair = await evaluated(both, about(weak, better))
    assert await refusal(both, better, reversed_pair.report_digest) == "REPORT_REFUSED"
    assert await move(both, better, passed.report_digest)
    assert await refusal(both, weak, passed.report_digest) == "REPORT_REFUSED"
    for form, start in ((evaluation_pb.REPORT_FORMAT_TEXT, "prompt sort: PASSED"), (evaluation_pb.REPORT_FORMAT_HTML, "<!doctype html>")):
        render = evaluation_pb.RenderEvaluationReportRequest(digest=passed.report_digest, format=form)
        assert (await call(both.evaluations.RenderEvaluationReport, render, cap_s=10)).content.startswith(start)
    with acting_for("umbrella"), pytest.raises(NotFound):
        await call(both.evaluations.GetEvaluationReport, evaluation_pb.GetEvaluationReportRequest(digest=passed.report_digest), cap_s=10)


async def test_a_tuned_model_comes_back_as_an_entry_and_passes_the_same_gate(both: Both) -> None:
    await registered(both, prompt("card", "pin", "refund"), LABEL)
    await learned(both, count=24)
    first = await _model(both, 50_000, LABEL)
    tuned, broken = await _model(both, 60_000), await _model(both, 50_000, model="rehearsal-refuse")
    start = evaluation_pb.StartEvaluationRequest(
        dataset="sorting",
        subject=evaluation_pb.EVALUATION_SUBJECT_MODEL,
        name="desk-model",
        candidate_digest=tuned,
        rules=evaluation_pb.EvaluationRules(minimum_examples=10),
    )
    passed = await evaluated(both, start)
    assert (passed.baseline_digest, passed.verdict) == (first, evaluation_pb.EVALUATION_VERDICT_PASSED)
    start.candidate_digest = broken
    assert (await evaluated(both, start)).verdict != evaluation_pb.EVALUATION_VERDICT_PASSED
    with pytest.raises(Denied):
        await move(both, broken, passed.report_digest, registry_pb2.ENTRY_KIND_MODEL, "desk-model")
    assert await move(both, tuned, passed.report_digest, registry_pb2.ENTRY_KIND_MODEL, "desk-model")


async def _model(both: Both, context_tokens: int, *labels: str, model: str = "rehearsal") -> str:
    entry = routing_pb2.ModelEntry(name="desk-model", provider="rehearsal", model=model, context_tokens=context_tokens)
    request = router_pb.RegisterModelRequest(model=entry, labels=labels)
    digest: str = (await call(both.router.RegisterModel, request, cap_s=10)).entry.digest
    return digest


async def test_one_key_is_one_voice_whatever_names_it_gives(both: Both) -> None:
    await registered(both, prompt("card"), LABEL)
    rules = [dataset_pb2.SelectionRule(sample=1.0)]
    dataset = dataset_pb2.Dataset(name="sorting", prompt="sort", rules=rules, agreement=2)
    await call(both.datasets.PutDataset, dataset_service_pb2.PutDatasetRequest(dataset=dataset), cap_s=10)
    await _asked(both, "where is my card", "run_1")
    select = dataset_service_pb2.SelectCandidatesRequest(dataset="sorting")
    await eventually(lambda: _selected(both, select), within_s=30)
    claim = dataset_service_pb2.ClaimAnnotationsRequest(dataset="sorting")
    [item] = (await call(both.datasets.ClaimAnnotations, claim, cap_s=10)).items
    wrong, right = json_pb2.JsonValue(text='"pin"'), json_pb2.JsonValue(text='"card"')

    async def said(expected: json_pb2.JsonValue, name: str) -> dataset_service_pb2.AnnotateResponse:
        request = dataset_service_pb2.AnnotateRequest(item_id=item.item_id, annotator=name, expected=expected)
        return await call(both.datasets.Annotate, request, cap_s=10)

    for name in ("ada", "bob", "cy"):
        assert (await said(wrong, name)).state == dataset_service_pb2.ANNOTATION_STATE_PENDING
    counts = (await call(both.datasets.GetDataset, dataset_service_pb2.GetDatasetRequest(name="sorting"), cap_s=10)).dataset
    assert (counts.pending, counts.training_examples + counts.held_out_examples) == (1, 0)
    with acting_for("acme", "bob"):
        assert (await said(right, "ada")).state == dataset_service_pb2.ANNOTATION_STATE_PENDING
    with acting_for("acme", "cy"):
        assert (await said(right, "ada")).state == dataset_service_pb2.ANNOTATION_STATE_AGREED


async def _selected(both: Both, request: dataset_service_pb2.SelectCandidatesRequest) -> int:
    selected: int = (await call(both.datasets.SelectCandidates, request, cap_s=30)).selected
    return selected


async def _asked(both: Both, question: str, run_id: str) -> None:
    generation = router_pb.Generation(
        prompt=prompt_pb2.PromptReference(name="sort", label=LABEL),
        variables=json_pb2.JsonValue(text=dump_json({"question": question})),
        task="classification",
        work=work_pb2.WorkContext(run_id=run_id, step=1, node="sort", agent="desk"),
    )
    await call(both.router.Generate, router_pb.GenerateRequest(generation=generation), cap_s=10)
