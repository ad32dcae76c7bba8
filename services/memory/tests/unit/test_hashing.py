"""The hashing embedding: deterministic, of length one, near for what shares words or parts of words."""

from math import isclose, sqrt

from hypothesis import given
from hypothesis import strategies as st
from plimsoll_memory.domain.hashing import DIMENSIONS, NAME, HashingSpace

SPACE = HashingSpace()


def similarity(one: str, other: str) -> float:
    return sum(x * y for x, y in zip(SPACE.embed(one), SPACE.embed(other), strict=True))


@given(st.text(max_size=200))
def test_a_vector_is_of_length_one_or_all_zero(text: str) -> None:
    vector = SPACE.embed(text)
    length = sqrt(sum(value * value for value in vector))
    assert len(vector) == DIMENSIONS
    assert isclose(length, 1, abs_tol=1e-5) or not any(vector)


@given(st.text(max_size=200))
def test_the_same_text_gives_the_same_vector_in_any_instance(text: str) -> None:
    assert SPACE.embed(text) == HashingSpace().embed(text)


def test_the_space_has_not_changed_under_its_name() -> None:
    vector = SPACE.embed("The quick brown fox jumps over the lazy dog")
    assert NAME == "hashing-384-v1"
    assert [(place, round(value, 3)) for place, value in enumerate(vector) if abs(value) > 0.15] == [
        (7, 0.195), (87, 0.325), (218, -0.195), (230, -0.325), (253, 0.325), (328, -0.195), (348, 0.325),
    ]  # fmt: skip


def test_inflections_and_misspellings_are_near() -> None:
    assert similarity("refund", "refunds") > 0.6
    assert similarity("cancellation", "cancelation") > 0.5
    assert similarity("refund", "umbrella") < 0.2


def test_what_is_about_the_same_is_nearer_than_what_is_not() -> None:
    question = "How do I get my money back for an order?"
    assert (
        similarity(question, "You get your money back within five days of the order.")
        > similarity(question, "Our office opens at nine.") + 0.2
    )


def test_words_that_say_nothing_make_no_vector() -> None:
    assert not any(SPACE.embed("what is it and how will they"))
    assert not any(SPACE.embed("?!… —"))


def test_case_and_width_do_not_matter() -> None:
    assert SPACE.embed("REFUND") == SPACE.embed("refund") == SPACE.embed("ｒｅｆｕｎｄ")
