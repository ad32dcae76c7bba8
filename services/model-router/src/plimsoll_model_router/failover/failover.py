"""Which candidate is asked when: each failed attempt is classified, and its class alone says what follows."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias

from plimsoll_runtime.clock import Clock
from plimsoll_runtime.deadline import remaining_s
from plimsoll_runtime.failures import Category, Failure
from plimsoll_runtime.retry import RetryBudget, RetryPolicy

from plimsoll_model_router.domain.endpoints import NO_CREDENTIAL, Credential
from plimsoll_model_router.domain.generation import Answer, Began, Delta, Hear, Outcome, Progress, Tell, Unanswered, unheard
from plimsoll_model_router.domain.routing import Candidate
from plimsoll_model_router.errors import ProviderError, Remedy
from plimsoll_model_router.failover.attempts import Attempts, Ending, Try, is_final
from plimsoll_model_router.failover.credentials import Cooling, Credentials
from plimsoll_model_router.failover.inquiry import Course, Delivery, Inquiry, attempt_of, failed
from plimsoll_model_router.failover.race import Race, Racer

Sleep: TypeAlias = Callable[[float], Awaitable[None]]

_TRIES = 2  # per candidate; one more for the last one, behind which there is nobody
_SWITCHES = 8  # of credential, or of what is sent, for one candidate: these cost no pause
_PATIENCE_S = 5.0  # a longer pause than this is not waited for while somebody else could answer
_JITTER = 0.1  # on top of what a provider asks for, so that all who were told the same do not come back together
_MOST_BUDGETS = 1000


@dataclass(slots=True, kw_only=True)
class _Stand:
    """One candidate and how it goes there; `used` is the credential of the present try."""

    candidate: Candidate
    tries: int
    last: bool
    used: Credential = NO_CREDENTIAL
    replay_reasoning: bool = True
    made: int = 0
    switches: int = 0
    avoided: frozenset[str] = frozenset()


class Failover:
    """Asks the candidates of an inquiry one after the other, under one deadline and one purse."""

    def __init__(self, attempts: Attempts, credentials: Credentials, clock: Clock, *, cap_s: float, sleep: Sleep = asyncio.sleep) -> None:
        self._attempts = attempts
        self._credentials = credentials
        self._clock = clock
        self._cap_s = cap_s
        self._sleep = sleep
        self._budgets: dict[str, RetryBudget] = {}

    async def run(self, inquiry: Inquiry, course: Course, tell: Tell) -> Outcome:
        """The outcome; pieces are told while they come, unless only the whole is wanted. Pieces of a failed attempt are void."""
        course.ends_at = self._clock.monotonic() + self._time_left()
        for at, candidate in enumerate(inquiry.candidates):
            if self._is_over(course, inquiry):
                break
            behind = inquiry.candidates[at + 1 :]
            if candidate.full_name in course.hedged or 0 < candidate.model.context_tokens <= course.too_small:
                continue
            stand = _Stand(candidate=candidate, tries=_TRIES + (not behind), last=not behind)
            answer = await self._ask(stand, behind[0] if behind else None, inquiry, course, tell)
            if answer is not None:
                return answer
        failure = course.last or _no_time()
        return Unanswered(
            failure=failure,
            attempts=course.attempts,
            prompt_digest=inquiry.prompt_digest,
            call_id=inquiry.call_id,
            priced=not course.unpriced,
        )

    async def _ask(self, stand: _Stand, next_one: Candidate | None, inquiry: Inquiry, course: Course, tell: Tell) -> Answer | None:
        """Tries at one candidate until it answered, or another one should be asked. The next one may be asked beside it, as a hedge."""
        while stand.made < stand.tries:
            stand.made += 1
            stand.used = NO_CREDENTIAL
            try:
                ending = await self._made(stand, next_one, inquiry, course, tell)
                return _answer(inquiry, stand.candidate, ending, course)
            except ProviderError as broken:
                error = broken
            self._credentials.note(stand.candidate.model.provider, stand.used, error)
            course.note(error, stand.candidate, refusal_moves_on=inquiry.refusal_moves_on)
            if self._is_over(course, inquiry) or not await self._again(stand, error, course):
                return None
        return None

    async def _made(self, stand: _Stand, next_one: Candidate | None, inquiry: Inquiry, course: Course, tell: Tell) -> Ending:
        """The next attempt, with its hedge where there is one. Raises ProviderError, also when no credential may be used."""
        one = self._next_try(stand, inquiry, course)
        if isinstance(one, ProviderError):
            course.end(course.begin(), attempt_of(stand.candidate, "", 0.0, one.usage, one.failure), stand.candidate)
            raise one
        if inquiry.hedge_after_s and next_one is not None and stand.made == 1:
            return await self._raced(stand, one, next_one, inquiry, course, tell)
        stand.used = one.credential
        hear: Hear = unheard
        if inquiry.delivery is not Delivery.WHOLE:
            await tell(_began(one))
            hear = _heard(one, course, tell)
        return await self._attempts.make(one, inquiry, course, hear)

    async def _raced(self, stand: _Stand, first: Try, hedge: Candidate, inquiry: Inquiry, course: Course, tell: Tell) -> Ending:
        """As whoever speaks first; the stand is its."""
        streaming = inquiry.delivery is not Delivery.WHOLE

        def racer(one: Try) -> Racer:
            hear = _heard(one, course, tell) if streaming else unheard
            return Racer(one=one, make=partial(self._attempts.make, one, inquiry, course), hear=hear)

        def start() -> Racer | None:
            course.hedged.add(hedge.full_name)
            one = self._next_try(_Stand(candidate=hedge, tries=1, last=True), inquiry, course)
            return racer(one) if isinstance(one, Try) else None

        async def won(leader: Racer) -> None:
            stand.candidate, stand.used = leader.one.candidate, leader.one.credential
            if streaming:
                await tell(_began(leader.one))

        def lost(behind: Racer, error: ProviderError) -> None:
            self._credentials.note(behind.one.candidate.model.provider, behind.one.credential, error)
            course.note(error, behind.one.candidate, refusal_moves_on=inquiry.refusal_moves_on)

        return await Race(won, lost).run(racer(first), start, inquiry.hedge_after_s)

    def _next_try(self, stand: _Stand, inquiry: Inquiry, course: Course) -> Try | ProviderError:
        provider = stand.candidate.model.provider
        credential = self._credentials.pick(provider, inquiry.affinity, stand.avoided)
        if isinstance(credential, Cooling):
            what, wait_s = "has no credential that may be used now", credential.retry_after_s
            return failed(Category.RATE_LIMITED, "CREDENTIALS_COOLING", what, stand.candidate.full_name, Remedy.RETRY, retry_after_s=wait_s)
        question = inquiry.question if stand.replay_reasoning else replace(inquiry.question, replay_reasoning=False)
        return Try(number=course.begin(), candidate=stand.candidate, credential=credential, question=question, last=stand.last)

    async def _again(self, stand: _Stand, error: ProviderError, course: Course) -> bool:
        """Whether to try the same candidate again; waits for it where that helps."""
        provider, used = stand.candidate.model.provider, stand.used
        if error.remedy is Remedy.WITHOUT_REASONING and stand.replay_reasoning:
            stand.replay_reasoning = False
            return self._switched(stand)
        limited = error.failure.category is Category.RATE_LIMITED and bool(used.name)
        if error.remedy is Remedy.NEXT_CREDENTIAL or limited:
            stand.avoided |= {used.name}
            if self._credentials.others(provider, stand.avoided):
                return self._switched(stand)
            stand.avoided = frozenset() if limited else stand.avoided  # the same key, after its pause
        if error.remedy is not Remedy.RETRY or stand.made >= stand.tries:
            return False
        pause_s = self._pause_s(stand, error, course)
        if pause_s is None or not self._budget(stand.candidate.full_name).allows_retry():
            return False
        await self._sleep(pause_s)
        return True

    def _switched(self, stand: _Stand) -> bool:
        """Another key, or another form of the question: that is no repeat, and needs no pause."""
        stand.switches += 1
        stand.made -= 1
        return stand.switches <= _SWITCHES

    def _pause_s(self, stand: _Stand, error: ProviderError, course: Course) -> float | None:
        """How long to wait before the same candidate is tried again; None when that would take too long."""
        asked, left_s = error.failure.retry_after_s, course.ends_at - self._clock.monotonic()
        policy = RetryPolicy(attempts=stand.tries, first_s=0.5, most_asked_s=left_s if stand.last else _PATIENCE_S)
        if asked is None:
            return policy.pause_s(stand.made, left_s=left_s, draw=lambda: random.uniform(0.25, 1.0))  # noqa: S311 - jitter
        pause = asked * (1 + _JITTER * random.random())  # noqa: S311 - jitter
        return pause if asked <= policy.most_asked_s and pause < left_s else None

    def _budget(self, model: str) -> RetryBudget:
        if len(self._budgets) > _MOST_BUDGETS:
            self._budgets.clear()
        budget = self._budgets.setdefault(model, RetryBudget(self._clock))
        budget.note_call()
        return budget

    def _is_over(self, course: Course, inquiry: Inquiry) -> bool:
        strict = inquiry.delivery is Delivery.STRICT and course.spoken
        return course.hopeless or strict or self._clock.monotonic() >= course.ends_at

    def _time_left(self) -> float:
        """The caller's time, less a little, so that the caller hears of a failure before its own deadline passes."""
        left = remaining_s()
        return self._cap_s if left is None else min(self._cap_s, left - min(0.5, 0.05 * left))


def _heard(one: Try, course: Course, tell: Tell) -> Hear:
    """Who hears the pieces of an attempt tells them under its number."""

    async def hear(delta: Delta) -> None:
        course.spoken = True
        await tell(Progress(attempt=one.number, delta=delta))

    return hear


def _began(one: Try) -> Progress:
    return Progress(attempt=one.number, delta=Began(provider=one.candidate.model.provider, model=one.candidate.ask_for))


def _answer(inquiry: Inquiry, candidate: Candidate, ending: Ending, course: Course) -> Answer:
    reply, output = ending
    return Answer(
        message=reply.message,
        stop_reason=reply.stop_reason,
        usage=course.spent,
        provider=candidate.model.provider,
        model=reply.model,
        rehearsal=candidate.model.rehearsal,
        prompt_digest=inquiry.prompt_digest,
        attempts=course.attempts,
        confidence=reply.confidence,
        output=output,
        has_output=inquiry.schema is not None and is_final(reply),
        call_id=inquiry.call_id,
        priced=not course.unpriced,
    )


def _no_time() -> Failure:
    return Failure(category=Category.TIMEOUT, reason="NO_TIME_LEFT", message="no time was left to ask anybody", retryable=True)
