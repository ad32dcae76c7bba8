"""The verbs of conversation memory, on fakes."""

from dataclasses import replace

import pytest
from memory_fake_threads import FakeThreads
from memory_fakes import Desk
from memory_samples import ACME
from memory_thread_behaviour import claim, request
from plimsoll_memory.domain.conversation import Origin, Remembering, Saying, Summary
from plimsoll_memory.domain.search import SearchRequest
from plimsoll_memory.errors import KeyReused, RequestRefused
from plimsoll_memory.service.conversations import Conversations, Reading
from plimsoll_runtime import logs
from plimsoll_testkit.clock import FakeClock
from plimsoll_testkit.ids import FakeIds


@pytest.fixture
def desk(clock: FakeClock, ids: FakeIds) -> Desk:
    return Desk(clock=clock, ids=ids)


@pytest.fixture
def talk(desk: Desk) -> Conversations:
    return Conversations(threads=FakeThreads(ids=desk.ids), memory=desk.memory(), clock=desk.clock, log=logs.get("memory"))


def said(*sayings: tuple[Origin, str], key: str = "k1") -> Remembering:
    return replace(request(key=key), sayings=tuple(Saying(origin=origin, text=text) for origin, text in sayings), learn=True)


class TestRemember:
    async def test_what_the_user_states_is_learned_with_the_turn_it_came_from(self, talk: Conversations) -> None:
        kept = await talk.remember(ACME, said((Origin.ASSISTANT, "How can I help?"), (Origin.USER, "My name is Ada. Where is my parcel?")))
        (fact,) = kept.facts
        assert (fact.subject, fact.attribute, fact.text, fact.turn, fact.untrusted) == ("thread/th_1", "name", "My name is Ada.", 2, True)

    @pytest.mark.parametrize("origin", [Origin.SYSTEM, Origin.RECALLED, Origin.ASSISTANT, Origin.TOOL])
    async def test_nothing_is_learned_from_anybody_but_the_user(self, talk: Conversations, origin: Origin) -> None:
        assert not (await talk.remember(ACME, said((origin, "My name is Ada. I live in Oslo.")))).facts

    async def test_what_repeats_instructions_or_recalled_text_teaches_nothing(self, talk: Conversations) -> None:
        await talk.remember(ACME, said((Origin.SYSTEM, "Rules: my name is Clerk."), (Origin.RECALLED, "Fact: I live in Oslo.")))
        again = await talk.remember(ACME, said((Origin.USER, "My name is Clerk. I live in Oslo. I work for Acme."), key="k2"))
        assert [fact.text for fact in again.facts] == ["I work for Acme."]

    async def test_recalled_text_sent_back_ten_times_does_not_grow(self, talk: Conversations) -> None:
        await talk.remember(ACME, said((Origin.USER, "I live in Oslo.")))
        for number in range(10):
            window = await talk.read(ACME, Reading(thread_id="th_1"))
            recalled = " ".join(fact.text for fact in window.facts)
            await talk.remember(ACME, said((Origin.RECALLED, recalled), (Origin.USER, recalled), key=f"again {number}"))
        page = await talk.facts(ACME, "thread/th_1", "", superseded=True, size=0, token="")
        assert [fact.text for fact in page.facts] == ["I live in Oslo."]

    async def test_a_told_fact_out_of_instructions_or_memory_is_left_out_and_said_so(self, talk: Conversations) -> None:
        told = request(
            claims=[claim("good", origin=Origin.OPERATOR), claim("bad", origin=Origin.RECALLED), claim("bad too", origin=Origin.SYSTEM)]
        )
        kept = await talk.remember(ACME, told)
        assert [(fact.text, fact.untrusted) for fact in kept.facts] == [("good", False)]
        assert [one.partition(":")[0] for one in kept.left_out] == ["fact 2", "fact 3"]

    async def test_a_fact_in_a_collection_is_found_by_search_and_replaced_by_its_successor(self, talk: Conversations, desk: Desk) -> None:
        for key, text in (
            ("k1", "The harbour gate opens at six."),
            ("k2", "The harbour gate opens at nine."),
            ("k2", "The harbour gate opens at nine."),
        ):
            one = claim(text, subject="harbour", attribute="gate")
            kept = await talk.remember(ACME, request(thread_id="", collection="notes", key=key, claims=[one]))
        assert (kept.changed, kept.facts[0].text) == (False, "The harbour gate opens at nine.")
        answer = await desk.searching().search(ACME, SearchRequest(collection="notes", query="harbour gate", limit=5, filter={}))
        (passage,) = answer.passages
        assert (passage.candidate.source, passage.candidate.text) == ("remembered/harbour/gate", "The harbour gate opens at nine.")
        assert passage.candidate.labels == ("untrusted",)
        with pytest.raises(KeyReused):
            await talk.remember(ACME, request(thread_id="", collection="notes", key="k1", claims=[claim("other")]))

    @pytest.mark.parametrize(
        ("wrong", "field"),
        [
            (request("a", thread_id=""), "thread_id"),
            (request("a", thread_id="x" * 201), "thread_id"),
            (request("a", key=""), "key"),
            (request("a", key="a\nb"), "key"),
            (request(), "turns"),
            (request(""), "turns[0].text"),
            (request("x" * 65_537), "turns[0].text"),
            (request("a\x00b"), "turns[0].text"),
            (request(*["a"] * 201), "turns"),
            (request(claims=[claim("")]), "facts[0].text"),
            (request(claims=[claim("x" * 2001)]), "facts[0].text"),
            (request(claims=[claim("a", subject="x" * 201)]), "facts[0].subject"),
            (request(claims=[claim("a")] * 101), "facts"),
            (request(summary=Summary(text="", through=1, made_by="")), "summary.text"),
            (request(summary=Summary(text="a", through=0, made_by="")), "summary.through_turn"),
            (request("a", thread_id="", collection="notes"), "collection"),
            (request("a", thread_id="", collection="No Name"), "collection"),
        ],
    )
    async def test_what_breaks_a_rule_is_refused_with_field_problem_and_remedy(
        self, talk: Conversations, wrong: Remembering, field: str
    ) -> None:
        with pytest.raises(RequestRefused) as refusal:
            await talk.remember(ACME, wrong)
        problem = refusal.value.problems[0]
        assert (problem.field, bool(problem.problem), bool(problem.remedy)) == (field, True, True)


