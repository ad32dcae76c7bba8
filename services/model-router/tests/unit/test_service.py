"""The verbs: prompts resolved and rendered, models chosen, answers recorded and remembered."""

import asyncio
from dataclasses import replace

import pytest
from model_router_desks import Told
from model_router_offices import ASKER, CHEAP, FAILED, OTHER, Room, model
from model_router_samples import ACME, INTENTS, LOOKUP, MODEL, REFERENCE, TEMPLATE, generation, reply
from plimsoll_model_router.domain.budgets import Budget, BudgetPeriod, BudgetScope
from plimsoll_model_router.domain.endpoints import USUAL, Feature
from plimsoll_model_router.domain.generation import Answer, CachePolicy, CacheScope, Generation, Unanswered
from plimsoll_model_router.domain.messages import Media, Message, Role, ToolCall, ToolResult, assistant, results, user
from plimsoll_model_router.domain.routes import CheapOrStrong, Route, RouteCandidate
from plimsoll_model_router.errors import (
    InvalidGeneration,
    InvalidVariables,
    RequestKeyBusy,
    RequestKeyReused,
    UnknownModel,
    UnknownPrompt,
)
from plimsoll_model_router.service.asker import Asker
from plimsoll_runtime.deadline import expiring
from plimsoll_runtime.failures import Category
from plimsoll_runtime.usage import Usage
from plimsoll_runtime.work import WorkContext
from plimsoll_testkit.clock import FakeClock


@pytest.fixture
def room(clock: FakeClock) -> Room:
    return Room(clock, reply())


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


async def test_tools_are_told_in_one_order_so_that_providers_find_the_beginning_in_their_caches(room: Room) -> None:
    other = replace(LOOKUP, name="a_tool")
    for tools in ((LOOKUP, other), (other, LOOKUP)):
        await room.answered(replace(generation(), tools=tools))
    first, second = (ask.question for ask in room.upstream.asked)
    assert first == second


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
    told, again = Told(), Told()
    answer = await room.router.generate_stream(ASKER, generation(key="k"), told.note)
    assert "".join(step.text for step in told.steps) == "It is here."
    assert isinstance(answer, Answer)
    assert await room.router.generate_stream(ASKER, generation(key="k"), again.note) == replace(answer, recorded=True)
    assert again.steps == []


async def test_what_a_caller_left_behind_is_recorded_and_its_key_free_again(clock: FakeClock) -> None:
    room = Room(clock, reply())
    await room.budgets.put(ACME, Budget(scope=BudgetScope.TENANT, period=BudgetPeriod.DAY, max_tokens=100_000))
    with pytest.raises(asyncio.CancelledError):
        await room.router.generate_stream(ASKER, generation(key="k"), Told(enough=lambda step: bool(step.text)).note)
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


async def test_a_registered_model_whose_provider_is_gone_is_never_asked(clock: FakeClock) -> None:
    room = Room(clock, reply(), **{"gpt-x": [reply()]})
    await room.registry.register(ACME, MODEL, ["production"], "")
    del room.suppliers["openai"]  # its key was taken out of the configuration
    both = Route(name="answering", candidates=(RouteCandidate(model="fast"), RouteCandidate(model="fake/m-1")))
    await room.registry.register(ACME, both, ["production"], "")
    alone = await room.unanswered(generation(model="fast"))
    assert (alone.failure.category, alone.failure.reason, alone.attempts) == (Category.UPSTREAM_REJECTED, "NOT_CONFIGURED", ())
    assert (await room.answered(generation())).provider == "fake"
    assert [asked.endpoint.provider for asked in room.upstream.asked] == ["fake"]


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
