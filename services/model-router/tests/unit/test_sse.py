"""Server-sent events are read alike, however the bytes are cut."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plimsoll_model_router.adapters.providers.sse import EventTooLarge, SseEvent, SseParser

LINES = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=20)
EVENTS = st.builds(SseEvent, name=LINES, data=st.lists(LINES, min_size=1, max_size=3).map("\n".join))


@given(
    events=st.lists(EVENTS, max_size=4),
    ending=st.sampled_from(["\n", "\r\n", "\r"]),
    cuts=st.lists(st.integers(0, 400), max_size=12),
    mark=st.booleans(),
)
def test_events_come_out_as_they_went_in_however_the_bytes_are_cut(
    events: list[SseEvent], ending: str, cuts: list[int], mark: bool
) -> None:
    lines = [
        line for event in events for line in (f"event: {event.name}", ": comment", *[f"data: {d}" for d in event.data.split("\n")], "")
    ]
    raw = (b"\xef\xbb\xbf" if mark else b"") + "".join(line + ending for line in lines).encode() + (b"x" if ending == "\r" else b"")
    parser, found = SseParser(), list[SseEvent]()
    places = sorted({0, len(raw), *(cut for cut in cuts if cut < len(raw))})
    for start, end in itertools.pairwise(places):
        found += parser.feed(raw[start:end])
    assert found == events


def test_an_event_without_its_empty_line_is_not_complete() -> None:
    parser = SseParser()
    assert parser.feed(b"data: half") == []
    assert parser.feed(b"\n") == []
    assert parser.feed(b"\n") == [SseEvent(name="", data="half")]


def test_an_endless_event_is_refused() -> None:
    parser = SseParser()
    with pytest.raises(EventTooLarge):
        parser.feed(b"data: " + b"x" * 10_000_000)
