"""The child process that learns an embedder: words and passages on standard input, where each word points on standard output.

python -m plimsoll_memory.adapters.learner_child

Latent semantic analysis: the passages as rows of weighted words, projected on the directions in which they differ most. The directions
come from a randomised range finder with one power iteration. The same input gives the same output on one machine.

Input:  two little-endian 32-bit numbers (words, passages), the rarities as 32-bit floats, for each passage where its words end,
        then all words' numbers. Output: one row of 16-bit floats for each word.
"""

import os
import sys

import numpy as np
import numpy.typing as npt

from plimsoll_memory.domain.embedding import LATENT_DIMENSIONS

Matrix = npt.NDArray[np.float32]
_SPARE = 16  # directions more than wanted, which makes the wanted ones better
_BLOCK = 2_048  # passages at a time: memory stays small
_SEED = 1
_SHARE = 4  # words and passages to a direction at least: with more directions nothing is summed up, and nothing learned


def main() -> None:
    """Learn, at the lowest priority: searches come first."""
    os.nice(10)
    rarities, ends, places = _read(sys.stdin.buffer.read())
    passages = _Passages(rarities, ends, places)
    sys.stdout.buffer.write(np.ascontiguousarray(_projections(passages)).astype("<f2").tobytes())


def _read(content: bytes) -> tuple[Matrix, npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    words, passages = np.frombuffer(content, "<i4", 2)
    at = 8
    rarities = np.frombuffer(content, "<f4", int(words), at).astype(np.float32)
    at += 4 * int(words)
    ends = np.frombuffer(content, "<i4", int(passages), at).astype(np.int64)
    return rarities, ends, np.frombuffer(content, "<i4", -1, at + 4 * int(passages)).astype(np.int32)


class _Passages:
    """A sparse matrix, passages by words: each passage of length one, a word weighing what it is rare."""

    def __init__(self, rarities: Matrix, ends: npt.NDArray[np.int64], places: npt.NDArray[np.int32]) -> None:
        words = len(rarities)
        rows = np.repeat(np.arange(len(ends), dtype=np.int64), np.diff(ends, prepend=0))
        cells, times = np.unique(rows * words + places, return_counts=True)  # a word that is said often comes more than once
        self._places = cells % words
        self._ends = ends = np.searchsorted(cells, (np.arange(len(ends), dtype=np.int64) + 1) * words)
        self._starts = np.concatenate(([0], ends[:-1]))
        weights = rarities[self._places] * times.astype(np.float32)
        lengths = np.sqrt(np.add.reduceat(weights * weights, self._starts))
        self._weights = weights / np.repeat(np.maximum(lengths, 1e-9), ends - self._starts)
        self.rarities = rarities
        self.count = len(ends)

    def times(self, right: Matrix) -> Matrix:
        """This matrix times a dense one: passages by directions."""
        return np.concatenate([self._block(at, right) for at in range(0, len(self._ends), _BLOCK)])

    def onto_words(self, left: Matrix) -> Matrix:
        """This matrix turned, times a dense one: words by directions."""
        result = np.zeros((len(self.rarities), left.shape[1]), np.float32)
        for at in range(0, len(self._ends), _BLOCK):
            here = slice(self._starts[at], self._ends[min(at + _BLOCK, len(self._ends)) - 1])
            counts = (self._ends - self._starts)[at : at + _BLOCK]
            order = np.argsort(self._places[here], kind="stable")
            words, first = np.unique(self._places[here][order], return_index=True)
            rows = np.repeat(left[at : at + _BLOCK], counts, axis=0)[order] * self._weights[here][order, None]
            result[words] += np.add.reduceat(rows, first)
        return result

    def _block(self, at: int, right: Matrix) -> Matrix:
        starts = self._starts[at : at + _BLOCK]
        here = slice(starts[0], self._ends[min(at + _BLOCK, len(self._ends)) - 1])
        product: Matrix = np.add.reduceat(right[self._places[here]] * self._weights[here][:, None], starts - starts[0])
        return product


def _projections(passages: _Passages) -> Matrix:
    words = len(passages.rarities)
    kept_directions = max(2, min(LATENT_DIMENSIONS, words // _SHARE, passages.count // _SHARE))
    wanted = min(kept_directions + _SPARE, words)
    directions = np.random.default_rng(_SEED).standard_normal((len(passages.rarities), wanted)).astype(np.float32)
    for _ in range(2):
        directions = np.linalg.qr(passages.onto_words(passages.times(directions)))[0]
    _, _, turned = np.linalg.svd(_gram(passages.times(directions)))
    kept = (directions @ turned[:kept_directions].T) * passages.rarities[:, None]
    result = np.zeros((len(passages.rarities), LATENT_DIMENSIONS), np.float32)
    result[:, : kept.shape[1]] = kept
    return result


def _gram(rows: Matrix) -> Matrix:
    return rows.T @ rows


if __name__ == "__main__":
    main()
