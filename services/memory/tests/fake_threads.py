"""Conversations kept in memory, with the promises that the behaviour suite states."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from plimsoll_memory.domain.conversation import (
    NEVER_LEARNED,
    NO_SUMMARY,
    Claim,
    Fact,
    Forgotten,
    Remembered,
    Remembering,
    Summary,
    ThreadHead,
    Turn,
    canonical_words,
    tokens_of,
)
from plimsoll_memory.domain.paging import PageRequest
from plimsoll_memory.errors import KeyReused
from plimsoll_testkit.ids import FakeIds

Key = tuple[str, str]


@dataclass
class FakeThreads:
    """A ThreadStore."""

    ids: FakeIds
    _turns: dict[Key, list[Turn]] = field(default_factory=dict)
    _counts: dict[Key, int] = field(default_factory=dict)
    _summaries: dict[Key, Summary] = field(default_factory=dict)
    _facts: dict[str, list[Fact]] = field(default_factory=dict)
    _keys: dict[tuple[str, str, str], tuple[str, Remembered]] = field(default_factory=dict)

    async def find(self, tenant: str, request: Remembering) -> Remembered | None:
        known = self._keys.get((tenant, request.place, request.key))
        if known is None:
            return None
        if known[0] != request.digest:
            raise KeyReused
        kept = {fact.fact_id: fact for fact in self._facts.get(tenant, [])}
        facts = [kept[fact.fact_id] for fact in known[1].facts if fact.fact_id in kept]
        return replace(known[1], facts=facts, changed=False)

    async def keep_key(self, tenant: str, request: Remembering, at: datetime) -> None:
        self._keys[tenant, request.place, request.key] = request.digest, Remembered(turns=[], facts=[], changed=True, left_out=())

    async def remember(
        self, tenant: str, request: Remembering, claims: Sequence[Claim], left_out: Sequence[str], at: datetime
    ) -> Remembered:
        known = await self.find(tenant, request)
        if known is not None:
            return known
        key = (tenant, request.thread_id)
        first = self._counts.get(key, 0) + 1
        turns = [
            Turn(number=number, origin=one.origin, text=one.text, tokens=tokens_of(one.text), work=request.work, created_at=at)
            for number, one in enumerate(request.sayings, first)
        ]
        self._counts[key] = first + len(turns) - 1
        self._turns.setdefault(key, []).extend(turns)
        kept = list(left_out)
        if request.summary:
            if self._summaries.get(key, NO_SUMMARY).through <= request.summary.through <= self._counts[key]:
                self._summaries[key] = request.summary
            else:
                kept.append("summary: covers less than the one that is kept, or turns that are not there")
        facts = [self._put(tenant, request, claim, turns, at) for claim in claims]
        remembered = Remembered(turns=turns, facts=facts, changed=True, left_out=tuple(kept))
        self._keys[tenant, request.place, request.key] = request.digest, remembered
        return remembered

    async def head(self, tenant: str, thread_id: str) -> ThreadHead:
        key = (tenant, thread_id)
        return ThreadHead(turns=self._counts.get(key, 0), summary=self._summaries.get(key, NO_SUMMARY))

    async def latest(self, tenant: str, thread_id: str, *, tokens: int, after: int = 0) -> Sequence[Turn]:
        found: list[Turn] = []
        for turn in reversed(self._turns.get((tenant, thread_id), [])):
            if turn.number <= after or sum(one.tokens for one in found) >= tokens:
                break
            found.append(turn)
        return found

    async def matching(self, tenant: str, thread_id: str, query: str, limit: int) -> Sequence[Turn]:
        turns = [
            turn for turn in self._turns.get((tenant, thread_id), []) if turn.origin not in NEVER_LEARNED and _shared(query, turn.text)
        ]
        return sorted(turns, key=lambda turn: (-_shared(query, turn.text), -turn.number))[:limit]

    async def holding(self, tenant: str, subjects: Sequence[str], query: str, limit: int) -> Sequence[Fact]:
        facts = [fact for fact in self._facts.get(tenant, []) if fact.subject in subjects and not fact.superseded_by]
        facts.sort(key=lambda fact: (fact.last_at, fact.fact_id), reverse=True)
        return sorted(facts, key=lambda fact: -_shared(query, f"{fact.attribute} {fact.text}"))[:limit]

    async def facts(self, tenant: str, subject: str, thread_id: str, page: PageRequest, *, superseded: bool) -> Sequence[Fact]:
        facts = [
            fact
            for fact in self._facts.get(tenant, [])
            if (fact.subject == subject if subject else fact.thread_id == thread_id)
            and (superseded or not fact.superseded_by)
            and (not page.after or fact.fact_id < page.after)
        ]
        return sorted(facts, key=lambda fact: fact.fact_id, reverse=True)[: page.size]

    async def known_texts(self, tenant: str, thread_id: str) -> Sequence[str]:
        return [turn.text for turn in self._turns.get((tenant, thread_id), []) if turn.origin in NEVER_LEARNED]

    async def put_summary(self, tenant: str, thread_id: str, summary: Summary, *, before: int) -> None:
        key = (tenant, thread_id)
        if self._summaries.get(key, NO_SUMMARY).through == before <= summary.through <= self._counts.get(key, 0):
            self._summaries[key] = summary

    async def forget_thread(self, tenant: str, thread_id: str, subject: str) -> Forgotten:
        key = (tenant, thread_id)
        turns = len(self._turns.pop(key, []))
        self._counts.pop(key, None)
        self._summaries.pop(key, None)
        self._keys = {key: kept for key, kept in self._keys.items() if key[:2] != (tenant, f"thread/{thread_id}")}
        return Forgotten(
            turns=turns,
            facts=self._drop(tenant, {f.fact_id for f in self._facts.get(tenant, []) if subject == f.subject or f.thread_id == thread_id}),
        )

    async def forget_subject(self, tenant: str, subject: str) -> Forgotten:
        return Forgotten(
            turns=0, facts=self._drop(tenant, {fact.fact_id for fact in self._facts.get(tenant, []) if fact.subject == subject})
        )

    async def forget_fact(self, tenant: str, fact_id: str) -> Forgotten:
        gone: set[str] = set()
        wanted = {fact_id}
        while wanted:
            gone |= wanted
            wanted = {fact.fact_id for fact in self._facts.get(tenant, []) if fact.superseded_by in wanted}
        return Forgotten(turns=0, facts=self._drop(tenant, gone))

    def _put(self, tenant: str, request: Remembering, claim: Claim, turns: Sequence[Turn], at: datetime) -> Fact:
        facts = self._facts.setdefault(tenant, [])
        fact_id = self.ids.new("fact")
        for place, fact in enumerate(facts):
            if fact.superseded_by or (fact.subject, fact.attribute) != (claim.subject, claim.attribute):
                continue
            if canonical_words(fact.text) == canonical_words(claim.text):
                facts[place] = replace(fact, times=fact.times + 1, last_at=at)
                return facts[place]
            if claim.attribute:
                facts[place] = replace(fact, superseded_by=fact_id)
        fresh = Fact(
            fact_id=fact_id, subject=claim.subject, attribute=claim.attribute, text=claim.text, origin=claim.origin,
            thread_id=request.thread_id, turn=turns[claim.saying - 1].number if claim.saying else 0, work=request.work,
            metadata=claim.metadata, superseded_by="", times=1, created_at=at, last_at=at,
        )  # fmt: skip
        facts.append(fresh)
        return fresh

    def _drop(self, tenant: str, fact_ids: set[str]) -> int:
        facts = self._facts.get(tenant, [])
        self._facts[tenant] = [fact for fact in facts if fact.fact_id not in fact_ids]
        return len(facts) - len(self._facts[tenant])


def _shared(query: str, text: str) -> int:
    return len(set(canonical_words(query).split()) & set(canonical_words(text).split()))
