"""What calls may consume: budgets, alerts, caches, a ledger that is away, embeddings."""

import asyncio
from dataclasses import replace

import pytest
from model_router_desks import Told
from model_router_fakes import FakeCallLedger
from model_router_offices import ASKER, FAILED, LOG, OTHER, Room, model
from model_router_samples import ACME, ROUTE, generation, reply
from plimsoll_model_router.domain.budgets import Budget, BudgetPeriod, BudgetScope
from plimsoll_model_router.domain.calls import CompletedCall, Opening, Opens
from plimsoll_model_router.domain.embedding import Embedded, EmbeddingWish
from plimsoll_model_router.domain.endpoints import USUAL, Feature
from plimsoll_model_router.domain.generation import Answer, CachePolicy, CacheScope, Unanswered
from plimsoll_model_router.domain.routes import Route, RouteCandidate
from plimsoll_model_router.errors import (
    InvalidGeneration,
)
from plimsoll_model_router.failover.inquiry import Delivery
from plimsoll_model_router.service.asker import Asker
from plimsoll_model_router.service.forgiving import ForgivingLedger
from plimsoll_model_router.service.router import ModelRouter
from plimsoll_runtime.errors import Unavailable
from plimsoll_runtime.failures import Category
from plimsoll_runtime.usage import Usage
from plimsoll_runtime.work import WorkContext
from plimsoll_testkit.clock import FakeClock
from plimsoll_testkit.ids import FakeIds


@pytest.fixture
def room(clock: FakeClock) -> Room:
    return Room(clock, reply())


async def test_a_budget_that_is_used_up_refuses_before_anything_is_sent(room: Room) -> None:
    await room.budgets.put(ACME, Budget(scope=BudgetScope.KEY, subject="key_1", period=BudgetPeriod.MONTH, max_tokens=30))
    outcome = await room.unanswered(generation(), Asker(tenant=ACME, key="key_1"))
    assert (outcome.failure.category, outcome.failure.reason) == (Category.BUDGET_EXCEEDED, "BUDGET_USED_UP")
    assert "key key_1 per month" in outcome.failure.message
    assert room.upstream.asked == []
    assert (await room.answered(generation(), Asker(tenant=ACME, key="key_2"))).usage.output_tokens == 4


async def test_an_answer_is_kept_as_short_as_the_budget_asks(room: Room) -> None:
    await room.budgets.put(ACME, Budget(scope=BudgetScope.TENANT, period=BudgetPeriod.TOTAL, max_tokens=300))
    await room.answered(generation())
    assert 16 <= room.upstream.asked[0].question.max_output_tokens < 300
    [status] = await room.budgets.all(ACME)
    assert (status.spent_tokens, status.reserved_tokens) == (14, 0)


async def test_under_a_budget_in_money_a_model_without_a_price_is_not_asked(clock: FakeClock) -> None:
    room = Room(clock, reply(), models=[model("m-1", price=None), model("m-2")], **{"m-2": [reply()]})
    await room.budgets.put(ACME, Budget(scope=BudgetScope.TENANT, period=BudgetPeriod.DAY, max_cost_micros=10**9))
    assert (await room.answered(generation())).attempts[-1].model == "m-2"
    only = Room(clock, reply(), models=[model("m-1", price=None)])
    await only.budgets.put(ACME, Budget(scope=BudgetScope.TENANT, period=BudgetPeriod.DAY, max_cost_micros=10**9))
    assert (await only.unanswered(generation())).failure.reason == "PRICE_MISSING"


async def test_a_model_without_a_price_raises_an_alert(clock: FakeClock) -> None:
    room = Room(clock, reply(), models=[model("m-1", price=None)])
    assert not (await room.answered(generation())).priced
    assert room.unpriced == ["fake/m-1"]


async def test_parallel_calls_never_spend_more_than_their_budget(clock: FakeClock) -> None:
    room = Room(clock, reply())
    cap = 2000
    await room.budgets.put(ACME, Budget(scope=BudgetScope.AGENT, subject="support", period=BudgetPeriod.DAY, max_tokens=cap))
    asked = replace(generation(), work=WorkContext(agent="support"), max_output_tokens=100)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(room.router.generate(ASKER, asked)) for _ in range(300)]
    answered = sum(isinstance(task.result(), Answer) for task in tasks)
    [status] = await room.budgets.all(ACME)
    assert status.spent_tokens == answered * 14 <= cap
    assert status.reserved_tokens == 0