class TestRead:
    async def test_an_unknown_thread_is_empty(self, talk: Conversations) -> None:
        window = await talk.read(ACME, Reading(thread_id="th_9"))
        assert (window.turns, window.summary, window.facts, window.turns_total, window.tokens) == ([], None, [], 0, 0)

    async def test_everything_fits_or_the_latest_do_with_a_summary_of_the_rest(self, talk: Conversations) -> None:
        texts = [f"The parcel number {number} left the harbour for Oslo this morning." for number in range(40)]
        await talk.remember(ACME, request(*texts))
        whole = await talk.read(ACME, Reading(thread_id="th_1"))
        assert (len(whole.turns), whole.summary) == (40, None)
        part = await talk.read(ACME, Reading(thread_id="th_1", max_tokens=200))
        numbers = [turn.number for turn in part.turns]
        assert numbers == list(range(numbers[0], 41))
        assert part.summary is not None
        assert part.summary.through == numbers[0] - 1
        assert "harbour" in part.summary.text
        assert part.tokens <= 200
        assert part.turns_total == 40

    async def test_a_turn_larger_than_the_window_shows_its_end_and_says_so(self, talk: Conversations) -> None:
        await talk.remember(ACME, request("word " * 2000 + "the end"))
        window = await talk.read(ACME, Reading(thread_id="th_1", max_tokens=64))
        (turn,) = window.turns
        assert turn.cut
        assert turn.text.endswith("the end")
        assert window.tokens <= 64

    async def test_a_query_recalls_turns_from_before_the_window(self, talk: Conversations) -> None:
        await talk.remember(ACME, request("the code of the gate is 4711", *["small talk about the weather"] * 60))
        window = await talk.read(ACME, Reading(thread_id="th_1", max_tokens=300, query="what was the code of the gate?"))
        assert [turn.number for turn in window.recalled][:1] == [1]
        assert window.tokens <= 300

    async def test_facts_about_the_thread_and_the_subjects_asked_for(self, talk: Conversations) -> None:
        both = [claim("is urgent", subject=""), claim("likes tea"), claim("of somebody else", subject="customer/bob")]
        await talk.remember(ACME, request("a", claims=both))
        window = await talk.read(ACME, Reading(thread_id="th_1", subjects=("customer/ada",)))
        assert {fact.text for fact in window.facts} == {"is urgent", "likes tea"}
        assert len((await talk.read(ACME, Reading(thread_id="th_1", subjects=("customer/ada",), max_facts=1))).facts) == 1

    async def test_long_threads_are_summarised_as_they_grow_without_their_instructions(self, talk: Conversations) -> None:
        for number in range(30):
            turns = (
                (Origin.SYSTEM, "You are a secret clerk."),
                (Origin.USER, f"Parcel {number} is missing. " + "It was blue and heavy. " * 30),
            )
            await talk.remember(ACME, said(*turns, key=f"k{number}"))
        head = await talk.threads.head(ACME, "th_1")
        assert 0 < head.summary.through < 60
        assert "secret clerk" not in head.summary.text
        assert len(head.summary.text) <= 1600
        window = await talk.read(ACME, Reading(thread_id="th_1", max_tokens=1000))
        assert window.tokens <= 1000

    @pytest.mark.parametrize(
        ("wrong", "field"),
        [
            (Reading(thread_id=""), "thread_id"),
            (Reading(thread_id="a", max_tokens=63), "max_tokens"),
            (Reading(thread_id="a", max_tokens=-1), "max_tokens"),
            (Reading(thread_id="a", max_facts=201), "max_facts"),
            (Reading(thread_id="a", subjects=("",)), "subjects[0]"),
            (Reading(thread_id="a", subjects=("s",) * 21), "subjects"),
            (Reading(thread_id="a", query="\x00"), "query"),
        ],
    )
    async def test_what_cannot_be_read_is_refused(self, talk: Conversations, wrong: Reading, field: str) -> None:
        with pytest.raises(RequestRefused) as refusal:
            await talk.read(ACME, wrong)
        assert refusal.value.problems[0].field == field


