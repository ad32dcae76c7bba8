"""What replicas share through Redis: limits of credentials, and breakers of models."""

from dataclasses import replace

import pytest
from model_router_rooms import plain, running, settings_for
from plimsoll.model_router.v1 import model_router_service_pb2 as pb
from plimsoll_model_router.config import BreakerSettings, ProviderSettings, Settings, TimerSettings
from plimsoll_runtime.rpc_client import call
from plimsoll_runtime.settings import Secret
from plimsoll_testkit.upstream import serving


@pytest.fixture
def settings(postgres_dsn: str, nats_url: str, redis_url: str) -> Settings:
    return settings_for(postgres_dsn, nats_url, redis_url)


def compatible(url: str, model: str, *, keys: str = "k1", requests: int = 0) -> ProviderSettings:
    return ProviderSettings(api_key=Secret(keys), base_url=f"{url}/v1", model=model, requests_per_minute=requests)


async def test_a_limit_of_a_key_holds_for_all_replicas_together(settings: Settings) -> None:
    async with serving() as upstream:
        told = compatible(upstream.url, "fine", keys="k1,k2", requests=3)
        limited = replace(settings, compatible=told, timers=TimerSettings(total_s=10.0))  # less than until one more may go
        async with running(limited) as one, running(limited) as other:
            outcomes = [await call(stub.Generate, pb.GenerateRequest(generation=plain("Hello?")), cap_s=60) for stub in (one, other) * 5]
        answered = [outcome.answer for outcome in outcomes if outcome.HasField("answer")]
        assert len(answered) == len(upstream.attempts) == 6
        used = [answer.attempts[-1].credential for answer in answered]
        assert sorted(used) == ["compatible-1"] * 3 + ["compatible-2"] * 3
        refused = [outcome.failure.failure for outcome in outcomes if outcome.HasField("failure")]
        assert {(failure.reason, failure.retry_after.seconds > 0) for failure in refused} == {("LIMIT_REACHED", True)}


async def test_a_model_that_failed_at_one_replica_is_left_alone_by_the_other(settings: Settings) -> None:
    async with serving() as upstream:
        broken = replace(settings, compatible=compatible(upstream.url, "overloaded"), breaker=BreakerSettings(failures=3, cooldown_s=60.0))
        async with running(broken) as one, running(broken) as other:
            for _ in range(3):
                await call(one.Generate, pb.GenerateRequest(generation=plain("Hello?")), cap_s=60)
            asked = len(upstream.attempts)
            assert asked == 3
            failed = (await call(other.Generate, pb.GenerateRequest(generation=plain("Hello?")), cap_s=60)).failure
            assert (failed.failure.reason, len(upstream.attempts)) == ("BREAKER_OPEN", asked)
            [model, _] = (await call(other.ListModels, pb.ListModelsRequest(), cap_s=60)).models
            assert not model.available
