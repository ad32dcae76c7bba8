"""One attempt: let through by breaker and limits, covered by the purse, asked, checked, and counted whatever becomes of it."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from plimsoll_runtime.breaker import BreakerPolicy, Open, Verdict
from plimsoll_runtime.clock import Clock
from plimsoll_runtime.failures import Category, Failure
from plimsoll_runtime.guard import Entered
from plimsoll_runtime.guard import Upstream as Guarded
from plimsoll_runtime.json_types import JsonValue
from plimsoll_runtime.limiter import Limited
from plimsoll_runtime.usage import Usage

from plimsoll_model_router.domain import budgets, outputs, pricing, tokens
from plimsoll_model_router.domain.budgets import USUAL_OUTPUT
from plimsoll_model_router.domain.conversion import Conversion
from plimsoll_model_router.domain.endpoints import Ask, Credential, Dialect, Feature, Timers
from plimsoll_model_router.domain.generation import Delta, Hear, Question, ReasoningDelta, Reply, TextDelta, ToolCallDelta
from plimsoll_model_router.domain.pace import Pace
from plimsoll_model_router.domain.routing import Candidate
from plimsoll_model_router.errors import ProviderError, Remedy
from plimsoll_model_router.failover.credentials import CredentialLimits
from plimsoll_model_router.failover.inquiry import Course, Delivery, Inquiry, attempt_of, failed
from plimsoll_model_router.ports import Gate, Upstream

Ending: TypeAlias = tuple[Reply, JsonValue]
NO_LIMITS = CredentialLimits()
_BROKEN = frozenset({Category.UPSTREAM_UNAVAILABLE, Category.TIMEOUT})
_FOR_OTHERS = 0.4  # share of the time that is left for those behind, when an answer comes in one piece


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """One attempt about to be made. `last` says that nobody is behind it."""

    number: int
    candidate: Candidate
    credential: Credential
    question: Question
    last: bool

    @property
    def where(self) -> str:
        return self.candidate.full_name


class Attempts:
    """Makes attempts. `limits` are of each credential, by provider."""

    def __init__(
        self,
        upstreams: Mapping[Dialect, Upstream],
        gate: Gate,
        clock: Clock,
        pace: Pace,
        *,
        timers: Timers,
        breaker: BreakerPolicy,
        limits: Mapping[str, CredentialLimits],
    ) -> None:
        self._upstreams = upstreams
        self._gate = gate
        self._clock = clock
        self._pace = pace
        self._timers = timers
        self._breaker = breaker
        self._limits = limits
        self._open_until: dict[str, float] = {}

    def is_open(self, model: str) -> bool:
        """Whether the breaker of a model was open when it was asked last, and still is."""
        return self._open_until.get(model, 0.0) > self._clock.monotonic()

    async def make(self, one: Try, inquiry: Inquiry, course: Course, hear: Hear) -> Ending:
        """The checked reply with its output; its pieces are heard while they come. Raises ProviderError; counts the attempt in every case."""
        started, said = self._clock.monotonic(), _Said(hear)
        entered: Entered | None = None
        try:
            question = await self._afforded(one, inquiry, course)
            entered = await self._enter(one, question, inquiry)
            ask = self._ask(one, question, inquiry, course)
            reply = outputs.checked(await self._upstreams[ask.endpoint.dialect].ask(ask, said.hear), one.where)
            schema = inquiry.schema if is_final(reply) else None
            output = outputs.output_of(reply, schema, one.where) if schema is not None else None
        except ProviderError as error:
            seconds = self._clock.monotonic() - started
            _end(one, inquiry, course, seconds, error.usage, error.failure)
            await self._judge(one, entered, error, seconds, counts=inquiry.in_production)
            raise
        except asyncio.CancelledError:
            usage = said.usage(inquiry) if entered is not None else Usage()
            _end(one, inquiry, course, self._clock.monotonic() - started, usage, _abandoned(one))
            raise
        seconds = self._clock.monotonic() - started
        _end(one, inquiry, course, seconds, reply.usage, None, reply.report)
        if inquiry.in_production:
            self._pace.note(one.where, seconds)
        await self._gate.report(entered, Verdict.SUCCEEDED)
        return reply, output

    async def _afforded(self, one: Try, inquiry: Inquiry, course: Course) -> Question:
        """The question, its answer limited to what may be paid for it; what it may cost is reserved then."""
        model, spent, output = one.candidate.model, course.spent, one.question.max_output_tokens
        if inquiry.max_cost_micros and model.price is not None:
            left = inquiry.max_cost_micros - spent.cost_micros
            output = output or pricing.affordable_output(inquiry.input_tokens, left, model.price)
            cost = pricing.most(inquiry.input_tokens, max(1, output), model.price)
            if cost > left:
                what = f"could cost {cost} micros, more than the {left} that are left of what the call may cost"
                raise failed(Category.BUDGET_EXCEEDED, "TOO_EXPENSIVE", what, one.where, Remedy.NEXT_PROVIDER)
        if inquiry.purse.capped:
            output = output or min(model.max_output_tokens or USUAL_OUTPUT, USUAL_OUTPUT)
            await inquiry.purse.cover(one.number, budgets.estimate(inquiry.input_tokens, output, model.price), spent)
        return replace(one.question, max_output_tokens=output) if output != one.question.max_output_tokens else one.question

    async def _enter(self, one: Try, question: Question, inquiry: Inquiry) -> Entered:
        allowed = self._limits.get(one.candidate.model.provider, NO_LIMITS)
        limits = allowed.limits(one.credential.name or "none", inquiry.input_tokens + (question.max_output_tokens or 0))
        guarded = Guarded(name=one.where, limits=limits, policy=self._breaker)
        match await self._gate.enter(guarded, f"{inquiry.call_id}:{one.number}"):
            case Entered() as entered:
                self._open_until.pop(one.where, None)
                return entered
            case Open(retry_after_s=seconds):
                self._open_until[one.where] = self._clock.monotonic() + seconds
                what = "is left alone for a while: it failed too often"
                raise failed(Category.UPSTREAM_UNAVAILABLE, "BREAKER_OPEN", what, one.where, Remedy.NEXT_PROVIDER, retry_after_s=seconds)
            case Limited(name=name, retry_after_s=seconds):
                what = f"was not asked: {name} per minute are used up"
                raise failed(Category.RATE_LIMITED, "LIMIT_REACHED", what, one.where, Remedy.RETRY, retry_after_s=seconds)

    def _ask(self, one: Try, question: Question, inquiry: Inquiry, course: Course) -> Ask:
        """What the upstream is asked, with the time that it has."""
        can_stream = Feature.STREAMING in one.candidate.model.features
        # Silence is noticed in streams only: while somebody else could answer, also those who want the whole are asked for one.
        streaming = inquiry.delivery is not Delivery.WHOLE or (can_stream and not one.last)
        timers, left = one.candidate.waits(self._timers), course.ends_at - self._clock.monotonic()
        if not can_stream and not one.last:
            left *= 1 - _FOR_OTHERS
        return Ask(
            question=question,
            endpoint=one.candidate.endpoint,
            credential=one.credential,
            timers=timers if left >= timers.total_s else replace(timers, total_s=max(0.001, left)),
            streaming=streaming,
        )

    async def _judge(self, one: Try, entered: Entered | None, error: ProviderError, seconds: float, *, counts: bool) -> None:
        """What a failure says about the upstream: silence and breakage count, a no to the question does not."""
        if entered is None:
            return
        failure = error.failure
        if failure.category is Category.TIMEOUT and counts:
            self._pace.note(entered.upstream.name, seconds)
        hurried = (
            failure.reason in {"NO_TIME_LEFT", "TOO_SLOW"} and seconds < one.candidate.waits(self._timers).first_token_s
        )  # the caller's time, not the model's
        if hurried or failure.category in {Category.RATE_LIMITED, Category.BUDGET_EXCEEDED}:
            verdict = Verdict.NEUTRAL
        elif failure.category in _BROKEN or failure.reason in {"MALFORMED_ANSWER", "ANSWER_CUT"}:
            verdict = Verdict.FAILED
        else:
            verdict = Verdict.SUCCEEDED
        await self._gate.report(entered, verdict)


class _Said:
    """What an attempt has said so far, for what it owes when it is given up."""

    def __init__(self, hear: Hear) -> None:
        self._hear = hear
        self._bytes = 0

    async def hear(self, piece: Delta) -> None:
        match piece:
            case TextDelta(text=text) | ReasoningDelta(text=text) | ToolCallDelta(arguments=text):
                self._bytes += len(text.encode())
        await self._hear(piece)

    def usage(self, inquiry: Inquiry) -> Usage:
        return Usage(input_tokens=inquiry.input_tokens, output_tokens=tokens.tokens_of_bytes(self._bytes))


def _end(
    one: Try, inquiry: Inquiry, course: Course, seconds: float, usage: Usage, failure: Failure | None, report: tuple[Conversion, ...] = ()
) -> None:
    """Count the attempt, whatever became of it."""
    course.end(one.number, attempt_of(one.candidate, one.credential.name, seconds, usage, failure, report), one.candidate)
    inquiry.purse.free(one.number)


def is_final(reply: Reply) -> bool:
    """A reply that calls tools is not the answer yet."""
    return not reply.message.tool_calls


def _abandoned(one: Try) -> Failure:
    return Failure(
        category=Category.INTERNAL,
        reason="ABANDONED",
        message=f"{one.where} was left: the caller went away, or somebody else was faster",
        where=one.where,
    )
