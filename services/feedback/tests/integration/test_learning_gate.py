"""The gate, with the real model-router: its events, its bodies, its replays, and its registry, which nothing passes without a report."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime

import asyncpg
import pytest
from feedback_gate import (
    LABEL,
    WORDS,
    Both,
    about,
    asked,
    evaluated,
    finished,
    learned,
    move,
    prompt,
    refusal,
    registered,
    router_settings,
    side_by_side,
)
from plimsoll.common.v1 import json_pb2
from plimsoll.feedback.v1 import dataset_pb2, dataset_service_pb2
from plimsoll.feedback.v1 import evaluation_service_pb2 as evaluation_pb
from plimsoll.model_router.v1 import model_router_service_pb2 as router_pb
from plimsoll.model_router.v1 import registry_pb2, routing_pb2
from plimsoll_feedback.adapters.postgres_operations import PostgresOperationStore
from plimsoll_feedback.config import Settings
from plimsoll_feedback.domain.operation import Run, RunId
from plimsoll_feedback.transport.codec import signal_recorded
from plimsoll_runtime.context import acting_for
from plimsoll_runtime.errors import Denied, NotFound
from plimsoll_runtime.postgres import open_pool
from plimsoll_runtime.rpc_client import call
from plimsoll_runtime.settings import PostgresSettings, Secret
from plimsoll_testkit.ports import free_address
from plimsoll_testkit.waiting import eventually


@pytest.fixture
async def pool(postgres_dsn: str) -> AsyncIterator[asyncpg.Pool]:
    async with open_pool(PostgresSettings(dsn=Secret(postgres_dsn)), "feedback") as pool:
        yield pool


@pytest.fixture
async def both(settings: Settings, postgres_dsn: str, nats_url: str, redis_url: str) -> AsyncIterator[Both]:
    feedback_at, router_at = (free_address() for _ in range(2))
    async with side_by_side(settings, router_settings(router_at, feedback_at, postgres_dsn, nats_url, redis_url)) as both:
        yield both


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
        assert (await call(both.evaluations.RenderEvaluationReport, render, cap_s=60)).content.startswith(start)
    with acting_for("umbrella"), pytest.raises(NotFound):
        await call(both.evaluations.GetEvaluationReport, evaluation_pb.GetEvaluationReportRequest(digest=passed.report_digest), cap_s=60)


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
    digest: str = (await call(both.router.RegisterModel, request, cap_s=60)).entry.digest
    return digest


async def test_a_route_that_the_scoreboard_proposes_passes_the_same_gate(both: Both, pool: asyncpg.Pool) -> None:
    propose = evaluation_pb.ProposeRouteRequest(task="classification", dataset="sorting")
    with pytest.raises(NotFound):
        await call(both.evaluations.ProposeRoute, propose, cap_s=60)
    await registered(both, prompt("card", "pin", "refund"), LABEL)
    now = datetime.now(UTC)
    runs = [
        Run(id=RunId(f"run_{label}_{n}"), tenant="acme", agent="desk", agent_version="1", started_at=now)
        for label in WORDS
        for n in range(40)
    ]
    await PostgresOperationStore(pool, signal_recorded).record([], runs)
    await learned(both, count=40)
    present = await _route(both, "rehearsal/rehearsal-refuse", "rehearsal/rehearsal", labels=[LABEL])
    proposed = await call(both.evaluations.ProposeRoute, propose, cap_s=60)
    again = await call(both.evaluations.ProposeRoute, propose, cap_s=60)
    assert (again.route_digest, again.evaluation_id) == (proposed.route_digest, proposed.evaluation_id)
    assert proposed.route_digest not in {"", present}
    done = await finished(both, proposed.evaluation_id)
    assert (done.baseline_digest, done.verdict) == (present, evaluation_pb.EVALUATION_VERDICT_PASSED)
    other = await _route(both, "rehearsal/rehearsal-slow", "rehearsal/rehearsal")
    route = registry_pb2.ENTRY_KIND_ROUTE
    for digest, report in ((proposed.route_digest, ""), (other, done.report_digest)):
        with pytest.raises(Denied):
            await move(both, digest, report, route, "classification")
    assert await move(both, proposed.route_digest, done.report_digest, route, "classification")
    best = await call(both.evaluations.ProposeRoute, propose, cap_s=60)
    assert (best.route_digest, best.evaluation_id) == ("", "")
    assert "prefers the best already" in best.reason


async def _route(both: Both, *models: str, labels: Sequence[str] = ()) -> str:
    candidates = [routing_pb2.RouteCandidate(model=model) for model in models]
    request = router_pb.RegisterRouteRequest(route=routing_pb2.Route(name="classification", candidates=candidates), labels=labels)
    digest: str = (await call(both.router.RegisterRoute, request, cap_s=60)).entry.digest
    return digest


async def test_one_key_is_one_voice_whatever_names_it_gives(both: Both) -> None:
    await registered(both, prompt("card"), LABEL)
    rules = [dataset_pb2.SelectionRule(sample=1.0)]
    dataset = dataset_pb2.Dataset(name="sorting", prompt="sort", rules=rules, agreement=2)
    await call(both.datasets.PutDataset, dataset_service_pb2.PutDatasetRequest(dataset=dataset), cap_s=60)
    await asked(both, "where is my card", "run_1")
    select = dataset_service_pb2.SelectCandidatesRequest(dataset="sorting")
    await eventually(lambda: _selected(both, select))
    claim = dataset_service_pb2.ClaimAnnotationsRequest(dataset="sorting")
    [item] = (await call(both.datasets.ClaimAnnotations, claim, cap_s=60)).items
    wrong, right = json_pb2.JsonValue(text='"pin"'), json_pb2.JsonValue(text='"card"')

    async def said(expected: json_pb2.JsonValue, name: str) -> dataset_service_pb2.AnnotateResponse:
        request = dataset_service_pb2.AnnotateRequest(item_id=item.item_id, annotator=name, expected=expected)
        return await call(both.datasets.Annotate, request, cap_s=60)

    for name in ("ada", "bob", "cy"):
        assert (await said(wrong, name)).state == dataset_service_pb2.ANNOTATION_STATE_PENDING
    counts = (await call(both.datasets.GetDataset, dataset_service_pb2.GetDatasetRequest(name="sorting"), cap_s=60)).dataset
    assert (counts.pending, counts.training_examples + counts.held_out_examples) == (1, 0)
    with acting_for("acme", "bob"):
        assert (await said(right, "ada")).state == dataset_service_pb2.ANNOTATION_STATE_PENDING
    with acting_for("acme", "cy"):
        assert (await said(right, "ada")).state == dataset_service_pb2.ANNOTATION_STATE_AGREED


async def _selected(both: Both, request: dataset_service_pb2.SelectCandidatesRequest) -> int:
    selected: int = (await call(both.datasets.SelectCandidates, request, cap_s=60)).selected
    return selected
