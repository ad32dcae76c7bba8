"""The window: what of a thread is shown within a number of tokens."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from plimsoll_memory.domain.conversation import Fact, Summary, Turn, tokens_of

_SHARE = 4  # facts, what is recalled and the summary get a quarter each at the most


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """Turns oldest first; the rest best first."""

    turns: Sequence[Turn]
    facts: Sequence[Fact]
    summary: Summary | None
    recalled: Sequence[Turn]
    tokens: int


def fit_facts(facts: Iterable[Fact], tokens: int) -> Sequence[Fact]:
    """The first that fit into a quarter of the tokens."""
    kept, left = [], tokens // _SHARE
    for fact in facts:
        left -= tokens_of(fact.text)
        if left < 0:
            break
        kept.append(fact)
    return kept


def fit_turns(latest_first: Sequence[Turn], tokens: int) -> Sequence[Turn]:
    """The latest that fit, oldest first. One that is larger than everything comes with its end only."""
    kept: list[Turn] = []
    left = tokens
    for turn in latest_first:
        if turn.tokens > left:
            if not kept:
                kept.append(_end_of(turn, tokens))
            break
        kept.append(turn)
        left -= turn.tokens
    return kept[::-1]


def fit_recalled(turns: Iterable[Turn], before: int, tokens: int) -> Sequence[Turn]:
    """Those before a turn, as many as fit."""
    kept, left = [], tokens
    for turn in turns:
        if turn.number < before and turn.tokens <= left:
            kept.append(turn)
            left -= turn.tokens
    return kept


def summary_tokens(tokens: int) -> int:
    """What the summary may take."""
    return tokens // _SHARE


def _end_of(turn: Turn, tokens: int) -> Turn:
    text = turn.text.encode()[-4 * tokens :].decode(errors="ignore")
    return replace(turn, text=text, tokens=tokens_of(text), cut=True)
