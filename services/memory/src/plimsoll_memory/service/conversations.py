"""Conversations: remember turns and facts once, read the window that fits, list and forget."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, replace

from plimsoll_runtime import logs
from plimsoll_runtime.clock import Clock
from plimsoll_runtime.errors import FieldProblem, PlimsollError
from plimsoll_runtime.work import WorkContext

from plimsoll_memory.domain import summary as summaries
from plimsoll_memory.domain import window
from plimsoll_memory.domain.conversation import (
    NEVER_LEARNED,
    Claim,
    Fact,
    Forgotten,
    Remembered,
    Remembering,
    Summary,
    Turn,
    Window,
    check,
    subject_problems,
    thread_problems,
    tokens_of,
)
from plimsoll_memory.domain.document import Document, accept
from plimsoll_memory.domain.learning import learn
from plimsoll_memory.domain.paging import PageRequest
from plimsoll_memory.errors import RequestRefused
from plimsoll_memory.ports import ThreadStore
from plimsoll_memory.service.memory import Memory

_DEFAULT_TOKENS, _LEAST_TOKENS, _MOST_TOKENS = 4_000, 64, 1_000_000
_DEFAULT_FACTS, _MOST_FACTS = 20, 200
_MOST_SUBJECTS = 20
_LIVE_TOKENS = 4_000  # of the latest turns that no stored summary covers; what leaves them is summarised
_RECALLED = 5
_DOCUMENT_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What of a thread is wanted; 0 means the default."""

    thread_id: str
    max_tokens: int = 0
    subjects: tuple[str, ...] = ()
    max_facts: int = 0
    query: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FactPage:
    """`next_token` is empty on the last page."""

    facts: Sequence[Fact]
    next_token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversations:
    """The verbs of conversation memory. Each works for one tenant and sees nothing of the others."""

    threads: ThreadStore
    memory: Memory
    clock: Clock
    log: logs.Log

    async def remember(self, tenant: str, request: Remembering) -> Remembered:
        """Keep turns, facts and a summary under a key; the same again changes nothing. Raises RequestRefused or KeyReused."""
        check(request)
        known = await self.threads.find(tenant, request)
        claims, left_out = _sifted(request)
        if request.collection:
            facts = await self._put_into_collection(tenant, request, claims)
            await self.threads.keep_key(tenant, request, self.clock.now())
            return Remembered(turns=[], facts=facts, changed=known is None, left_out=tuple(left_out))
        if known is not None:
            return known
        if request.learn:
            claims += learn(request.sayings, await self.threads.known_texts(tenant, request.thread_id))
        about = [replace(claim, subject=claim.subject or thread_subject(request.thread_id)) for claim in claims]
        remembered = await self.threads.remember(tenant, request, about, left_out, self.clock.now())
        await self._roll(tenant, request.thread_id)
        return remembered

    async def read(self, tenant: str, reading: Reading) -> Window:
        """The latest turns that fit, a summary of those before, and facts. Raises RequestRefused; an unknown thread is empty."""
        tokens, most_facts = _checked(reading)
        thread_id = reading.thread_id
        head = await self.threads.head(tenant, thread_id)
        subjects = [thread_subject(thread_id), *reading.subjects]
        facts = window.fit_facts(await self.threads.holding(tenant, subjects, reading.query, most_facts), tokens)
        left = tokens - sum(tokens_of(fact.text) for fact in facts)
        turns = await self.threads.latest(tenant, thread_id, tokens=left)
        shown = window.fit_turns(turns, left)
        summary: Summary | None = None
        recalled: Sequence[Turn] = ()
        if shown and shown[0].number > 1:
            shown = window.fit_turns(turns, left - window.summary_tokens(left))
            before = shown[0].number
            summary = await self._summary_before(tenant, thread_id, head.summary, before, window.summary_tokens(left))
            left -= sum(turn.tokens for turn in shown) + (tokens_of(summary.text) if summary else 0)
            if reading.query:
                matching = await self.threads.matching(tenant, thread_id, reading.query, 4 * _RECALLED)
                recalled = window.fit_recalled(matching, before, left)[:_RECALLED]
        used = [*(turn.tokens for turn in (*shown, *recalled)), *(tokens_of(fact.text) for fact in facts)]
        return Window(
            turns=shown,
            summary=summary,
            facts=facts,
            recalled=recalled,
            turns_total=head.turns,
            tokens=sum(used) + (tokens_of(summary.text) if summary else 0),
        )

    async def facts(self, tenant: str, subject: str, thread_id: str, *, superseded: bool, size: int, token: str) -> FactPage:
        """Facts about a subject, or learned in a thread, the latest first. Raises RequestRefused."""
        problems = subject_problems(subject) if subject else thread_problems(thread_id)
        if subject and thread_id:
            problems.append(FieldProblem("thread_id", "comes with a subject", "name one of the two"))
        if not 0 <= size <= _MOST_FACTS:
            problems.append(FieldProblem("page_size", f"is {size}", f"use 1 to {_MOST_FACTS}, or 0 for {_DEFAULT_FACTS}"))
        if problems:
            raise RequestRefused(problems=problems)
        size = size or _DEFAULT_FACTS
        ahead = PageRequest(after=_fact_of(token), size=size + 1)
        found = await self.threads.facts(tenant, subject, thread_id, ahead, superseded=superseded)
        shown = found[:size]
        return FactPage(facts=shown, next_token=_token_of(shown[-1].fact_id) if len(found) > size else "")

    async def forget(self, tenant: str, *, thread_id: str = "", subject: str = "", fact_id: str = "") -> Forgotten:
        """Forget a thread, a subject or a fact with its chain; what is not there is forgotten already. Raises RequestRefused."""
        if thread_id:
            return await self.threads.forget_thread(tenant, thread_id, thread_subject(thread_id))
        if subject:
            return await self.threads.forget_subject(tenant, subject)
        if fact_id:
            return await self.threads.forget_fact(tenant, fact_id)
        raise RequestRefused(problems=[FieldProblem("target", "is missing", "name a thread, a subject or a fact")])

    async def _put_into_collection(self, tenant: str, request: Remembering, claims: Sequence[Claim]) -> Sequence[Fact]:
        """Each fact a document of its own; sent again after a crash, those that are stored already change nothing."""
        facts = []
        for claim in claims:
            name = claim.attribute or claim.canonical[:16]
            incoming = accept(
                collection=request.collection,
                source=f"remembered/{claim.subject or 'anything'}/{name}",
                media_type="text/plain; charset=utf-8",
                content=claim.text.encode(),
                metadata={**claim.metadata, "subject": claim.subject, "attribute": claim.attribute, "origin": claim.origin.value},
                limit_bytes=_DOCUMENT_BYTES,
            )
            facts.append(_as_fact(claim, (await self.memory.ingest(tenant, incoming)).document, request.work))
        return facts

    async def _roll(self, tenant: str, thread_id: str) -> None:
        """Summarise what left the live turns. Nothing is lost when this fails: the next request does it."""
        try:
            head = await self.threads.head(tenant, thread_id)
            behind = await self.threads.latest(tenant, thread_id, tokens=_MOST_TOKENS, after=head.summary.through)
            live = window.fit_turns(behind, _LIVE_TOKENS // 2)
            if sum(turn.tokens for turn in behind) > _LIVE_TOKENS and live[0].number > head.summary.through + 1:
                through = live[0].number - 1
                gone = [turn for turn in reversed(behind) if turn.number <= through]
                rolled = summaries.extend(head.summary, gone, through=through)
                await self.threads.put_summary(tenant, thread_id, rolled, before=head.summary.through)
        except PlimsollError as error:
            self.log.warning("thread.not_summarised", {"reason": error.reason})

    async def _summary_before(self, tenant: str, thread_id: str, kept: Summary, before: int, tokens: int) -> Summary | None:
        """The stored summary, extended by the turns between it and the window, within the tokens it may take."""
        length = min(4 * tokens, summaries.SUMMARY_LENGTH)
        if kept.through >= before - 1:
            return summaries.shorten(kept, length)
        behind = await self.threads.latest(tenant, thread_id, tokens=_MOST_TOKENS, after=kept.through)
        gap = [turn for turn in reversed(behind) if turn.number < before]
        return summaries.extend(kept, gap, through=before - 1, length=length)


def thread_subject(thread_id: str) -> str:
    """Facts about nobody else are about the thread."""
    return f"thread/{thread_id}"


def _as_fact(claim: Claim, document: Document, work: WorkContext | None) -> Fact:
    return Fact(
        fact_id=document.document_id,
        subject=claim.subject,
        attribute=claim.attribute,
        text=claim.text,
        origin=claim.origin,
        thread_id="",
        turn=0,
        work=work,
        metadata=claim.metadata,
        superseded_by="",
        times=1,
        created_at=document.updated_at,
        last_at=document.updated_at,
    )


def _sifted(request: Remembering) -> tuple[list[Claim], list[str]]:
    """The claims that may be kept, and why the others may not."""
    left_out = [
        f"fact {at}: its origin is {claim.origin.name}, from which nothing is learned"
        for at, claim in enumerate(request.claims, 1)
        if claim.origin in NEVER_LEARNED
    ]
    return [claim for claim in request.claims if claim.origin not in NEVER_LEARNED], left_out


def _checked(reading: Reading) -> tuple[int, int]:
    """The tokens and facts asked for. Raises RequestRefused."""
    problems = thread_problems(reading.thread_id)
    for at, subject in enumerate(reading.subjects[:_MOST_SUBJECTS]):
        problems += subject_problems(subject, f"subjects[{at}]")
    if len(reading.subjects) > _MOST_SUBJECTS:
        problems.append(FieldProblem("subjects", f"has {len(reading.subjects)}", f"name {_MOST_SUBJECTS} or fewer"))
    tokens, facts = reading.max_tokens or _DEFAULT_TOKENS, reading.max_facts or _DEFAULT_FACTS
    if not _LEAST_TOKENS <= tokens <= _MOST_TOKENS:
        problems.append(FieldProblem("max_tokens", f"is {tokens}", f"use {_LEAST_TOKENS} to {_MOST_TOKENS:,}, or 0 for {_DEFAULT_TOKENS}"))
    if not 1 <= facts <= _MOST_FACTS:
        problems.append(FieldProblem("max_facts", f"is {facts}", f"use 1 to {_MOST_FACTS}, or 0 for {_DEFAULT_FACTS}"))
    if "\x00" in reading.query:
        problems.append(FieldProblem("query", "holds a zero character", "leave it out"))
    if problems:
        raise RequestRefused(problems=problems)
    return tokens, facts


def _token_of(fact_id: str) -> str:
    return base64.urlsafe_b64encode(fact_id.encode()).decode().rstrip("=")


def _fact_of(token: str) -> str:
    try:
        return base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True).decode()
    except ValueError:
        problem = FieldProblem("page_token", "does not belong to this list", "send next_page_token of the page before, unchanged")
        raise RequestRefused(problems=[problem]) from None
