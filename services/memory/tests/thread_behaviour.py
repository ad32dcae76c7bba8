"""What every store of threads promises, whatever it stands on: run against the fake and against Postgres."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from memory_samples import ACME, NOON, UMBRELLA
from plimsoll_memory.domain.conversation import Claim, Origin, Remembering, Saying, Summary
from plimsoll_memory.domain.paging import PageRequest
from plimsoll_memory.errors import KeyReused
from plimsoll_memory.ports import ThreadStore
from plimsoll_runtime.json_types import JsonObject
from plimsoll_runtime.work import WorkContext

ADA = "customer/ada"
TEN = PageRequest(after="", size=10)
LATER = NOON + timedelta(minutes=1)
WORK = WorkContext(run_id="run_1", step=3, node="answer")


def claim(text: str, *, subject: str = ADA, attribute: str = "", origin: Origin = Origin.USER, saying: int = 0) -> Claim:
    metadata: JsonObject = {"from": "a test"}
    return Claim(subject=subject, attribute=attribute, text=text, origin=origin, saying=saying, metadata=metadata)


def request(
    *texts: str,
    key: str = "k1",
    thread_id: str = "th_1",
    claims: Sequence[Claim] = (),
    summary: Summary | None = None,
    collection: str = "",
) -> Remembering:
    origins = (Origin.USER, Origin.ASSISTANT)
    return Remembering(
        thread_id=thread_id,
        collection=collection,
        key=key,
        sayings=tuple(Saying(origin=origins[at % 2], text=text) for at, text in enumerate(texts)),
        claims=tuple(claims),
        learn=False,
        summary=summary,
        work=WORK,
    )


class ThreadStoreBehaviour:
    """Subclasses give the fixture `threads`."""

    async def test_turns_are_numbered_as_they_come_and_read_latest_first(self, threads: ThreadStore) -> None:
        first = await threads.remember(ACME, request("hello", "good day"), (), (), NOON)
        await threads.remember(ACME, request("where is my parcel?", key="k2"), (), (), LATER)
        assert [(turn.number, turn.origin, turn.text) for turn in first.turns] == [(1, "user", "hello"), (2, "assistant", "good day")]
        assert first.turns[0].work == WORK
        latest = await threads.latest(ACME, "th_1", tokens=1000)
        assert [(turn.number, turn.text, turn.created_at) for turn in latest] == [
            (3, "where is my parcel?", LATER), (2, "good day", NOON), (1, "hello", NOON)
        ]  # fmt: skip
        assert (await threads.head(ACME, "th_1")).turns == 3

    async def test_the_latest_turns_stop_where_the_tokens_end(self, threads: ThreadStore) -> None:
        await threads.remember(ACME, request("a" * 40, "b" * 40, "c" * 40), (), (), NOON)
        assert [turn.number for turn in await threads.latest(ACME, "th_1", tokens=10)] == [3]
        assert [turn.number for turn in await threads.latest(ACME, "th_1", tokens=11)] == [3, 2]
        assert [turn.number for turn in await threads.latest(ACME, "th_1", tokens=1000, after=1)] == [3, 2]

    async def test_the_same_key_with_the_same_content_stores_once_and_answers_as_before(self, threads: ThreadStore) -> None:
        told = request("hello", claims=[claim("likes tea")])
        assert await threads.find(ACME, told) is None
        first = await threads.remember(ACME, told, told.claims, ("fact 2: why",), NOON)
        for again in (await threads.remember(ACME, told, told.claims, (), LATER), await threads.find(ACME, told)):
            assert again == replace(first, changed=False)
        assert (await threads.head(ACME, "th_1")).turns == 1

    async def test_a_key_with_other_content_is_refused(self, threads: ThreadStore) -> None:
        await threads.remember(ACME, request("hello"), (), (), NOON)
        for verb in (threads.find(ACME, request("good bye")), threads.remember(ACME, request("good bye"), (), (), NOON)):
            with pytest.raises(KeyReused):
                await verb

    async def test_keys_of_other_threads_and_tenants_are_other_keys(self, threads: ThreadStore) -> None:
        await threads.remember(ACME, request("hello"), (), (), NOON)
        assert (await threads.remember(ACME, request("other", thread_id="th_2"), (), (), NOON)).changed
        assert (await threads.remember(UMBRELLA, request("third"), (), (), NOON)).changed

    async def test_a_fact_said_again_counts_and_does_not_grow(self, threads: ThreadStore) -> None:
        for number, text in enumerate(("Likes tea.", "likes TEA", "likes, tea!")):
            one = claim(text)
            await threads.remember(ACME, request(key=f"k{number}", claims=[one]), [one], (), NOON + timedelta(minutes=number))
        (fact,) = await threads.holding(ACME, [ADA], "", 10)
        assert (fact.text, fact.times, fact.created_at, fact.last_at) == ("Likes tea.", 3, NOON, NOON + timedelta(minutes=2))
        assert (fact.origin, fact.thread_id, fact.work, fact.metadata, fact.untrusted) == ("user", "th_1", WORK, {"from": "a test"}, True)

    async def test_a_new_value_supersedes_the_old_one_which_stays_in_the_chain(self, threads: ThreadStore) -> None:
        for number, text in enumerate(("lives in Oslo", "lives in Rome", "lives in Oslo")):
            one = claim(text, attribute="home")
            await threads.remember(ACME, request(key=f"k{number}", claims=[one]), [one], (), NOON + timedelta(minutes=number))
        assert [fact.text for fact in await threads.holding(ACME, [ADA], "", 10)] == ["lives in Oslo"]
        chain = await threads.facts(ACME, ADA, "", TEN, superseded=True)
        assert [fact.text for fact in chain] == ["lives in Oslo", "lives in Rome", "lives in Oslo"]
        assert [fact.superseded_by for fact in chain] == ["", chain[0].fact_id, chain[1].fact_id]
        assert [fact.text for fact in await threads.facts(ACME, ADA, "", TEN, superseded=False)] == ["lives in Oslo"]

    async def test_facts_without_an_attribute_stand_side_by_side(self, threads: ThreadStore) -> None:
        both = [claim("likes tea"), claim("likes cake")]
        await threads.remember(ACME, request(claims=both), both, (), NOON)
        assert {fact.text for fact in await threads.holding(ACME, [ADA], "", 10)} == {"likes tea", "likes cake"}

    async def test_a_query_brings_the_facts_that_match_to_the_front(self, threads: ThreadStore) -> None:
        three = [claim("likes green tea"), claim("owns a dog"), claim("speaks Greek")]
        await threads.remember(ACME, request(claims=three), three, (), NOON)
        assert (await threads.holding(ACME, [ADA], "which tea does she like?", 10))[0].text == "likes green tea"
        assert len(await threads.holding(ACME, [ADA], "which tea does she like?", 2)) == 2
        assert await threads.holding(ACME, ["customer/bob"], "tea", 10) == []

    async def test_a_fact_names_the_turn_it_was_learned_from(self, threads: ThreadStore) -> None:
        await threads.remember(ACME, request("one", "two"), (), (), NOON)
        learned = claim("my name is Ada", saying=1)
        told = await threads.remember(ACME, request("my name is Ada", key="k2"), [learned], (), NOON)
        assert told.facts[0].turn == 3

    async def test_matching_turns_come_best_first_without_instructions_and_recalled_text(self, threads: ThreadStore) -> None:
        one = request("the parcel is late", "the parcel left the harbour", "cheese")
        hidden = (Saying(origin=Origin.SYSTEM, text="parcel harbour"), Saying(origin=Origin.RECALLED, text="parcel harbour"))
        await threads.remember(ACME, replace(one, sayings=(*one.sayings, *hidden)), (), (), NOON)
        assert [turn.number for turn in await threads.matching(ACME, "th_1", "parcel harbour", 5)] == [2, 1]
        assert [turn.number for turn in await threads.matching(ACME, "th_1", "parcel harbour", 1)] == [2]
        assert set(await threads.known_texts(ACME, "th_1")) == {"parcel harbour"}

    async def test_a_summary_is_kept_while_none_covers_more(self, threads: ThreadStore) -> None:
        await threads.remember(ACME, request("a", "b", "c"), (), (), NOON)
        two = Summary(text="two", through=2, made_by="caller")
        kept = await threads.remember(ACME, request(key="k2", summary=two), (), (), NOON)
        assert (kept.left_out, (await threads.head(ACME, "th_1")).summary) == ((), two)
        for wrong in (replace(two, through=1), replace(two, through=9)):
            refused = await threads.remember(ACME, request(key=f"wrong {wrong.through}", summary=wrong), (), (), NOON)
            assert refused.left_out == ("summary: covers less than the one that is kept, or turns that are not there",)
        assert (await threads.head(ACME, "th_1")).summary == two

    async def test_a_rolled_summary_takes_the_place_of_the_one_it_was_made_from_only(self, threads: ThreadStore) -> None:
        await threads.remember(ACME, request("a", "b", "c"), (), (), NOON)
        one, two = Summary(text="one", through=1, made_by="x"), Summary(text="two", through=2, made_by="x")
        await threads.put_summary(ACME, "th_1", one, before=0)
        await threads.put_summary(ACME, "th_1", replace(two, text="late"), before=0)
        assert (await threads.head(ACME, "th_1")).summary == one
        await threads.put_summary(ACME, "th_1", two, before=1)
        assert (await threads.head(ACME, "th_1")).summary == two

    async def test_a_forgotten_thread_leaves_nothing_and_may_begin_anew(self, threads: ThreadStore) -> None:
        about = [claim("likes tea"), claim("is urgent", subject="thread/th_1")]
        await threads.remember(ACME, request("hello", claims=about), about, (), NOON)
        forgotten = await threads.forget_thread(ACME, "th_1", "thread/th_1")
        assert (forgotten.turns, forgotten.facts) == (1, 2)
        assert await threads.latest(ACME, "th_1", tokens=100) == []
        assert await threads.holding(ACME, [ADA, "thread/th_1"], "", 10) == []
        assert (await threads.remember(ACME, request("good bye"), (), (), NOON)).turns[0].number == 1
        again = await threads.forget_thread(ACME, "th_2", "thread/th_2")
        assert (again.turns, again.facts) == (0, 0)

    async def test_a_forgotten_fact_takes_what_it_superseded_with_it(self, threads: ThreadStore) -> None:
        for number, text in enumerate(("lives in Oslo", "lives in Rome")):
            one = claim(text, attribute="home")
            await threads.remember(ACME, request(key=f"k{number}", claims=[one]), [one], (), NOON)
        beside = claim("likes tea")
        await threads.remember(ACME, request(key="k9", claims=[beside]), [beside], (), NOON)
        (rome,) = [fact for fact in await threads.holding(ACME, [ADA], "", 10) if fact.attribute]
        assert (await threads.forget_fact(UMBRELLA, rome.fact_id)).facts == 0
        assert (await threads.forget_fact(ACME, rome.fact_id)).facts == 2
        assert [fact.text for fact in await threads.facts(ACME, ADA, "", TEN, superseded=True)] == ["likes tea"]
        assert (await threads.forget_subject(ACME, ADA)).facts == 1

    async def test_facts_are_listed_by_thread_page_by_page(self, threads: ThreadStore) -> None:
        three = [claim(f"fact {number}") for number in range(3)]
        await threads.remember(ACME, request(claims=three), three, (), NOON)
        first = await threads.facts(ACME, "", "th_1", PageRequest(after="", size=2), superseded=False)
        rest = await threads.facts(ACME, "", "th_1", PageRequest(after=first[-1].fact_id, size=2), superseded=False)
        assert [fact.text for fact in [*first, *rest]] == ["fact 2", "fact 1", "fact 0"]

    async def test_another_tenant_sees_an_empty_thread(self, threads: ThreadStore) -> None:
        one = claim("likes tea")
        await threads.remember(ACME, request("hello", claims=[one]), [one], (), NOON)
        assert (await threads.head(UMBRELLA, "th_1")).turns == 0
        assert await threads.latest(UMBRELLA, "th_1", tokens=100) == []
        assert await threads.holding(UMBRELLA, [ADA], "tea", 10) == []
        assert (await threads.forget_thread(UMBRELLA, "th_1", "thread/th_1")).turns == 0
        assert (await threads.head(ACME, "th_1")).turns == 1
