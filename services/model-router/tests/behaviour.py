"""What every store of the model-router promises, whatever it stands on: run against the fakes and against Postgres."""

from dataclasses import replace
from typing import Protocol

import pytest
from model_router_samples import ACME, REFERENCE, TEMPLATE, UMBRELLA, answer, call, unanswered
from plimsoll_model_router.domain.prompts import ByDigest, ByVersion, Example, PromptReference
from plimsoll_model_router.errors import RequestKeyReused, UnknownPrompt
from plimsoll_model_router.ports import CallLedger, PromptStore
from plimsoll_testkit.clock import FakeClock


class PromptStoreBehaviour:
    """Subclasses give the fixture `store`."""

    async def test_a_prompt_comes_back_as_it_was_registered(self, store: PromptStore) -> None:
        odd = replace(
            TEMPLATE, examples=(Example(user="a\x00b", assistant={"z": 1, "a": [1.5, None]}), Example(user="c", assistant="text"))
        )
        registered, created = await store.register(ACME, odd, ["production"])
        assert created
        assert await store.get(ACME, REFERENCE) == registered
        assert registered.template == odd
        assert (registered.version, registered.digest, registered.labels) == (1, odd.digest, ("production",))

    async def test_the_same_content_again_is_the_version_that_exists(self, store: PromptStore) -> None:
        first, _ = await store.register(ACME, TEMPLATE, [])
        again, created = await store.register(ACME, replace(TEMPLATE, description="told differently"), [])
        assert not created
        assert again == first

    async def test_other_content_is_the_next_version_and_the_old_one_stays(self, store: PromptStore) -> None:
        first, _ = await store.register(ACME, TEMPLATE, ["production"])
        second, created = await store.register(ACME, replace(TEMPLATE, system="Be brief."), [])
        assert created
        assert second.version == 2
        assert await store.get(ACME, REFERENCE) == first
        assert await store.get(ACME, PromptReference(name=TEMPLATE.name, selector=ByVersion(version=2))) == second
        assert await store.get(ACME, PromptReference(name=TEMPLATE.name, selector=ByDigest(digest=first.digest))) == first

    async def test_a_label_moves_to_the_version_it_was_registered_with_last(self, store: PromptStore) -> None:
        await store.register(ACME, TEMPLATE, ["production", "candidate"])
        second, _ = await store.register(ACME, replace(TEMPLATE, system="Be brief."), ["production"])
        assert (await store.get(ACME, REFERENCE)).version == second.version
        back, created = await store.register(ACME, TEMPLATE, ["production"])
        assert (back.version, back.labels, created) == (1, ("candidate", "production"), False)
        assert (await store.get(ACME, REFERENCE)).version == 1

    async def test_what_does_not_exist_is_unknown(self, store: PromptStore) -> None:
        with pytest.raises(UnknownPrompt, match="support-classify@production"):
            await store.get(ACME, REFERENCE)
        await store.register(ACME, TEMPLATE, [])
        with pytest.raises(UnknownPrompt):
            await store.get(ACME, REFERENCE)

    async def test_tenants_do_not_see_each_other(self, store: PromptStore) -> None:
        await store.register(ACME, TEMPLATE, ["production"])
        with pytest.raises(UnknownPrompt):
            await store.get(UMBRELLA, REFERENCE)
        assert await store.newest(UMBRELLA, "", 10) == []
        theirs, created = await store.register(UMBRELLA, TEMPLATE, [])
        assert (theirs.version, created) == (1, True)

    async def test_the_newest_of_each_name_are_listed_by_name_and_page(self, store: PromptStore) -> None:
        for name in ("cherry", "apple", "banana"):
            await store.register(ACME, replace(TEMPLATE, name=name), [])
        newest, _ = await store.register(ACME, replace(TEMPLATE, name="apple", system="Newer."), ["production"])
        first = list(await store.newest(ACME, "", 2))
        assert [prompt.template.name for prompt in first] == ["apple", "banana"]
        assert first[0] == newest
        assert [prompt.template.name for prompt in await store.newest(ACME, "banana", 2)] == ["cherry"]


class Forgetful(CallLedger, Protocol):
    """A ledger that can be told to forget."""

    async def forget(self) -> int: ...


class CallLedgerBehaviour:
    """Subclasses give the fixture `ledger`, which remembers for an hour of `clock`."""

    async def test_an_answer_under_a_request_key_is_remembered_whole(self, ledger: Forgetful) -> None:
        assert await ledger.recall(ACME, "k", "f") is None
        assert await ledger.record(call(key="k")) is None
        assert await ledger.recall(ACME, "k", "f") == replace(answer(), recorded=True)

    async def test_of_two_answers_to_one_key_the_first_recorded_holds(self, ledger: Forgetful) -> None:
        await ledger.record(call(1, key="k"))
        earlier = await ledger.record(call(2, key="k", outcome=answer("Something else.")))
        assert earlier == replace(answer(), recorded=True)
        assert await ledger.recall(ACME, "k", "f") == earlier

    async def test_a_key_belongs_to_one_question(self, ledger: Forgetful) -> None:
        await ledger.record(call(key="k", fingerprint="one"))
        with pytest.raises(RequestKeyReused):
            await ledger.recall(ACME, "k", "other")

    async def test_a_key_belongs_to_one_tenant(self, ledger: Forgetful) -> None:
        await ledger.record(call(key="k"))
        assert await ledger.recall(UMBRELLA, "k", "other") is None

    async def test_a_failed_call_is_not_remembered_so_that_it_can_be_tried_again(self, ledger: Forgetful) -> None:
        assert await ledger.record(call(1, key="k", outcome=unanswered())) is None
        assert await ledger.recall(ACME, "k", "f") is None
        assert await ledger.record(call(2, key="k")) is None

    async def test_calls_without_a_key_are_all_new(self, ledger: Forgetful) -> None:
        assert await ledger.record(call(1)) is None
        assert await ledger.record(call(2)) is None

    async def test_an_answer_is_forgotten_when_its_time_is_over(self, ledger: Forgetful, clock: FakeClock) -> None:
        await ledger.record(call(1, key="k"))
        assert await ledger.forget() == 0
        clock.advance(3601)
        assert await ledger.forget() == 1
        assert await ledger.recall(ACME, "k", "f") is None
        assert await ledger.record(call(2, key="k")) is None
