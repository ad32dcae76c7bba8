"""Answering by quoting: the sentences that say most about a question, each with its source."""

from collections.abc import Sequence
from dataclasses import dataclass

from plimsoll_model_router.domain.rehearsal.facts import Passage
from plimsoll_model_router.domain.rehearsal.similarity import Index, TermSpace
from plimsoll_model_router.domain.rehearsal.text import content_words, sentences

_KEEP = 0.55  # of the best sentence's score: what else is worth quoting
_LEAST = 0.06  # a score below it is chance
_CEILING = 0.95
_POOL = 80  # sentences that are weighed against each other
_EARLIER = 0.03  # how much a passage gains on the next one: what was given first was found to fit best


@dataclass(frozen=True, slots=True, kw_only=True)
class Quotation:
    """Attributes:
    sentences   in reading order
    confidence  how much of the question's own words the sentences speak of, 0 to 1
    """

    sentences: tuple[Passage, ...]
    confidence: float

    @property
    def text(self) -> str:
        """Each run of sentences from one source, followed by the source in brackets."""
        out: list[str] = []
        for at, sentence in enumerate(self.sentences):
            out.append(sentence.text)
            following = self.sentences[at + 1].source if at + 1 < len(self.sentences) else None
            if sentence.source and sentence.source != following:
                out.append(f"[{sentence.source}]")
        return " ".join(out)

    @property
    def plain(self) -> str:
        return " ".join(sentence.text for sentence in self.sentences)

    @property
    def sources(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(sentence.source for sentence in self.sentences if sentence.source))


class Library:
    """The sentences that may be quoted. Made once per context and asked for each value."""

    def __init__(self, passages: Sequence[Passage]) -> None:
        self._sentences = [
            (Passage(text=sentence, source=passage.source), order)
            for order, passage in enumerate(passages)
            for sentence in sentences(passage.text)
            if len(sentence) > 2
        ]
        self._texts = [" ".join(content_words(f"{sentence.source} {sentence.text}")) for sentence, _ in self._sentences]
        self._stems = [_stems(text) for text in self._texts]
        self._known = frozenset().union(*self._stems)

    def quote(self, question: str, limit: int = 3) -> Quotation:
        """The best sentences; none when nothing in them has to do with the question."""
        asked = list(dict.fromkeys(content_words(question)))
        pool = self._likely(asked)
        if not pool:
            return Quotation(sentences=(), confidence=0.0)
        space = TermSpace([self._texts[at] for at in pool])
        raw = Index(vector.weights for vector in space.vectors).scores(space.vector(" ".join(asked)))
        scores = {at: score * (1 - _EARLIER * min(self._sentences[at][1], 10)) for at, score in zip(pool, raw, strict=True)}
        best = max(scores.values())
        if best < _LEAST:
            return Quotation(sentences=(), confidence=0.0)
        ranked = sorted(pool, key=lambda at: (-scores[at], at))[:limit]
        chosen = self._distinct(sorted(at for at in ranked if scores[at] >= _KEEP * best))
        return Quotation(sentences=tuple(self._sentences[at][0] for at in chosen), confidence=self._spoken_of(asked, chosen))

    def _likely(self, asked: Sequence[str]) -> list[int]:
        """The sentences worth weighing: those that share most words with the question."""
        wanted = {word[:5] for word in asked}
        shared = [len(wanted & stems) for stems in self._stems]
        ranked = sorted((at for at in range(len(shared)) if shared[at]), key=lambda at: (-shared[at], at))
        return sorted(ranked[:_POOL])

    def _distinct(self, chosen: list[int]) -> list[int]:
        """Without sentences that repeat an earlier one."""
        return [at for order, at in enumerate(chosen) if all(self._texts[at] != self._texts[other] for other in chosen[:order])]

    def _spoken_of(self, asked: list[str], chosen: list[int]) -> float:
        """How much of the asked words the chosen sentences contain: of all of them, and of those that the context knows at all.

        A word counts by its first five letters.
        """
        told = frozenset().union(*(self._stems[at] for at in chosen))
        hit = sum(word[:5] in told for word in asked)
        knowable = sum(word[:5] in self._known for word in asked)
        return min(_CEILING, 0.5 * hit / len(asked) + 0.5 * hit / knowable) if hit else _LEAST


def _stems(text: str) -> frozenset[str]:
    return frozenset(word[:5] for word in text.split())
