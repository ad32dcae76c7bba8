"""The verbs: prompts resolved and rendered, models chosen, budgets held, answers recorded and remembered."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import date

import pytest
from model_router_fakes import FakeBudgetStore, FakeCallLedger, FakeGate, FakeRegistryStore, FakeReports, FakeUpstream, Step
from model_router_samples import ACME, INTENTS, MODEL, REFERENCE, ROUTE, TEMPLATE, UMBRELLA, failure, generation, reply
from plimsoll_model_router.domain.budgets import Budget, BudgetPeriod, BudgetScope
from plimsoll_model_router.domain.calls import CompletedCall, Opening, Opens
from plimsoll_model_router.domain.embedding import Embedded, EmbeddingWish
from plimsoll_model_router.domain.endpoints import USUAL, Dialect, Feature, Timers
from plimsoll_model_router.domain.generation import Answer, CachePolicy, CacheScope, Generation, Progress, Unanswered
from plimsoll_model_router.domain.labels import Move
from plimsoll_model_router.domain.messages import Media, Message, Role, ToolCall, ToolResult, assistant, results, user
from plimsoll_model_router.domain.pace import Pace
from plimsoll_model_router.domain.prices import ListedPrice, PriceTable
from plimsoll_model_router.domain.pricing import Price
from plimsoll_model_router.domain.registry_cache import Moved, RegistryCache
from plimsoll_model_router.domain.routes import CheapOrStrong, Route, RouteCandidate
from plimsoll_model_router.domain.routing import Model, Supplier
from plimsoll_model_router.errors import (
    InvalidGeneration,
    InvalidVariables,
    ProviderError,
    Remedy,
    RequestKeyBusy,
    RequestKeyReused,
    UnknownModel,
    UnknownPrompt,
)
from plimsoll_model_router.failover.attempts import Attempts
from plimsoll_model_router.failover.credentials import Credentials
from plimsoll_model_router.failover.embedding import EmbeddingFailover
from plimsoll_model_router.failover.failover import Failover
from plimsoll_model_router.failover.inquiry import Delivery
from plimsoll_model_router.service.asker import Asker
from plimsoll_model_router.service.catalogue import Catalogue, Configured
from plimsoll_model_router.service.embedding import Embedder
from plimsoll_model_router.service.forgiving import ForgivingLedger
from plimsoll_model_router.service.planning import Planner
from plimsoll_model_router.service.registry import Registry
from plimsoll_model_router.service.router import ModelRouter
from plimsoll_runtime import logs
from plimsoll_runtime.breaker import BreakerPolicy
from plimsoll_runtime.deadline import expiring
from plimsoll_runtime.errors import Unavailable
from plimsoll_runtime.failures import Category
from plimsoll_runtime.usage import Usage
from plimsoll_runtime.work import WorkContext
from plimsoll_testkit.clock import FakeClock
from plimsoll_testkit.ids import FakeIds

FAILED = ProviderError(failure(), Remedy.NEXT_PROVIDER)
ASKER, OTHER = Asker(tenant=ACME), Asker(tenant=UMBRELLA)
CHEAP = Price(input_micros=1_000_000, output_micros=1_000_000, cached_input_micros=0)
LOG = logs.get("test")


class Room:
    """A router on fakes: the models `m-1` of the provider `fake`, or those told."""

    def __init__(
        self,
        clock: FakeClock,
        *steps: Step,
        models: Sequence[Model] = (),
        routes: Mapping[str, Route] | None = None,
        forgiving: bool = False,
        **more: Sequence[Step],
    ) -> None:
        self.upstream = FakeUpstream(**{"m-1": list(steps), **more})
        self.budgets, self.store, self.cache = FakeBudgetStore(clock), FakeRegistryStore(clock), RegistryCache()
        self.ledger, self.unpriced, self.gate = FakeCallLedger(clock, self.budgets), list[str](), FakeGate(clock)
        listed = models or (Model(provider="fake", name="m-1", price=CHEAP),)
        table = PriceTable(version="t1", rows=[ListedPrice(vendor="openai", model="gpt-x", since=date(2025, 1, 1), price=CHEAP)])
        suppliers = {
            "fake": Supplier(name="fake", dialect=Dialect.OPENAI_COMPATIBLE),
            "openai": Supplier(name="openai", dialect=Dialect.OPENAI_CHAT, vendor="openai"),
        }
        configured = Configured(suppliers=suppliers, models=listed, routes=routes or {}, prices=table)
        self.catalogue = Catalogue(self.store, self.cache, configured, clock, LOG)
        upstreams, keys, self.pace = dict.fromkeys(Dialect, self.upstream), Credentials({}, clock), Pace()
        attempts = Attempts(upstreams, self.gate, clock, self.pace, timers=Timers(), breaker=BreakerPolicy(), limits={})
        ledger = ForgivingLedger(self.ledger, LOG) if forgiving else self.ledger
        self.router = ModelRouter(
            ledger=ledger,
            failover=Failover(attempts, keys, clock, cap_s=60.0),
            planner=Planner(self.catalogue, ledger, self.pace, attempts.is_open),
            clock=clock,
            ids=FakeIds(),
            unpriced=self.unpriced.append,
        )
        vectors = EmbeddingFailover(upstreams, self.gate, keys, clock, timers=Timers(), limits={}, breaker=BreakerPolicy())
        self.embedder = Embedder(self.catalogue, ledger, vectors, clock, FakeIds())
        self.registry = Registry(self.store, self.catalogue, FakeReports(), self.announce, protected=frozenset())

    async def announce(self, tenant: str, move: Move) -> None:
        self.cache.note(Moved(position=move.position, tenant=tenant, kind=move.kind, name=move.name))

    async def answered(self, asked: Generation, asker: Asker = ASKER) -> Answer:
        outcome = await self.router.generate(asker, asked)
        assert isinstance(outcome, Answer), outcome
        return outcome

    async def unanswered(self, asked: Generation, asker: Asker = ASKER) -> Unanswered:
        outcome = await self.router.generate(asker, asked)
        assert isinstance(outcome, Unanswered), outcome
        return outcome


@pytest.fixture
def room(clock: FakeClock) -> Room:
    return Room(clock, reply())


def model(name: str, **more: object) -> Model:
    return Model(provider="fake", name=name, **{"price": CHEAP, **more})  # type: ignore[arg-type]


async def test_a_prompt_is_looked_up_rendered_and_followed_by_the_conversation(room: Room) -> None:
    prompt, _ = await room.registry.register(ACME, TEMPLATE, ["production"], "")
    conversation = (
        assistant(ToolCall(call_id="a", tool="t", arguments={})),
        results(ToolResult(call_id="a", tool="t", content=1)),
    )
    outcome = await room.answered(Generation(prompt=REFERENCE, variables={"message": "Hello"}, messages=conversation))
    assert outcome.prompt_digest == prompt.digest
    [asked] = room.upstream.asked
    assert [message.role for message in asked.question.messages] == ["system", "user", "assistant", "user", "assistant", "tool"]
    assert asked.question.messages[3] == user("Hello")


async def test_a_prompt_is_read_once_until_its_label_moves(room: Room) -> None:
    await room.registry.register(ACME, TEMPLATE, ["production"], "")
    asked = Generation(prompt=REFERENCE, variables={"message": "Hello"})
    first = await room.answered(asked)
    reads = room.store.reads
    assert (await room.answered(asked)).prompt_digest == first.prompt_digest
    assert room.store.reads == reads
    await room.registry.register(ACME, replace(TEMPLATE, system="Be brief."), ["production"], "")
    assert (await room.answered(asked)).prompt_digest != first.prompt_digest


async def test_every_call_is_recorded_with_its_outcome_and_its_choice(room: Room) -> None:
    outcome = await room.answered(generation(), Asker(tenant=ACME, key="key_1"))
    [call] = room.ledger.calls
    assert (call.call_id, call.tenant, call.generation, call.key) == (outcome.call_id, ACME, generation(), "key_1")
    assert call.outcome == outcome
    assert [(one.candidate.full_name, one.probability) for one in call.choice.weighed] == [("fake/m-1", 1.0)]
    assert (await room.router.get_call(ACME, outcome.call_id)).choice["candidates"]


async def test_a_failed_call_is_a_value_and_recorded_too(clock: FakeClock) -> None:
    room = Room(clock, FAILED)
    await room.unanswered(generation(key="k"))
    assert len(room.ledger.calls) == 1
    await room.unanswered(generation(key="k"))
    assert len(room.upstream.asked) == 2


async def test_a_repeat_under_its_request_key_asks_nobody(room: Room) -> None:
    first = await room.answered(generation(key="k"))
    again = await room.answered(generation(key="k"))
    assert again == replace(first, recorded=True)
    assert len(room.upstream.asked) == len(room.ledger.calls) == 1


async def test_two_calls_at_once_under_one_key_are_paid_once(clock: FakeClock) -> None:
    room = Room(clock, reply())
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(room.answered(generation(key="k"))) for _ in range(5)]
    answers = [task.result() for task in tasks]
    assert len(room.upstream.asked) == len(room.ledger.calls) == 1
    assert sorted(one.recorded for one in answers) == [False, True, True, True, True]
    assert {one.message.text for one in answers} == {"It is here."}


async def test_a_call_that_has_no_time_to_wait_for_another_one_says_so(clock: FakeClock) -> None:
    room = Room(clock, reply())
    room.upstream.silent = {"m-1"}
    async with asyncio.TaskGroup() as group:
        hanging = group.create_task(room.router.generate(ASKER, generation(key="k")))
        await asyncio.sleep(0.01)
        with expiring(0.05), pytest.raises(RequestKeyBusy):
            await room.router.generate(ASKER, generation(key="k"))
        hanging.cancel()
    assert len(room.upstream.asked) == 1


async def test_a_repeat_is_answered_though_the_label_has_moved_meanwhile(room: Room) -> None:
    await room.registry.register(ACME, TEMPLATE, ["production"], "")
    asked = Generation(request_key="k", prompt=REFERENCE, variables={"message": "Hello"})
    await room.answered(asked)
    await room.registry.register(ACME, replace(TEMPLATE, variables=(), user="Hi", system="Be brief."), ["production"], "")
    assert (await room.answered(asked)).recorded  # even where the new version could not be asked like that


async def test_a_request_key_belongs_to_one_question_of_one_tenant(room: Room) -> None:
    await room.answered(generation(key="k"))
    with pytest.raises(RequestKeyReused):
        await room.router.generate(ASKER, generation("Something else?", key="k"))
    assert not (await room.answered(generation("Something else?", key="k"), OTHER)).recorded


async def test_a_stream_ends_with_its_outcome_and_a_repeat_is_the_outcome_alone(room: Room) -> None:
    steps = [step async for step in room.router.generate_stream(ASKER, generation(key="k"))]
    assert "".join(step.text for step in steps if isinstance(step, Progress)) == "It is here."
    assert isinstance(steps[-1], Answer)
    assert [step async for step in room.router.generate_stream(ASKER, generation(key="k"))] == [replace(steps[-1], recorded=True)]


async def test_what_a_caller_left_behind_is_recorded_and_its_key_free_again(clock: FakeClock) -> None:
    room = Room(clock, reply())
    await room.budgets.put(ACME, Budget(scope=BudgetScope.TENANT, period=BudgetPeriod.DAY, max_tokens=100_000))
    async with aclosing(room.router.generate_stream(ASKER, generation(key="k"))) as steps:
        async for step in steps:
            if isinstance(step, Progress) and step.text:
                break
    [call] = room.ledger.calls
    assert isinstance(call.outcome, Unanswered)
    assert (call.outcome.failure.reason, call.outcome.usage.output_tokens) == ("ABANDONED", 1)
    [status] = await room.budgets.all(ACME)
    assert (status.reserved_tokens, status.spent_tokens) == (0, call.outcome.usage.input_tokens + 1)
    assert not (await room.answered(generation(key="k"))).recorded


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        (Generation(), InvalidGeneration),
        (Generation(prompt=REFERENCE), UnknownPrompt),
        (generation(model="nobody"), UnknownModel),
        (generation(schema={"type": "nonsense"}), InvalidGeneration),
        (replace(generation(), cache=CachePolicy(max_age_s=-1.0)), InvalidGeneration),
        (replace(generation(), cache=CachePolicy(max_age_s=1.0, scope=CacheScope.RUN)), InvalidGeneration),
    ],
)
async def test_what_cannot_be_asked_is_refused_before_anybody_is_asked(room: Room, asked: Generation, error: type[Exception]) -> None:
    with pytest.raises(error):
        await room.router.generate(ASKER, asked)
    assert (room.upstream.asked, room.ledger.calls) == ([], [])


async def test_variables_must_be_exactly_those_of_the_prompt(room: Room) -> None:
    await room.registry.register(ACME, TEMPLATE, ["production"], "")
    with pytest.raises(InvalidVariables, match="history"):
        await room.router.generate(ASKER, Generation(prompt=REFERENCE, variables={"message": "Hello", "history": []}))


async def test_an_output_is_checked_against_its_schema(clock: FakeClock) -> None:
    assert (await Room(clock, reply('{"intent":"refund"}')).answered(generation(schema=INTENTS))).output == {"intent": "refund"}


async def test_a_task_takes_its_own_route_and_the_default_one_otherwise(clock: FakeClock) -> None:
    room = Room(clock, reply(), models=[model("m-1"), model("m-2"), model("m-3")], **{"m-2": [reply()], "m-3": [reply()]})
    for name, wanted in (("answering", "fake/m-2"), ("default", "fake/m-3")):
        await room.registry.register(ACME, Route(name=name, candidates=(RouteCandidate(model=wanted),)), ["production"], "")
    assert (await room.answered(generation())).attempts[-1].model == "m-2"
    assert (await room.answered(replace(generation(), task="other"))).attempts[-1].model == "m-3"
    assert (await room.answered(generation(), OTHER)).attempts[-1].model == "m-1"
    assert [call.choice.route for call in room.ledger.calls] == ["answering@1", "default@1", ""]
    with pytest.raises(UnknownModel):
        await room.registry.register(ACME, Route(name="x", candidates=(RouteCandidate(model="nobody"),)), [], "")


async def test_a_route_of_the_configuration_serves_who_has_none_of_their_own(clock: FakeClock) -> None:
    routes = {"*": Route(name="*", candidates=(RouteCandidate(model="fake/m-2"),))}
    room = Room(clock, reply(), models=[model("m-1"), model("m-2")], routes=routes, **{"m-2": [reply()]})
    assert (await room.answered(generation())).attempts[-1].model == "m-2"


async def test_a_registered_model_is_asked_by_its_entry_and_priced_by_the_table(clock: FakeClock) -> None:
    room = Room(clock, reply(), **{"gpt-x": [reply()]})
    await room.registry.register(ACME, replace(MODEL, price=None), ["production"], "")
    await room.registry.register(ACME, replace(MODEL, price=replace(CHEAP, input_micros=9_000_000)), ["candidate"], "")
    answer = await room.answered(generation(model="fast"))
    assert (answer.provider, answer.attempts[-1].model, answer.usage.cost_micros) == ("openai", "gpt-x", 14)
    assert (await room.answered(generation(model="fast@2"))).usage.cost_micros == 94
    assert (await room.answered(generation(model="fast@candidate"))).usage.cost_micros == 94
    listed = [(told.entry, told.price_source) for told, _ in await room.router.list_models(ACME)]
    assert listed == [("fast", "t1"), ("", "")]


async def test_simple_and_hard_questions_take_their_tiers(clock: FakeClock) -> None:
    room = Room(clock, reply(), models=[model("m-1"), model("m-2")], **{"m-2": [reply()]})
    tiers = (
        RouteCandidate(model="fake/m-1", tier=CheapOrStrong.STRONG),
        RouteCandidate(model="fake/m-2", tier=CheapOrStrong.CHEAP),
    )
    await room.registry.register(ACME, Route(name="default", candidates=tiers), ["production"], "")
    assert (await room.answered(replace(generation(), task="classification"))).attempts[-1].model == "m-2"
    assert (await room.answered(replace(generation(), task="reasoning"))).attempts[-1].model == "m-1"


async def test_a_tool_loop_stays_with_the_model_it_began_with(clock: FakeClock) -> None:
    room = Room(clock, FAILED, reply(), models=[model("m-1"), model("m-2")], **{"m-2": [reply()]})
    work = WorkContext(run_id="run_1", node="act")
    assert (await room.answered(replace(generation(), work=work))).attempts[-1].model == "m-2"
    loop = (user("Go."), assistant(ToolCall(call_id="a", tool="t", arguments={})), results(ToolResult(call_id="a", tool="t", content=1)))
    assert (await room.answered(replace(generation(), work=work, messages=loop))).attempts[-1].model == "m-2"
    assert room.ledger.calls[-1].choice.sticky
    assert (await room.answered(replace(generation(), work=replace(work, node="other"), messages=loop))).attempts[-1].model == "m-1"


@pytest.mark.parametrize(
    ("only", "asked", "category", "reason"),
    [
        ({"context_tokens": 5}, generation(), Category.CONTEXT_TRUNCATED, "CONTEXT_TOO_LONG"),
        (
            {"features": USUAL - {Feature.IMAGES}},
            replace(generation(), messages=(Message(role=Role.USER, parts=(Media(media_type="image/png", uri="https://x/y.png"),)),)),
            Category.UPSTREAM_REJECTED,
            "UNSUPPORTED",
        ),
        ({}, replace(generation(), max_cost_micros=1), Category.BUDGET_EXCEEDED, "TOO_EXPENSIVE"),
    ],
)
async def test_where_nobody_can_be_asked_the_reason_is_told_and_nothing_charged(
    clock: FakeClock, only: dict[str, object], asked: Generation, category: Category, reason: str
) -> None:
    room = Room(clock, reply(), models=[model("m-1", **only)])
    outcome = await room.unanswered(asked)
    assert (outcome.failure.category, outcome.failure.reason, outcome.usage) == (category, reason, Usage())
    assert (room.upstream.asked, len(room.ledger.calls)) == ([], 1)


async def test_a_context_too_long_for_one_goes_to_the_next_larger(clock: FakeClock) -> None:
    room = Room(clock, reply(), models=[model("m-1", context_tokens=5), model("m-2", context_tokens=5000)], **{"m-2": [reply()]})
    assert (await room.answered(generation())).attempts[-1].model == "m-2"


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


@pytest.mark.parametrize("forgiving", [False, True])
async def test_while_the_ledger_is_away_calls_are_refused_or_recorded_later_as_configured(clock: FakeClock, forgiving: bool) -> None:
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
            await router.generate(ASKER, generation())
        assert room.upstream.asked == []
        return
    assert isinstance(await router.generate(ASKER, generation()), Answer)
    assert len(away.calls) == 1


async def test_a_strict_stream_is_what_the_caller_asked_for(clock: FakeClock) -> None:
    room = Room(clock, FAILED, models=[model("m-1"), model("m-2")], **{"m-2": [reply()]})
    steps = [step async for step in room.router.generate_stream(ASKER, generation(), Delivery.STRICT)]
    assert isinstance(steps[-1], Unanswered)
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
