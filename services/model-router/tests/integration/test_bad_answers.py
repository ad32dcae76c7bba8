"""What a provider may do instead of answering, asked of the whole service: a clear category and reason, and only what was used is paid."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from model_router_rooms import plain, running, settings_for, with_providers
from plimsoll.common.v1 import failure_pb2
from plimsoll.model_router.v1 import budget_pb2, routing_pb2
from plimsoll.model_router.v1 import model_router_service_pb2 as pb
from plimsoll_model_router.config import BreakerSettings, Settings
from plimsoll_runtime.rpc_client import call
from plimsoll_testkit.upstream import ScriptedUpstream, serving
from plimsoll_testkit.waiting import eventually

BUDGET = budget_pb2.Budget(scope=budget_pb2.BUDGET_SCOPE_TENANT, period=budget_pb2.BUDGET_PERIOD_DAY, max_tokens=1_000_000)
TOLD = {
    "no-model": ("UPSTREAM_REJECTED", "MODEL_NOT_FOUND"),
    "bad-request": ("UPSTREAM_REJECTED", "INVALID_REQUEST"),
    "too-long": ("CONTEXT_TRUNCATED", "CONTEXT_TOO_LONG"),
    "html": ("UPSTREAM_UNAVAILABLE", "PROVIDER_ERROR"),
    "html-200": ("UPSTREAM_UNAVAILABLE", "NOT_JSON"),
    "error-inside": ("UPSTREAM_UNAVAILABLE", "PROVIDER_ERROR"),
    "no-choices": ("MODEL_MALFORMED", "MALFORMED_ANSWER"),
    "empty": ("MODEL_MALFORMED", "EMPTY_ANSWER"),
    "bad-key": ("UPSTREAM_REJECTED", "KEY_REFUSED"),  # asked last: the key rests then
}


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with serving() as upstream:
        yield upstream


@pytest.fixture
def settings(postgres_dsn: str, nats_url: str, redis_url: str, upstream: ScriptedUpstream) -> Settings:
    plain_settings = replace(settings_for(postgres_dsn, nats_url, redis_url), breaker=BreakerSettings(failures=1000))
    return with_providers(plain_settings, upstream, "fine", "fine")


def tokens_of(attempt: pb.Attempt) -> int:
    return int(attempt.usage.input_tokens + attempt.usage.output_tokens)


async def test_each_is_told_by_its_category_and_reason_and_only_what_was_used_is_paid(settings: Settings) -> None:
    async with running(settings) as stub:
        await call(stub.SetBudget, pb.SetBudgetRequest(budget=BUDGET), cap_s=60)

        async def asked(fault: str) -> pb.GenerationFailure:
            entry = routing_pb2.ModelEntry(name=fault, provider="openai", model=fault)
            await call(stub.RegisterModel, pb.RegisterModelRequest(model=entry, labels=["production"]), cap_s=60)
            return (await call(stub.Generate, pb.GenerateRequest(generation=plain("Hello?", fault)), cap_s=60)).failure

        async with asyncio.TaskGroup() as group:
            asking = {fault: group.create_task(asked(fault)) for fault in TOLD if fault != "bad-key"}
        failures = {fault: task.result() for fault, task in asking.items()} | {"bad-key": await asked("bad-key")}
        named = failure_pb2.FailureCategory.Name
        told = {
            fault: (named(one.failure.category).removeprefix("FAILURE_CATEGORY_"), one.failure.reason) for fault, one in failures.items()
        }
        assert told == TOLD
        used = {
            fault: sum(attempt.usage.input_tokens + attempt.usage.output_tokens for attempt in one.attempts)
            for fault, one in failures.items()
        }
        assert {fault for fault, tokens in used.items() if tokens} <= {"no-choices", "empty"}  # these did the work

        async def settled() -> bool:
            [found] = (await call(stub.ListBudgets, pb.ListBudgetsRequest(), cap_s=60)).budgets
            return bool((found.spent_tokens, found.reserved_tokens) == (sum(used.values()), 0))

        await eventually(settled)
