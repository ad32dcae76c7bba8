"""What every store of the model-router promises, whatever it stands on: run against the fakes and against Postgres."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Protocol

import pytest
from model_router_samples import ACME, MODEL, NOON, ROUTE, TEMPLATE, UMBRELLA, answer, call, opening, unanswered
from plimsoll.model_router.v1 import model_router_service_pb2 as pb
from plimsoll_model_router.domain.budgets import Budget, BudgetPeriod, BudgetScope, Estimate
from plimsoll_model_router.domain.calls import Busy, Opened, OverBudget
from plimsoll_model_router.domain.entries import Entry, Kind
from plimsoll_model_router.domain.generation import CachePolicy, Purpose
from plimsoll_model_router.domain.labels import EntryReference, Grounds, Move
from plimsoll_model_router.domain.pricing import LongPrice, Price
from plimsoll_model_router.domain.prompts import ByDigest, ByLabel, ByVersion, Example, Selector
from plimsoll_model_router.errors import LabelMoved, RequestKeyReused, UnknownCall, UnknownEntry, UnknownPrompt
from plimsoll_model_router.ports import BudgetStore, CallLedger, RegistryStore
from plimsoll_model_router.transport.codec import answer_to_bytes
from plimsoll_testkit.clock import FakeClock

LONG = replace(
    MODEL,
    price=Price(
        input_micros=1,
        output_micros=2,
        cached_input_micros=0,
        long=LongPrice(above=10, input_micros=2, output_micros=4, cached_input_micros=1),
    ),
)
DAILY = Budget(scope=BudgetScope.TENANT, period=BudgetPeriod.DAY, max_tokens=100, max_cost_micros=50)


def prompt_at(selector: Selector, name: str = TEMPLATE.name) -> EntryReference:
    return EntryReference(kind=Kind.PROMPT, name=name, selector=selector)


PRODUCTION = prompt_at(ByLabel(label="production"))


def to(entry: Entry, came_from: int, label: str = "production", grounds: Grounds = Grounds.OPEN) -> Move:
    return Move(
        kind=entry.kind,
        name=entry.name,
        label=label,
        from_version=came_from,
        to_version=entry.version,
        grounds=grounds,
        report_digest="r",
        reason="because",
        moved_by="ann",
    )


class RegistryStoreBehaviour:
    """Subclasses give the fixture `store`."""

    async def test_a_prompt_comes_back_as_it_was_registered(self, store: RegistryStore) -> None:
        odd = replace(
            TEMPLATE, examples=(Example(user="a\x00b", assistant={"z": 1, "a": [1.5, None]}), Example(user="c", assistant="text"))
        )
        registered, created = await store.register(ACME, odd, "ann")
        assert created
        assert await store.get(ACME, prompt_at(ByVersion(version=1))) == registered
        assert registered.content == odd
        assert (registered.version, registered.digest, registered.labels, registered.created_by) == (1, odd.digest, (), "ann")

    async def test_model_entries_and_routes_come_back_as_they_were_registered(self, store: RegistryStore) -> None:
        for content, kind in ((LONG, Kind.MODEL), (ROUTE, Kind.ROUTE)):
            registered, created = await store.register(ACME, content, "")
            found = await store.get(ACME, EntryReference(kind=kind, name=content.name, selector=ByDigest(digest=registered.digest)))
            assert (created, found, found.content, found.kind) == (True, registered, content, kind)

    async def test_one_name_may_be_of_every_kind(self, store: RegistryStore) -> None:
        await store.register(ACME, replace(TEMPLATE, name="fast"), "")
        entry, created = await store.register(ACME, MODEL, "")
        assert (entry.version, created) == (1, True)

    async def test_the_same_content_again_is_the_version_that_exists(self, store: RegistryStore) -> None:
        first, _ = await store.register(ACME, TEMPLATE, "")
        again, created = await store.register(ACME, replace(TEMPLATE, description="told differently"), "")
        assert not created
        assert again == first

    async def test_other_content_is_the_next_version_and_the_old_one_stays(self, store: RegistryStore) -> None:
        first, _ = await store.register(ACME, TEMPLATE, "")
        second, created = await store.register(ACME, replace(TEMPLATE, system="Be brief."), "")
        assert created
        assert second.version == 2
        assert await store.get(ACME, prompt_at(ByVersion(version=1))) == first
        assert await store.get(ACME, prompt_at(ByVersion(version=2))) == second
        assert await store.get(ACME, prompt_at(ByDigest(digest=first.digest))) == first
        assert [entry.version for entry in await store.versions(ACME, Kind.PROMPT, TEMPLATE.name, 0, 10)] == [2, 1]
        assert [entry.version for entry in await store.versions(ACME, Kind.PROMPT, TEMPLATE.name, 2, 10)] == [1]

    async def test_a_label_points_where_it_was_moved_last_and_every_move_is_kept(self, store: RegistryStore) -> None:
        first, _ = await store.register(ACME, TEMPLATE, "")
        second, _ = await store.register(ACME, replace(TEMPLATE, system="Be brief."), "")
        await store.move(ACME, to(first, 0, grounds=Grounds.FIRST))
        assert (await store.get(ACME, PRODUCTION)).version == 1
        kept = await store.move(ACME, to(second, 1, grounds=Grounds.REPORT))
        assert (await store.get(ACME, PRODUCTION)).labels == ("production",)
        assert (await store.get(ACME, PRODUCTION)).version == 2
        moves = await store.moves(ACME, Kind.PROMPT, TEMPLATE.name, "production", 0, 10)
        assert [(move.from_version, move.to_version, move.grounds) for move in moves] == [(1, 2, "report"), (0, 1, "first")]
        assert (moves[0], moves[0].moved_by, moves[0].reason, moves[0].report_digest) == (kept, "ann", "because", "r")
        assert await store.moves(ACME, Kind.PROMPT, "", "", moves[0].position, 10) == [moves[1]]

    async def test_a_label_that_somebody_else_moved_meanwhile_stays(self, store: RegistryStore) -> None:
        first, _ = await store.register(ACME, TEMPLATE, "")
        await store.move(ACME, to(first, 0))
        with pytest.raises(LabelMoved):
            await store.move(ACME, to(first, 0))
        assert len(await store.moves(ACME, Kind.PROMPT, "", "", 0, 10)) == 1

    async def test_all_that_a_label_points_at_is_found_together(self, store: RegistryStore) -> None:
        for name in ("b", "a", "c"):
            entry, _ = await store.register(ACME, replace(MODEL, name=name), "")
            await store.move(ACME, to(entry, 0, "candidate" if name == "c" else "production"))
        assert [entry.name for entry in await store.labelled(ACME, Kind.MODEL, "production")] == ["a", "b"]
        assert list(await store.labelled(UMBRELLA, Kind.MODEL, "production")) == []

    async def test_what_does_not_exist_is_unknown(self, store: RegistryStore) -> None:
        with pytest.raises(UnknownPrompt, match="support-classify"):
            await store.get(ACME, PRODUCTION)
        await store.register(ACME, TEMPLATE, "")
        with pytest.raises(UnknownPrompt):
            await store.get(ACME, PRODUCTION)
        with pytest.raises(UnknownEntry):
            await store.get(ACME, EntryReference(kind=Kind.ROUTE, name="x", selector=ByVersion(version=1)))

    async def test_tenants_do_not_see_each_other(self, store: RegistryStore) -> None:
        entry, _ = await store.register(ACME, TEMPLATE, "")
        await store.move(ACME, to(entry, 0))
        with pytest.raises(UnknownPrompt):
            await store.get(UMBRELLA, PRODUCTION)
        assert list(await store.newest(UMBRELLA, Kind.PROMPT, "", 10)) == []
        assert list(await store.moves(UMBRELLA, Kind.PROMPT, "", "", 0, 10)) == []
        theirs, created = await store.register(UMBRELLA, TEMPLATE, "")
        assert (theirs.version, created) == (1, True)

    async def test_the_newest_of_each_name_are_listed_by_name_and_page(self, store: RegistryStore) -> None:
        for name in ("cherry", "apple", "banana"):
            await store.register(ACME, replace(TEMPLATE, name=name), "")
        newest, _ = await store.register(ACME, replace(TEMPLATE, name="apple", system="Newer."), "")
        first = list(await store.newest(ACME, Kind.PROMPT, "", 2))
        assert [entry.name for entry in first] == ["apple", "banana"]
        assert first[0] == newest
        assert [entry.name for entry in await store.newest(ACME, Kind.PROMPT, "banana", 2)] == ["cherry"]


class Forgetful(CallLedger, Protocol):
    """A ledger that can be told to forget."""

    async def forget(self) -> int: ...


class CallLedgerBehaviour:
    """Subclasses give the fixtures `ledger`, which remembers for an hour of `clock`, and `budgets`, which hold in it."""

    async def test_an_answer_under_a_request_key_is_remembered_whole(self, ledger: Forgetful) -> None:
        assert await ledger.recall(ACME, "k", "f") is None
        assert await ledger.record(call(key="k")) is None
        assert await ledger.recall(ACME, "k", "f") == replace(answer(), recorded=True)
        assert await ledger.open(opening(key="k")) == replace(answer(), recorded=True)

    async def test_of_two_answers_to_one_key_the_first_recorded_holds(self, ledger: Forgetful) -> None:
        await ledger.record(call(1, key="k"))
        earlier = await ledger.record(call(2, key="k", outcome=answer("Something else.")))
        assert earlier == replace(answer(), recorded=True)
        assert await ledger.recall(ACME, "k", "f") == earlier

    async def test_one_call_at_a_time_is_open_under_a_key(self, ledger: Forgetful) -> None:
        assert await ledger.open(opening(1, key="k")) == Opened()
        assert await ledger.open(opening(2, key="k")) == Busy()
        assert await ledger.open(opening(3, key="k", tenant=UMBRELLA)) == Opened()
        with pytest.raises(RequestKeyReused):
            await ledger.open(opening(4, key="k", fingerprint="other"))
        await ledger.record(call(1, key="k", outcome=unanswered()))
        assert await ledger.open(opening(2, key="k")) == Opened()

    async def test_a_key_belongs_to_one_question(self, ledger: Forgetful) -> None:
        await ledger.record(call(key="k", fingerprint="one"))
        with pytest.raises(RequestKeyReused):
            await ledger.recall(ACME, "k", "other")
        with pytest.raises(RequestKeyReused):
            await ledger.open(opening(2, key="k", fingerprint="other"))

    async def test_a_key_belongs_to_one_tenant(self, ledger: Forgetful) -> None:
        await ledger.record(call(key="k"))
        assert await ledger.recall(UMBRELLA, "k", "other") is None

    async def test_a_failed_call_is_not_remembered_so_that_it_can_be_tried_again(self, ledger: Forgetful) -> None:
        assert await ledger.record(call(1, key="k", outcome=unanswered())) is None
        assert await ledger.recall(ACME, "k", "f") is None
        assert await ledger.record(call(2, key="k")) is None

    async def test_calls_without_a_key_are_all_new(self, ledger: Forgetful) -> None:
        assert await ledger.open(opening(1)) == await ledger.open(opening(2)) == Opened()
        assert await ledger.record(call(1)) is None
        assert await ledger.record(call(2)) is None

    async def test_an_answer_is_forgotten_when_its_time_is_over(self, ledger: Forgetful, clock: FakeClock) -> None:
        await ledger.record(call(1, key="k"))
        assert await ledger.forget() == 0
        clock.advance(3601)
        assert await ledger.forget() == 1
        assert await ledger.recall(ACME, "k", "f") is None
        assert await ledger.record(call(2, key="k")) is None

    async def test_what_is_kept_of_a_call_can_be_read(self, ledger: Forgetful) -> None:
        await ledger.record(call(1))
        await ledger.record(call(2, outcome=unanswered()))
        kept = await ledger.get(ACME, "call_1")
        assert (kept.provider, kept.model, kept.task, kept.prompt_name, kept.usage.cost_micros) == (
            "openai", "m-1", "classification", "support-classify", 7,
        )  # fmt: skip
        assert (kept.failure, kept.attempts, kept.work.run_id, kept.started_at) == (None, answer().attempts, "run_1", NOON)
        failed = (await ledger.get(ACME, "call_2")).failure
        assert failed is not None
        assert failed.reason == "PROVIDER_ERROR"
        with pytest.raises(UnknownCall):
            await ledger.get(UMBRELLA, "call_1")

    async def test_question_and_answer_are_kept_for_replays_until_their_time_is_over(self, ledger: Forgetful, clock: FakeClock) -> None:
        """Also the answer that a request key keeps, and the question of a call that failed."""
        asked = pb.Generation(task="classification", request_key="k")
        for number, key, outcome in ((1, "", answer()), (2, "k", answer()), (3, "", unanswered())):
            made = call(number, key=key, outcome=outcome)
            await ledger.record(replace(made, generation=replace(made.generation, wire=asked.SerializeToString())))
        wanted = answer_to_bytes(replace(answer(), attempts=()))
        for number, told in ((1, wanted), (2, wanted), (3, b"")):
            body = (await ledger.get(ACME, f"call_{number}")).body
            assert body is not None
            assert (body.question, body.answer, body.until) == (asked.SerializeToString(), told, clock.now() + timedelta(hours=1))
        await ledger.record(call(4))
        assert (await ledger.get(ACME, "call_4")).body is None
        clock.advance(3601)
        assert await ledger.forget() == 3
        assert (await ledger.get(ACME, "call_1")).body is None
        assert (await ledger.get(ACME, "call_1")).usage == answer().usage

    async def test_evaluations_are_no_model_that_answered_last(self, ledger: Forgetful) -> None:
        made = call(1)
        await ledger.record(
            replace(made, generation=replace(made.generation, purpose=Purpose.EVALUATION), prompt_version=3, model_digest="d")
        )
        assert await ledger.last_model(ACME, "run_1", "classify") == ""
        kept = await ledger.get(ACME, "call_1")
        assert (kept.purpose, kept.prompt_version, kept.model_digest, kept.confidence) == (Purpose.EVALUATION, 3, "d", answer().confidence)

    async def test_evaluations_are_billed_to_a_budget_of_their_own_or_else_to_the_tenant(
        self, ledger: Forgetful, budgets: BudgetStore
    ) -> None:
        for scope, subject in ((BudgetScope.TENANT, ""), (BudgetScope.AGENT, "support")):
            await budgets.put(ACME, replace(DAILY, scope=scope, subject=subject))

        async def judge(number: int) -> dict[str, tuple[int, int]]:
            made = call(number)
            wanted = replace(opening(number, agent="support", wanted=Estimate(tokens=20, cost_micros=10)), purpose=Purpose.EVALUATION)
            assert isinstance(await ledger.open(wanted), Opened)
            held = {str(one.budget.scope): one.reserved_tokens for one in await budgets.all(ACME)}
            await ledger.record(replace(made, generation=replace(made.generation, purpose=Purpose.EVALUATION)))
            return {str(one.budget.scope): (held[str(one.budget.scope)], one.spent_tokens) for one in await budgets.all(ACME)}

        assert await judge(1) == {"tenant": (20, 14), "agent": (0, 0)}
        await budgets.put(ACME, replace(DAILY, scope=BudgetScope.EVALUATION))
        assert await judge(2) == {"tenant": (0, 14), "agent": (0, 0), "evaluation": (20, 14)}
        assert isinstance(await ledger.open(replace(opening(3, wanted=Estimate(tokens=87)), purpose=Purpose.EVALUATION)), OverBudget)
        assert isinstance(await ledger.open(opening(4, wanted=Estimate(tokens=86))), Opened)

    async def test_the_model_that_answered_last_in_a_node_is_known(self, ledger: Forgetful) -> None:
        assert await ledger.last_model(ACME, "run_1", "classify") == ""
        await ledger.record(call(1))
        await ledger.record(call(2, outcome=unanswered()))
        assert await ledger.last_model(ACME, "run_1", "classify") == "openai/m-1"
        assert await ledger.last_model(ACME, "run_1", "other") == ""
        assert await ledger.last_model(UMBRELLA, "run_1", "classify") == ""

    async def test_an_answer_is_found_by_its_cache_key_while_it_is_young_enough(self, ledger: Forgetful) -> None:
        made = call(1)
        leave = CachePolicy(max_age_s=600.0)
        await ledger.record(replace(made, cache_key="c", generation=replace(made.generation, cache=leave)))
        assert await ledger.cached(ACME, "c", NOON) == replace(answer(), recorded=True)
        assert await ledger.cached(ACME, "c", NOON + timedelta(seconds=1)) is None
        assert await ledger.cached(UMBRELLA, "c", NOON) is None
        assert await ledger.cached(ACME, "d", NOON) is None

    async def test_a_call_reserves_and_settles_in_every_budget_that_holds_for_it(self, ledger: Forgetful, budgets: BudgetStore) -> None:
        for scope, subject in (
            (BudgetScope.TENANT, ""),
            (BudgetScope.AGENT, "support"),
            (BudgetScope.KEY, "key_1"),
            (BudgetScope.AGENT, "other"),
        ):
            await budgets.put(ACME, replace(DAILY, scope=scope, subject=subject))
        opened = await ledger.open(opening(1, agent="support", api_key="key_1", wanted=Estimate(tokens=40, cost_micros=20)))
        assert opened == Opened(caps_tokens=True, caps_money=True)
        held = {(str(one.budget.scope), one.budget.subject): one.reserved_tokens for one in await budgets.all(ACME)}
        assert held == {("tenant", ""): 40, ("agent", "support"): 40, ("key", "key_1"): 40, ("agent", "other"): 0}
        await ledger.record(replace(call(1), key="key_1"))
        spent = {
            (str(one.budget.scope), one.budget.subject): (
                one.spent_tokens,
                one.spent_cost_micros,
                one.reserved_tokens,
                one.reserved_cost_micros,
            )
            for one in await budgets.all(ACME)
        }
        used = (14, 7, 0, 0)
        assert spent == {("tenant", ""): used, ("agent", "support"): used, ("key", "key_1"): used, ("agent", "other"): (0, 0, 0, 0)}

    async def test_a_call_that_does_not_fit_is_refused_and_holds_nothing(self, ledger: Forgetful, budgets: BudgetStore) -> None:
        await budgets.put(ACME, DAILY)
        await ledger.open(opening(1, wanted=Estimate(tokens=60, cost_micros=10)))
        over = await ledger.open(opening(2, wanted=Estimate(tokens=41, cost_micros=10)))
        assert isinstance(over, OverBudget)
        assert (over.budget, over.room_tokens, over.room_cost_micros) == ("tenant per day", 40, 40)
        assert isinstance(await ledger.open(opening(3, wanted=Estimate(tokens=1, cost_micros=41))), OverBudget)
        assert [one.reserved_tokens for one in await budgets.all(ACME)] == [60]
        assert isinstance(await ledger.open(opening(4, wanted=Estimate(tokens=40, cost_micros=40))), Opened)
        assert isinstance(await ledger.open(opening(5, tenant=UMBRELLA, wanted=Estimate(tokens=999))), Opened)

    async def test_a_reservation_grows_while_there_is_room(self, ledger: Forgetful, budgets: BudgetStore) -> None:
        await budgets.put(ACME, DAILY)
        mine = opening(1, wanted=Estimate(tokens=60))
        await ledger.open(mine)
        assert await ledger.extend(mine, Estimate(tokens=30, cost_micros=5)) is None
        assert isinstance(await ledger.extend(mine, Estimate(tokens=11)), OverBudget)
        await ledger.record(call(1))
        [status] = await budgets.all(ACME)
        assert (status.spent_tokens, status.reserved_tokens, status.reserved_cost_micros) == (14, 0, 0)

    async def test_the_same_call_counts_once_however_often_it_is_told(self, ledger: Forgetful, budgets: BudgetStore) -> None:
        await budgets.put(ACME, DAILY)
        await ledger.open(opening(1, wanted=Estimate(tokens=20)))
        for _ in range(3):
            await ledger.record(call(1))
        [status] = await budgets.all(ACME)
        assert (status.spent_tokens, status.reserved_tokens) == (14, 0)

    async def test_calls_side_by_side_never_exceed_a_cap(self, ledger: Forgetful, budgets: BudgetStore) -> None:
        await budgets.put(ACME, replace(DAILY, max_tokens=140, max_cost_micros=0))  # ten calls of 14 tokens
        high = 0

        async def one(number: int) -> bool:
            nonlocal high
            opened = await ledger.open(opening(number, wanted=Estimate(tokens=14)))
            if isinstance(opened, OverBudget):
                return False
            [status] = await budgets.all(ACME)
            high = max(high, status.spent_tokens + status.reserved_tokens)
            await ledger.record(call(number))
            return True

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(number)) for number in range(60)]
        assert sum(task.result() for task in tasks) == 10
        [status] = await budgets.all(ACME)
        assert (status.spent_tokens, status.reserved_tokens) == (140, 0)
        assert high <= 140


class BudgetStoreBehaviour:
    """Subclasses give the fixture `budgets`."""

    async def test_a_budget_is_set_changed_listed_and_deleted(self, budgets: BudgetStore) -> None:
        made = await budgets.put(ACME, DAILY)
        assert (made.budget, made.spent_tokens) == (DAILY, 0)
        assert made.period_start.hour == made.period_start.minute == 0
        changed = await budgets.put(ACME, replace(DAILY, max_tokens=5))
        assert [one.budget.max_tokens for one in await budgets.all(ACME)] == [changed.budget.max_tokens] == [5]
        assert list(await budgets.all(UMBRELLA)) == []
        assert not await budgets.remove(UMBRELLA, BudgetScope.TENANT, "", BudgetPeriod.DAY)
        assert await budgets.remove(ACME, BudgetScope.TENANT, "", BudgetPeriod.DAY)
        assert not await budgets.remove(ACME, BudgetScope.TENANT, "", BudgetPeriod.DAY)
