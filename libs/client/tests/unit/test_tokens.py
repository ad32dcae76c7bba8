"""Text of a step under way is told once, however often the stream was cut and told it anew."""

from hypothesis import given
from hypothesis import strategies as st
from plimsoll_client.events import RunPaused, StepFinished, TokensReceived, TokensRetracted
from plimsoll_client.tokens import Provisional
from plimsoll_runtime.usage import Usage


def piece(text: str, offset: int, *, attempt: int = 1, step_seq: int = 2) -> TokensReceived:
    return TokensReceived(node="say", step_seq=step_seq, attempt=attempt, offset=offset, text=text)


def void(attempt: int, *, step_seq: int = 2) -> TokensRetracted:
    return TokensRetracted(node="say", step_seq=step_seq, attempt=attempt)


class Listener:
    """Hears what a client would, and keeps the text that counts."""

    def __init__(self) -> None:
        self.told = Provisional()
        self.text = ""
        self.heard: list[str] = []

    def hear(self, event: TokensReceived | TokensRetracted | StepFinished | RunPaused) -> None:
        match event:
            case TokensReceived():
                said = self.told.hear(event)
            case TokensRetracted():
                said = self.told.retract(event)
            case _:
                said = self.told.pass_on(event)
        for one in said:
            self.heard.append(one.type)
            if isinstance(one, TokensRetracted):
                self.text = ""
            else:
                assert one.offset == len(self.text)
                self.text += one.text


FINISHED = StepFinished(node="say", kind="model", delta={}, next="end", usage=Usage(), duration_s=0.0, facts={})
PAUSED = RunPaused(reason="", paused_by="")


@given(text=st.text(min_size=1), data=st.data())
def test_a_stream_cut_anywhere_any_number_of_times_tells_every_character_once(text: str, data: st.DataObject):
    listener, reached = Listener(), 0
    while len(listener.text) < len(text):
        at, upto = 0, data.draw(st.integers(min(reached + 1, len(text)), len(text)))
        while at < upto:  # one stream: from the beginning, in pieces of any length, up to where it is cut
            size = data.draw(st.integers(1, upto - at))
            listener.hear(piece(text[at : at + size], at))
            at += size
        reached = upto
    assert listener.text == text
    assert "tokens_retracted" not in listener.heard


@given(cut=st.integers(0, 3), again=st.integers(0, 3))
def test_an_attempt_that_is_superseded_is_void_wherever_the_stream_was_cut(cut: int, again: int):
    events = [piece("Hel", 0), void(1), piece("Good ", 0, attempt=2), piece("day", 5, attempt=2)]
    listener = Listener()
    for event in (*events[:cut], *events[:again], *events):
        listener.hear(event)
    listener.hear(FINISHED)
    assert listener.text == "Good day"
    assert listener.heard.count("tokens_retracted") == 1


def test_a_higher_attempt_voids_a_lower_one_also_when_its_retraction_was_missed():
    listener = Listener()
    listener.hear(piece("Hel", 0))
    listener.hear(piece("Good", 0, attempt=2))
    listener.hear(piece("lo", 3))
    listener.hear(void(1))
    assert listener.heard == ["tokens_received", "tokens_retracted", "tokens_received"]
    assert listener.text == "Good"


def test_text_comes_true_when_its_step_does_and_is_void_when_the_journal_goes_on_otherwise():
    listener = Listener()
    listener.hear(piece("Hello", 0))
    listener.hear(FINISHED)
    assert (listener.text, listener.heard) == ("Hello", ["tokens_received"])
    other = Listener()
    other.hear(piece("Hel", 0))
    other.hear(PAUSED)
    assert (other.text, other.heard) == ("", ["tokens_received", "tokens_retracted"])
    other.hear(void(1))
    assert other.heard == ["tokens_received", "tokens_retracted"]


def test_the_text_of_the_next_step_begins_anew():
    listener = Listener()
    listener.hear(piece("one", 0, attempt=3))
    listener.hear(FINISHED)
    listener.text = ""
    listener.hear(piece("two", 0, step_seq=5))
    assert listener.text == "two"
    listener.hear(piece("late", 0, step_seq=2, attempt=9))
    assert listener.text == "two"


def test_text_that_was_missed_is_passed_on_with_where_it_begins():
    assert list(Provisional().hear(piece("tail", 40))) == [piece("tail", 40)]