async def test_an_answer_is_given_again_only_with_leave_and_while_it_is_young(room: Room, clock: FakeClock) -> None:
    leave = replace(generation(), cache=CachePolicy(max_age_s=60.0))
    first = await room.answered(leave)
    clock.advance(30)
    again = await room.answered(leave)
    assert (again.cached, again.usage, again.message) == (True, Usage(), first.message)
    assert len(room.upstream.asked) == 1
    assert not (await room.answered(generation())).cached
    assert not (await room.answered(replace(leave, max_output_tokens=9))).cached
    assert not (await room.answered(leave, OTHER)).cached
    clock.advance(31)
    assert not (await room.answered(leave)).cached
    assert [isinstance(call.outcome, Answer) and call.outcome.cached for call in room.ledger.calls].count(True) == 1


async def test_a_cached_answer_stays_in_its_scope(room: Room) -> None:
    work = WorkContext(agent="support", run_id="run_1")
    leave = replace(generation(), work=work, cache=CachePolicy(max_age_s=60.0, scope=CacheScope.AGENT))
    await room.answered(leave)
    assert (await room.answered(replace(leave, work=replace(work, run_id="run_2")))).cached
    assert not (await room.answered(replace(leave, work=replace(work, agent="other")))).cached


class Away(FakeCallLedger):
    async def open(self, opening: Opening) -> Opens:
        raise Unavailable("away")

    async def record(self, call: CompletedCall) -> Answer | None:
        raise Unavailable("away")


@pytest.mark.parametrize("key", ["", "k"])
@pytest.mark.parametrize("forgiving", [False, True])
async def test_while_the_ledger_is_away_calls_are_refused_or_recorded_later_as_configured(
    clock: FakeClock, forgiving: bool, key: str
) -> None:
    room = Room(clock, reply())
    away = Away(clock)
    ledger = ForgivingLedger(away, LOG) if forgiving else away
    router = ModelRouter(
        ledger=ledger,
        failover=room.router._failover,
        planner=room.router._planner,
        clock=clock,
        ids=FakeIds(),
        unpriced=room.unpriced.append,
    )
    if not forgiving:
        with pytest.raises(Unavailable):
            await router.generate(ASKER, replace(generation(), request_key=key))
        assert room.upstream.asked == []
        return
    assert isinstance(await router.generate(ASKER, replace(generation(), request_key=key)), Answer)
    assert len(away.calls) == 1


async def test_a_strict_stream_is_what_the_caller_asked_for(clock: FakeClock) -> None:
    room = Room(clock, FAILED, models=[model("m-1"), model("m-2")], **{"m-2": [reply()]})
    assert isinstance(await room.router.generate_stream(ASKER, generation(), Told().note, Delivery.STRICT), Unanswered)
    assert room.upstream.models_asked() == ["m-1"]


async def test_texts_become_vectors_of_one_model_and_are_charged(clock: FakeClock) -> None:
    vectors = model("vec", features=frozenset({Feature.EMBEDDINGS}))
    room = Room(clock, reply(), models=[model("m-1"), vectors], vec=[reply()])
    await room.budgets.put(ACME, Budget(scope=BudgetScope.TENANT, period=BudgetPeriod.DAY, max_tokens=1000))
    made = await room.embedder.embed(ASKER, EmbeddingWish(texts=("a", "bcd")))
    assert isinstance(made, Embedded)
    assert (made.vectors, made.model, made.usage.input_tokens) == (((1.0,), (3.0,)), "vec", 7)
    [status] = await room.budgets.all(ACME)
    assert (status.spent_tokens, status.reserved_tokens) == (7, 0)
    assert [(call.generation.task, call.outcome.usage.cost_micros) for call in room.ledger.calls] == [("embedding", 7)]
    with pytest.raises(InvalidGeneration, match=r"texts\[1\]"):
        await room.embedder.embed(ASKER, EmbeddingWish(texts=("a", " ")))
    nobody = await Room(clock, reply(), models=[model("m-1", features=USUAL)]).embedder.embed(ASKER, EmbeddingWish(texts=("a",)))
    assert isinstance(nobody, Unanswered)
    assert nobody.failure.reason == "NO_EMBEDDER"


async def test_a_route_of_the_registry_hedges_and_moves_on_as_it_says(clock: FakeClock) -> None:
    room = Room(clock, reply(), models=[model("m-1"), model("m-2")], **{"m-2": [reply("Second.")]})
    room.upstream.silent = {"m-1"}
    route = replace(ROUTE, name="default", candidates=(RouteCandidate(model="fake/m-1"), RouteCandidate(model="fake/m-2")))
    hedging = replace(route, hedge_after_s=0.01, latency_target_s=0.0, explore=0.0, strategy=Route(name="x", candidates=()).strategy)
    await room.registry.register(ACME, hedging, ["production"], "")
    answer = await room.answered(generation())
    assert (answer.message.text, len(answer.attempts)) == ("Second.", 2)