class TestFactsAndForget:
    async def test_pages_of_facts_join(self, talk: Conversations) -> None:
        await talk.remember(ACME, request(claims=[claim(f"fact {number}") for number in range(5)]))
        seen, token = [], ""
        for _ in range(3):
            page = await talk.facts(ACME, "customer/ada", "", superseded=False, size=2, token=token)
            seen += [fact.text for fact in page.facts]
            token = page.next_token
        assert (seen, token) == ([f"fact {number}" for number in (4, 3, 2, 1, 0)], "")

    @pytest.mark.parametrize(
        ("subject", "thread", "size", "token"), [("", "", 0, ""), ("s", "t", 0, ""), ("s", "", 201, ""), ("s", "", 0, "é")]
    )
    async def test_a_list_that_makes_no_sense_is_refused(
        self, talk: Conversations, subject: str, thread: str, size: int, token: str
    ) -> None:
        with pytest.raises(RequestRefused):
            await talk.facts(ACME, subject, thread, superseded=False, size=size, token=token)

    async def test_forgetting_needs_a_target_and_is_done_once_for_all(self, talk: Conversations) -> None:
        await talk.remember(ACME, request("a", claims=[claim("likes tea")]))
        with pytest.raises(RequestRefused):
            await talk.forget(ACME)
        assert (await talk.forget(ACME, subject="customer/ada")).facts == 1
        assert (await talk.forget(ACME, thread_id="th_1")).turns == 1
        assert (await talk.forget(ACME, thread_id="th_1")).turns == 0
        assert (await talk.forget(ACME, fact_id="fact_9")).facts == 0
