"""A tail: what is heard of a journal's end is the journal, or nothing."""

from collections.abc import Sequence
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st
from plimsoll_orchestrator.domain.journal import RunPaused, encode_entry
from plimsoll_orchestrator.ports import Growth, Tail

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LENGTH = 12
JOURNAL = [encode_entry(RunPaused(reason=f"entry {seq}", paused_by="test")) for seq in range(1, LENGTH + 1)]


def growth(first: int, last: int, *, brief: bool = False) -> Growth:
    """Entries `first` to `last` of the journal, as a worker tells of them."""
    if brief:
        return Growth(run_id="run_1")
    return Growth(run_id="run_1", after_seq=first - 1, at=NOW, epoch=1, encoded=JOURNAL[first - 1 : last])


def heard(tail: Tail, seq: int) -> Sequence[tuple[int, str]] | None:
    entries = tail.after(seq)
    return None if entries is None else [(entry.seq, encode_entry(entry.entry)) for entry in entries]


def test_what_follows_the_cursor_is_handed_over_once() -> None:
    tail = Tail()
    tail.take(growth(3, 4))
    tail.take(growth(5, 5))
    assert heard(tail, 2) == [(3, JOURNAL[2]), (4, JOURNAL[3]), (5, JOURNAL[4])]
    assert heard(tail, 5) == []


def test_what_the_follower_has_already_is_passed_over() -> None:
    tail = Tail()
    tail.take(growth(1, 4))
    assert heard(tail, 2) == [(3, JOURNAL[2]), (4, JOURNAL[3])]
    tail.take(growth(3, 4))
    assert heard(tail, 4) == []


def test_a_gap_has_to_be_read() -> None:
    tail = Tail()
    tail.take(growth(5, 6))
    assert heard(tail, 3) is None


def test_what_is_only_mentioned_has_to_be_read_after_what_came_before_it() -> None:
    tail = Tail()
    tail.take(growth(3, 3))
    tail.take(growth(4, 4, brief=True))
    tail.grew.clear()
    assert heard(tail, 2) == [(3, JOURNAL[2])]
    assert tail.grew.is_set()
    assert heard(tail, 3) is None


tellings = st.lists(
    st.tuples(st.integers(1, LENGTH), st.integers(0, 3), st.booleans()).map(lambda one: (one[0], min(LENGTH, one[0] + one[1]), one[2])),
    max_size=60,
)


@given(tellings, st.lists(st.integers(0, 5), max_size=60))
def test_whatever_is_lost_doubled_or_reordered_a_follower_that_reads_the_gaps_sees_the_journal(
    told: Sequence[tuple[int, int, bool]], looks: Sequence[int]
) -> None:
    tail, seen, length = Tail(), 0, 0
    for place, (first, last, brief) in enumerate(told):
        length = max(length, last)  # the journal is at least as long as anybody says
        tail.take(growth(first, last, brief=brief))
        if place < len(looks) and looks[place]:
            continue
        found = heard(tail, seen)
        if found is None:
            found = [(seq, JOURNAL[seq - 1]) for seq in range(seen + 1, length + 1)]
        for seq, text in found:
            assert seq == seen + 1
            assert text == JOURNAL[seq - 1]
            seen = seq
