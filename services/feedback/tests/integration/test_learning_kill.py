"""The process of feedback killed in the middle of an evaluation: another one goes on from there, and finds what nobody disturbed would find."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
from feedback_gate import LABEL, Both, about, evaluated, learned, prompt, registered, router_settings, served, stubs
from plimsoll.feedback.v1 import evaluation_service_pb2 as evaluation_pb
from plimsoll_feedback.adapters.postgres_session import reading, writing
from plimsoll_model_router.main import build as build_router
from plimsoll_runtime.context import acting_for
from plimsoll_runtime.errors import PlimsollError
from plimsoll_runtime.postgres import open_pool
from plimsoll_runtime.rpc_client import call, open_channel
from plimsoll_runtime.settings import PostgresSettings, Secret, TlsSettings
from plimsoll_testkit.ports import free_address
from plimsoll_testkit.waiting import eventually

_COUNT = "select count(*) from evaluation_results where evaluation_id = $1"
_TWICE = "select count(*) from (select from evaluation_results group by evaluation_id, example_id, side having count(*) > 1) as twice"


@asynccontextmanager
async def process(environ: dict[str, str], log: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """`python -m plimsoll_feedback`, killed at the end."""
    with log.open("ab") as output:
        argv = (sys.executable, "-m", "plimsoll_feedback")
        one = await asyncio.create_subprocess_exec(*argv, env=environ, stdout=output, stderr=output)
    try:
        yield one
    finally:
        if one.returncode is None:
            one.kill()
            await one.wait()


async def answers(both: Both) -> bool:
    try:
        await call(both.evaluations.ListEvaluations, evaluation_pb.ListEvaluationsRequest(), cap_s=60)
    except PlimsollError:
        return False
    return True


def found(report: evaluation_pb.EvaluationReport) -> list[object]:
    """All that a report says of the versions, but for how long they took."""
    measures = [
        (
            one.scorer,
            one.slice,
            one.candidate,
            one.baseline,
            one.difference_low,
            one.difference_high,
            one.regressed,
            one.examples,
            one.unscored,
        )
        for one in report.measures
        if one.scorer != "latency"
    ]
    return [report.verdict, report.examples, report.dataset_version, list(report.reasons), report.rules.text, measures]


@pytest.fixture
async def pool(postgres_dsn: str) -> AsyncIterator[asyncpg.Pool]:
    async with open_pool(PostgresSettings(dsn=Secret(postgres_dsn)), "feedback") as pool:
        yield pool


async def test_an_evaluation_goes_on_after_a_kill_and_finds_the_same(
    pool: asyncpg.Pool, postgres_dsn: str, nats_url: str, redis_url: str, tmp_path: Path
) -> None:
    feedback_at, admin_at, router_at = (free_address() for _ in range(3))
    told = {
        "INSECURE": "true",
        "POSTGRES_DSN": postgres_dsn,
        "NATS_URL": nats_url,
        "GRPC_LISTEN": feedback_at,
        "ADMIN_LISTEN": admin_at,
        "MODEL_ROUTER_ADDRESS": router_at,
        "SELECT_EVERY_S": "3600",
    }
    environ = {"PATH": os.environ["PATH"], **{f"PLIMSOLL_FEEDBACK_{name}": value for name, value in told.items()}}
    async with AsyncExitStack() as stack:
        router = await build_router(router_settings(router_at, feedback_at, postgres_dsn, nats_url, redis_url), stack)
        await stack.enter_async_context(served([router]))
        channels = [await stack.enter_async_context(open_channel(at, TlsSettings(), name)) for at, name in _peers(feedback_at, router_at)]
        both = stubs(*channels)
        stack.enter_context(acting_for("acme", "ada"))
        async with process(environ, tmp_path / "log") as first:
            await eventually(lambda: answers(both), within_s=60)
            await registered(both, prompt("card", "pin"), LABEL)
            await learned(both)
            better = await registered(both, prompt("card", "pin", "refund"))
            start = about(better)
            undisturbed = await evaluated(both, start)
            start.idempotency_key = "disturbed"
            disturbed = (await call(both.evaluations.StartEvaluation, start, cap_s=60)).evaluation
            await eventually(lambda: _answered(pool, disturbed.evaluation_id))
            first.kill()
            await first.wait()
        before = await _answered(pool, disturbed.evaluation_id)
        assert 0 < before < undisturbed.wanted
        async with writing(pool, "acme") as connection:  # the lease of the dead runs out
            await connection.execute("update evaluations set held_until = now() where evaluation_id = $1", disturbed.evaluation_id)
        async with process(environ, tmp_path / "log"):
            await eventually(lambda: answers(both), within_s=60)
            resumed = await evaluated(both, start)
            assert resumed.evaluation_id == disturbed.evaluation_id
            reports = [await _report(both, one.report_digest) for one in (undisturbed, resumed)]
        assert found(reports[0]) == found(reports[1])
        async with reading(pool, "acme") as connection:
            assert await connection.fetchval(_COUNT, disturbed.evaluation_id) == undisturbed.wanted == resumed.answered
            assert await connection.fetchval(_TWICE) == 0


def _peers(feedback_at: str, router_at: str) -> list[tuple[str, str]]:
    return [(feedback_at, "feedback"), (router_at, "model-router")]


async def _answered(pool: asyncpg.Pool, evaluation_id: str) -> int:
    async with reading(pool, "acme") as connection:
        return int(await connection.fetchval(_COUNT, evaluation_id))


async def _report(both: Both, digest: str) -> evaluation_pb.EvaluationReport:
    request = evaluation_pb.GetEvaluationReportRequest(digest=digest)
    return (await call(both.evaluations.GetEvaluationReport, request, cap_s=60)).report
