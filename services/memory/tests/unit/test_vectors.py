"""Vectors of embedders of others: what is believed, and what is refused."""

import pytest
from plimsoll_memory.adapters.vectors import EmbedderDiffers, checked


def test_vectors_come_out_at_length_one() -> None:
    (vector,) = checked("letters-2", [[3.0, 4.0]], 1, 2)
    assert list(vector) == pytest.approx([0.6, 0.8])


def test_a_vector_of_nothing_stays_nothing() -> None:
    (vector,) = checked("letters-2", [[0.0, 0.0]], 1, 2)
    assert list(vector) == [0.0, 0.0]


@pytest.mark.parametrize(
    ("vectors", "count", "dimensions"),
    [
        ([[1.0, 0.0]], 2, 2),  # fewer than texts
        ([[1.0, 0.0]] * 3, 2, 2),
        ([], 1, 2),
        ([[1.0, 0.0, 0.0]], 1, 2),  # another dimension than before
        ([[1.0, 0.0], [1.0]], 2, 0),  # of two dimensions at once
        ([[]], 1, 0),
        ([[1.0] * 4001], 1, 0),  # more than an index takes
        ([[float("nan"), 1.0]], 1, 2),
        ([[float("inf"), 1.0]], 1, 2),
        ([[1e300, 1.0]], 1, 2),
    ],
)
def test_what_cannot_be_the_embedders_is_refused(vectors: list[list[float]], count: int, dimensions: int) -> None:
    with pytest.raises(EmbedderDiffers):
        checked("letters-2", vectors, count, dimensions)
