"""Quality without labels: drift is found, chance is not, and use is judged by words."""

import random
from datetime import timedelta

import pytest
from memory_fake_quality import FakeQuality
from memory_samples import ACME, NOON, UMBRELLA
from plimsoll_memory.domain.quality import Mean, QualityWindow, drifts
from plimsoll_memory.domain.use import uses
from plimsoll_memory.errors import RequestRefused, SearchNotFound
from plimsoll_memory.service.watching import UseReport, Watching
from plimsoll_runtime import logs
from plimsoll_testkit.clock import FakeClock

HOUR = timedelta(hours=1)


def window(
    number: int = 0, *, searches: int = 200, empty: float = 0.02, similarity: float = 0.6, used: int = 0, share: float = 0.5
) -> QualityWindow:
    return QualityWindow(
        collection="help",
        start=NOON + number * HOUR,
        end=NOON + (number + 1) * HOUR,
        searches=searches,
        empty=empty,
        under_returned=empty,
        failed=0.0,
        degraded=0.0,
        best_similarity=Mean(count=searches, value=similarity, square=similarity**2 + 0.01),
        best_text_score=Mean(count=searches, value=9.0, square=85.0),
        used=Mean(count=used, value=share, square=share**2 + 0.05),
        median_duration_s=0.01,
    )


USUAL = [window(number) for number in range(6)]


def test_more_empty_answers_are_a_drift() -> None:
    found = {drift.signal: drift for drift in drifts(window(7, empty=0.2), USUAL)}
    assert set(found) == {"empty", "under_returned"}
    assert (found["empty"].baseline, found["empty"].value, found["empty"].searches) == (pytest.approx(0.02), 0.2, 200)
    assert found["empty"].sigmas >= 5


def test_lower_similarity_and_less_use_are_drifts() -> None:
    assert [drift.signal for drift in drifts(window(7, similarity=0.45), USUAL)] == ["best_similarity"]
    reported = [window(number, used=100) for number in range(6)]
    assert [drift.signal for drift in drifts(window(7, used=100, share=0.2), reported)] == ["used"]


def test_better_is_no_drift_and_neither_is_what_is_small() -> None:
    assert not drifts(window(7, empty=0.0, similarity=0.9), USUAL)
    huge = [window(number, searches=1_000_000) for number in range(6)]
    assert not drifts(window(7, searches=1_000_000, empty=0.03), huge)


def test_too_little_to_compare_says_nothing() -> None:
    assert not drifts(window(7, searches=29, empty=1.0), USUAL)
    assert not drifts(window(7, empty=1.0), USUAL[:2])
    assert not drifts(window(7, empty=1.0), [])


def test_a_year_of_chance_raises_no_alarm() -> None:
    draw = random.Random(5)
    windows = [window(number, empty=sum(draw.random() < 0.05 for _ in range(60)) / 60, searches=60) for number in range(24 * 365)]
    alarms = [at for at in range(24, len(windows)) if drifts(windows[at], windows[at - 24 : at])]
    assert not alarms


PASSAGE = (
    "A refund goes back to the card that paid. It arrives within five working days. Refunds over 200 euros need a second pair of eyes."
)


@pytest.mark.parametrize(
    "answer",
    [
        "As the handbook says, a refund goes back to the card that paid.",
        "Hello! Your refund arrives on the card within five working days. Bye.",
        "REFUNDS OVER 200 EUROS NEED A SECOND pair",
    ],
)
def test_an_answer_that_draws_on_a_passage_uses_it(answer: str) -> None:
    assert uses(answer, PASSAGE)


@pytest.mark.parametrize("answer", ["", "I do not know.", "Please ask the bank about your statement of last month.", "A card."])
def test_an_answer_of_its_own_does_not(answer: str) -> None:
    assert not uses(answer, PASSAGE)


class TestReportUse:
    async def test_passages_count_when_they_are_named_or_quoted(self, clock: FakeClock) -> None:
        store = FakeQuality(searches={(ACME, "search_1"): {"c1": PASSAGE, "c2": "Invoices are sent on the first of the month.", "c3": ""}})
        watching = Watching(store=store, clock=clock, log=logs.get("memory"))
        report = UseReport(search_id="search_1", chunk_ids=frozenset({"c3"}), answer="A refund goes back to the card that paid.")
        use = await watching.report_use(ACME, report)
        assert (use.passages, use.used, store.used) == (3, 2, {(ACME, "search_1"): {"c1", "c3"}})

    async def test_answers_of_a_run_add_up_over_all_its_searches(self, clock: FakeClock) -> None:
        searches = {(ACME, "search_1"): {"c1": PASSAGE, "c2": "Parcels leave the warehouse at noon."}, (ACME, "search_2"): {"c3": PASSAGE}}
        store = FakeQuality(searches=searches, runs={(ACME, "run_1"): ("search_1", "search_2")})
        watching = Watching(store=store, clock=clock, log=logs.get("memory"))
        await watching.report_use(ACME, UseReport(run_id="run_1", answer="A refund goes back to the card that paid."))
        use = await watching.report_use(ACME, UseReport(run_id="run_1", answer="Parcels leave the warehouse at noon."))
        assert (use.passages, use.used) == (3, 3)

    async def test_a_run_that_searched_nothing_reports_nothing(self, clock: FakeClock) -> None:
        watching = Watching(store=FakeQuality(), clock=clock, log=logs.get("memory"))
        use = await watching.report_use(ACME, UseReport(run_id="run_1", answer="Hello."))
        assert (use.passages, use.used) == (0, 0)

    async def test_a_search_of_another_tenant_is_not_there(self, clock: FakeClock) -> None:
        watching = Watching(store=FakeQuality(searches={(ACME, "search_1"): {}}), clock=clock, log=logs.get("memory"))
        with pytest.raises(SearchNotFound):
            await watching.report_use(UMBRELLA, UseReport(search_id="search_1", chunk_ids=frozenset("c")))

    @pytest.mark.parametrize("answer", ["", "x" * 200_001])
    async def test_a_report_without_anything_or_with_too_much_is_refused(self, clock: FakeClock, answer: str) -> None:
        watching = Watching(store=FakeQuality(), clock=clock, log=logs.get("memory"))
        with pytest.raises(RequestRefused):
            await watching.report_use(ACME, UseReport(search_id="search_1", answer=answer))

    @pytest.mark.parametrize(("search_id", "run_id"), [("", ""), ("search_1", "run_1")])
    async def test_a_report_is_of_a_search_or_of_a_run(self, clock: FakeClock, search_id: str, run_id: str) -> None:
        watching = Watching(store=FakeQuality(), clock=clock, log=logs.get("memory"))
        with pytest.raises(RequestRefused):
            await watching.report_use(ACME, UseReport(search_id=search_id, run_id=run_id, answer="x"))
