"""Trying candidates in order, under one deadline, until one answers or nothing is left that could help."""

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import TypeAlias, TypeVar

from plimsoll_runtime.clock import Clock
from plimsoll_runtime.deadline import remaining_s
from plimsoll_runtime.failures import Category, Failure
from plimsoll_runtime.json_types import JsonValue
from plimsoll_runtime.usage import Usage

from plimsoll_model_router.domain import outputs, pricing
from plimsoll_model_router.domain.generation import Answer, Attempt, Finished, Outcome, Progress, Question, Reply, TextDelta, Unanswered
from plimsoll_model_router.domain.routing import Candidate
from plimsoll_model_router.domain.schemas import CompiledSchema
from plimsoll_model_router.domain.tokens import question_tokens
from plimsoll_model_router.errors import ProviderError, Remedy
from plimsoll_model_router.ports import Provider

T = TypeVar("T")
Sleep: TypeAlias = Callable[[float], Awaitable[None]]

_TRIES = 2  # per candidate; one more for the last one, behind which there is nobody
_BACKOFF_S = 0.25
_PATIENCE_S = 5.0  # a longer pause than this is not waited for while somebody else could answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Inquiry:
    """One question with everything that is needed to have it answered.

    Attributes:
    question         without a model: that is the candidate's
    schema           compiled, when an output is asked for
    max_cost_micros  0 means no limit
    """

    question: Question
    candidates: Sequence[Candidate]
    schema: CompiledSchema | None
    prompt_digest: str
    max_cost_micros: int
    streaming: bool


class Failover:
    """Asks the candidates of an inquiry one after the other. Each failed try is classified, and its class alone says what follows."""

    def __init__(self, providers: Mapping[str, Provider], clock: Clock, *, cap_s: float, sleep: Sleep = asyncio.sleep) -> None:
        self._providers = providers
        self._clock = clock
        self._cap_s = cap_s
        self._sleep = sleep

    async def run(self, inquiry: Inquiry) -> AsyncGenerator[Progress | Outcome, None]:
        """Text while it comes, when the inquiry is streaming, and last the outcome. Text of a failed attempt is void."""
        course = _Course(ends_at=self._clock.monotonic() + self._time_left())
        for position, candidate in enumerate(inquiry.candidates):
            if 0 < candidate.model.context_tokens <= course.too_small:
                continue
            tries = _TRIES + (position + 1 == len(inquiry.candidates))
            async with aclosing(self._candidate(candidate, inquiry, course, tries)) as steps:
                async for step in steps:
                    yield step
                    if not isinstance(step, Progress):
                        return
            if course.hopeless or self._clock.monotonic() >= course.ends_at:
                break
        failure = course.attempts[-1].failure
        assert failure is not None
        yield Unanswered(failure=failure, attempts=tuple(course.attempts), prompt_digest=inquiry.prompt_digest)

    async def _candidate(
        self, candidate: Candidate, inquiry: Inquiry, course: "_Course", tries: int
    ) -> AsyncGenerator[Progress | Answer, None]:
        """Up to `tries` tries at one candidate; ends without an answer when another one should be asked, or none."""
        for again in range(1, tries + 1):
            started = self._clock.monotonic()
            try:
                async with aclosing(self._ask(candidate, inquiry, course)) as steps:
                    async for step in steps:
                        if isinstance(step, Progress):
                            yield step
                        else:
                            reply, output = step
            except ProviderError as error:
                course.attempts.append(self._attempt(candidate, started, error.usage, error.failure))
                course.note(error, candidate)
                pause_s = self._pause_s(error, again, course, last=tries > _TRIES)
                if pause_s is None or again == tries:
                    return
                await self._sleep(pause_s)
            else:
                course.attempts.append(self._attempt(candidate, started, reply.usage, None))
                yield self._answer(inquiry, candidate, reply, output, course.attempts)
                return

    async def _ask(
        self, candidate: Candidate, inquiry: Inquiry, course: "_Course"
    ) -> AsyncGenerator["Progress | tuple[Reply, JsonValue]", None]:
        """One try. Raises ProviderError."""
        where = candidate.model.full_name
        provider = self._providers[candidate.model.provider]
        question = _affordable(candidate, replace(inquiry.question, model=candidate.ask_for), inquiry.max_cost_micros)
        reply: Reply | None = None
        if inquiry.streaming:
            async with aclosing(provider.stream(question)) as chunks:
                while (chunk := await self._before(course.ends_at, anext(chunks, None), where)) is not None:
                    match chunk:
                        case TextDelta(text=text):
                            yield Progress(attempt=len(course.attempts) + 1, text=text)
                        case Finished():
                            reply = chunk.reply
        else:
            reply = await self._before(course.ends_at, provider.generate(question), where)
        if reply is None:
            raise _failed(Category.MODEL_MALFORMED, "ANSWER_CUT", "the stream ended without its end", where, Remedy.RETRY)
        reply = outputs.checked(reply, where)
        schema = inquiry.schema if _is_final(reply) else None
        yield reply, outputs.output_of(reply, schema, where) if schema is not None else None

    async def _before(self, ends_at: float, step: Awaitable[T], where: str) -> T:
        try:
            async with asyncio.timeout(max(0.0, ends_at - self._clock.monotonic())):
                return await step
        except TimeoutError as error:
            raise _failed(Category.TIMEOUT, "TOO_SLOW", "did not finish in the time that was left", where, Remedy.NEXT_PROVIDER) from error

    def _time_left(self) -> float:
        """The caller's time, less a little, so that the caller hears of a failure before its own deadline passes."""
        left = remaining_s()
        return self._cap_s if left is None else min(self._cap_s, left - min(0.5, 0.05 * left))

    def _pause_s(self, error: ProviderError, again: int, course: "_Course", *, last: bool) -> float | None:
        """How long to wait before the same candidate is tried again; None when that would not help, or takes too long."""
        if error.remedy is not Remedy.RETRY:
            return None
        wanted = error.failure.retry_after_s
        pause = wanted if wanted is not None else _BACKOFF_S * 2 ** (again - 1) * random.uniform(0.5, 1.0)  # noqa: S311 - jitter
        patient = last or pause <= _PATIENCE_S
        return pause if patient and self._clock.monotonic() + pause < course.ends_at else None

    def _attempt(self, candidate: Candidate, started: float, usage: Usage, failure: Failure | None) -> Attempt:
        return Attempt(
            provider=candidate.model.provider,
            model=candidate.ask_for,
            duration_s=self._clock.monotonic() - started,
            usage=pricing.priced(usage, candidate.model.price),
            failure=failure,
        )

    def _answer(self, inquiry: Inquiry, candidate: Candidate, reply: Reply, output: JsonValue, attempts: Sequence[Attempt]) -> Answer:
        return Answer(
            message=reply.message,
            stop_reason=reply.stop_reason,
            usage=sum((attempt.usage for attempt in attempts), Usage()),
            provider=candidate.model.provider,
            model=reply.model,
            rehearsal=candidate.model.rehearsal,
            prompt_digest=inquiry.prompt_digest,
            attempts=tuple(attempts),
            confidence=reply.confidence,
            output=output,
            has_output=inquiry.schema is not None and _is_final(reply),
        )


