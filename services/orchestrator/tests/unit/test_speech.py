"""What models say reaches a follower without gap or repeat, and is retracted when it is superseded."""

from hypothesis import given
from hypothesis import strategies as st
from plimsoll_orchestrator.domain.speech import Listener, Retracted, Speech, SpokenText


def said(listener: Listener, *stretches: SpokenText, seq: int = 2) -> list[SpokenText | Retracted]:
    return [told for stretch in stretches for told in listener.hear(stretch, seq)]


def stretch(offset: int, text: str, attempt: int = 1, step_seq: int = 2) -> SpokenText:
    return SpokenText(node="n", step_seq=step_seq, attempt=attempt, offset=offset, text=text)


def text_of(told: list[SpokenText | Retracted]) -> str:
    return "".join(one.text for one in told if isinstance(one, SpokenText))


def test_a_gap_is_filled_by_the_whole_that_comes_later() -> None:
    listener = Listener()
    assert text_of(said(listener, stretch(0, "one "))) == "one "
    assert said(listener, stretch(8, "three")) == []
    assert text_of(said(listener, stretch(0, "one two three"))) == "two three"


def test_another_attempt_retracts_what_was_told() -> None:
    listener = Listener()
    said(listener, stretch(0, "wrong"))
    told = said(listener, stretch(0, "right", attempt=2), stretch(0, "wrong and late"))
    assert told == [Retracted(node="n", step_seq=2, attempt=1), stretch(0, "right", attempt=2)]


def test_text_that_did_not_come_true_is_retracted_and_text_that_did_is_not() -> None:
    for came_true in (True, False):
        listener = Listener()
        said(listener, stretch(0, "text"))
        assert len(list(listener.settle(came_true=came_true))) == (0 if came_true else 1)
        assert list(listener.settle(came_true=False)) == []


def test_text_of_a_step_that_the_follower_has_not_reached_or_has_passed_is_left_out() -> None:
    listener = Listener()
    assert said(listener, stretch(0, "future", step_seq=5), stretch(0, "past", step_seq=1)) == []


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.integers(0, 2)), max_size=60))
def test_whatever_is_lost_or_doubled_the_text_is_a_prefix_and_in_the_end_whole(events: list[tuple[str, bool, int]]) -> None:
    speech, listener = Speech(node="n", step_seq=2), Listener()
    told: list[SpokenText | Retracted] = []
    for letter, whole, copies in events:
        speech.hear(1, letter)
        news = speech.whole() if whole else speech.news()
        told += said(listener, *([news] * copies if news else []))
        assert speech.text.startswith(text_of(told))
    last = speech.whole()
    told += said(listener, last) if last else []
    assert text_of(told) == speech.text
