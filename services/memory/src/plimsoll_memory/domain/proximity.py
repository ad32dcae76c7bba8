"""The default reranker's judgement: how many of the query's words a passage has, how rare they are among its rivals, how close together."""

import re
import unicodedata
from collections.abc import Sequence
from itertools import pairwise
from math import log

NAME = "proximity-1"
_WORD = re.compile(r"\w+")
_SOFT = 60  # as in the fusion
_WEIGHT = 0.2  # beside 1 for the order in which they come
_STEM = 6  # characters: most inflection is behind them


def judge(query: str, texts: Sequence[str]) -> Sequence[float]:
    """One score for each text; they come as the search ordered them, and that order weighs more than what is judged here.

    A word counts by how few of the texts have it, a pair of neighbours in the query by how close it stands in the text.
    """
    asked = list(dict.fromkeys(_words(query)))
    read = [_places(text) for text in texts]
    rarity = {word: log(1 + len(texts) / (1 + sum(word in places for places in read))) for word in asked}
    pairs = list(pairwise(asked))
    most = sum(rarity.values()) + sum(min(rarity[a], rarity[b]) for a, b in pairs)
    judged = [_score(places, rarity, pairs) / most if most else 0.0 for places in read]
    order = sorted(range(len(texts)), key=lambda at: (-judged[at], at))
    rank = {at: place for place, at in enumerate(order, 1)}
    return [1 / (_SOFT + at) + _WEIGHT / (_SOFT + rank[at - 1]) for at in range(1, len(texts) + 1)]


def _score(places: dict[str, list[int]], rarity: dict[str, float], pairs: list[tuple[str, str]]) -> float:
    coverage = sum(weight for word, weight in rarity.items() if word in places)
    closeness = sum(
        min(rarity[one], rarity[other]) / _distance(places[one], places[other]) for one, other in pairs if one in places and other in places
    )
    return coverage + closeness


def _distance(ones: list[int], others: list[int]) -> int:
    """Words between the nearest two, from 1."""
    best, at = 1_000_000, 0
    for place in ones:
        while at < len(others) - 1 and abs(others[at + 1] - place) <= abs(others[at] - place):
            at += 1
        best = min(best, abs(others[at] - place))
    return max(best, 1)


def _places(text: str) -> dict[str, list[int]]:
    places: dict[str, list[int]] = {}
    for at, word in enumerate(_words(text)):
        places.setdefault(word, []).append(at)
    return places


def _words(text: str) -> list[str]:
    return [word[:_STEM] for word in _WORD.findall(unicodedata.normalize("NFKC", text).casefold()) if len(word) > 2]