@dataclass(slots=True, kw_only=True)
class _Course:
    """How an inquiry goes. `too_small` is the largest context that was not enough."""

    ends_at: float
    attempts: list[Attempt] = field(default_factory=list)
    too_small: int = -1
    hopeless: bool = False

    def note(self, error: ProviderError, candidate: Candidate) -> None:
        self.hopeless = error.remedy is Remedy.NEVER
        if error.remedy is Remedy.LARGER_CONTEXT:
            self.too_small = max(self.too_small, candidate.model.context_tokens)


def _is_final(reply: Reply) -> bool:
    """A reply that calls tools is not the answer yet."""
    return not reply.message.tool_calls


def _affordable(candidate: Candidate, question: Question, max_cost_micros: int) -> Question:
    """The question, its answer limited to what may be paid for it.

    Raises ProviderError when it does not fit into the model, or could cost more than it may.
    """
    where, tokens = candidate.model.full_name, question_tokens(question)
    room, price = candidate.model.context_tokens, candidate.model.price
    if room and tokens + question.max_output_tokens > room:
        what = f"reads {room} tokens at the most; this question has about {tokens} and may be answered with {question.max_output_tokens}"
        raise _failed(Category.CONTEXT_TRUNCATED, "CONTEXT_TOO_LONG", what, where, Remedy.LARGER_CONTEXT)
    if not max_cost_micros or price is None:
        return question
    output = question.max_output_tokens or pricing.affordable_output(tokens, max_cost_micros, price)
    cost = pricing.most(tokens, max(1, output), price)
    if cost > max_cost_micros:
        what = f"could cost {cost} micros, more than the {max_cost_micros} that the call may cost"
        raise _failed(Category.BUDGET_EXCEEDED, "TOO_EXPENSIVE", what, where, Remedy.NEXT_PROVIDER)
    return replace(question, max_output_tokens=output)


def _failed(category: Category, reason: str, what: str, where: str, remedy: Remedy) -> ProviderError:
    retryable = category in {Category.TIMEOUT, Category.MODEL_MALFORMED}
    return ProviderError(Failure(category=category, reason=reason, message=f"{where} {what}", retryable=retryable, where=where), remedy)
