"""Upkeep of a collection: what to do next so that its vectors are those it should have, and its index too."""

from dataclasses import dataclass
from typing import TypeAlias

from plimsoll_memory.domain.embedding import LATENT, is_learned, learned


@dataclass(frozen=True, slots=True, kw_only=True)
class Chore:
    """A collection that may need something done."""

    tenant: str
    collection: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionState:
    """Attributes:
    embedder       the one that serves
    target         the one it should have, or the family; empty for the one it has
    next_embedder  the one that is filled in the background; empty for none
    generation     of the latest learning
    learned_from   passages that there were at that learning
    indexed        the embedder whose vectors have an approximate index; empty for none
    """

    embedder: str
    target: str
    next_embedder: str
    generation: int
    learned_from: int
    chunks: int
    indexed: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """When things are done, in passages.

    learn_from  too few passages teach nothing
    index_from  up to here every vector is compared
    """

    learn_from: int = 256
    index_from: int = 10_000


@dataclass(frozen=True, slots=True)
class Learn:
    """Learn an embedder of this name from the collection, then fill it."""

    embedder: str


@dataclass(frozen=True, slots=True)
class Begin:
    """Fill another embedder from now on."""

    embedder: str


@dataclass(frozen=True, slots=True)
class Fill:
    """Embed what is missing, then let it serve."""

    embedder: str


@dataclass(frozen=True, slots=True)
class Index:
    """Make an approximate index of the vectors."""

    embedder: str


@dataclass(frozen=True, slots=True)
class Unindex:
    """Comparing every vector is as quick."""


@dataclass(frozen=True, slots=True)
class Rest:
    """All is as it should be."""


Step: TypeAlias = Learn | Begin | Fill | Index | Unindex | Rest


def next_step(state: CollectionState, rules: Rules) -> Step:
    """One step at a time; what was begun is finished first."""
    if state.next_embedder:
        return Fill(state.next_embedder)
    if state.target == LATENT:
        grown = state.chunks >= max(rules.learn_from, 2 * state.learned_from)
        if grown or (not is_learned(state.embedder) and state.learned_from and state.chunks >= rules.learn_from):
            return Learn(learned(state.generation + 1))
    elif state.target and state.target != state.embedder:
        return Begin(state.target)
    if state.chunks >= rules.index_from and state.indexed != state.embedder:
        return Index(state.embedder)
    if state.indexed and state.chunks < rules.index_from // 2:
        return Unindex()
    return Rest()
