"""The attempts of one call at one tool: limits and breaker, bulkhead, execute, check the result, and again if that is safe and wise."""

import asyncio
import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime

from opentelemetry.trace import SpanKind
from plimsoll_runtime import telemetry
from plimsoll_runtime.breaker import BreakerPolicy, Open, Verdict
from plimsoll_runtime.clock import Clock
from plimsoll_runtime.deadline import remaining_s
from plimsoll_runtime.failures import Category, Failure
from plimsoll_runtime.guard import Entered, Upstream
from plimsoll_runtime.limiter import Limit, Limited
from plimsoll_runtime.retry import RetryBudget, RetryPolicy

from plimsoll_tool_dispatcher.bulkhead import Bulkheads, Full
from plimsoll_tool_dispatcher.domain.admission import Admitted
from plimsoll_tool_dispatcher.domain.answer import checked
from plimsoll_tool_dispatcher.domain.call import Call, Failed, Outcome
from plimsoll_tool_dispatcher.domain.effects import EffectClass, Mishap, Move, move_after
from plimsoll_tool_dispatcher.domain.execution import Answered, Attempt, Invocation, Stopped
from plimsoll_tool_dispatcher.domain.ledger import Acted, Claim, Finding, Reservation, outcome_unknown
from plimsoll_tool_dispatcher.domain.tool import Tool
from plimsoll_tool_dispatcher.ports import Draw, Executor, Gate, Pause

AT_ONCE_CHARS = 64 * 1024
"""JSON longer than this is worked on in a thread, so that calls with little of it do not wait for it."""

_MARGIN_S = 0.25  # left of the caller's deadline for recording and answering
_LEAST_S = 0.01  # less time than this is none
_STALE_S = 0.25  # a call that waited longer for its slot asks the breaker again
_PROBE_MARGIN_S = 5.0
_MOST_BUDGETS = 10_000
_FAULTS = frozenset({Category.TIMEOUT, Category.UPSTREAM_UNAVAILABLE, Category.MALFORMED_RESULT, Category.TOOL_ERROR})


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A call that may run now. `unreserved` is what would have been reserved, of a call that needed no reservation: its claim holds nothing."""

    call: Call
    admitted: Admitted
    claim: Claim
    unreserved: Reservation | None = None

    @property
    def tool(self) -> Tool:
        return self.admitted.tool


@dataclass(slots=True)
class Progress:
    """How far a call has come."""

    started_at: datetime
    started: float
    attempts: int = 0
    marked: bool = False  # as dispatched, in the ledger
    sent: bool = False


BeforeSent = Callable[[Work, Progress], Awaitable[None]]
"""What has to be written down before an attempt is sent; raises when the call is another's by now."""

FindOut = Callable[[Work], Awaitable[Finding | None]]
"""Asks the upstream what became of a call with an unknown outcome; None when it cannot say."""


class Attempts:
    """Everything that stands between an admitted call and its tool."""

    def __init__(self, *, executor: Executor, gate: Gate, clock: Clock, pause: Pause, draw: Draw) -> None:
        self._executor = executor
        self._gate = gate
        self._clock = clock
        self._pause = pause
        self._draw = draw
        self._bulkheads = Bulkheads()
        self._budgets: OrderedDict[str, RetryBudget] = OrderedDict()

    async def run(self, work: Work, progress: Progress, before_sent: BeforeSent, find_out: FindOut) -> Outcome:
        """Attempt until there is a definite answer, or no more attempt is allowed."""
        retry = RetryPolicy(attempts=work.tool.retry.attempts, first_s=work.tool.retry.backoff_s)
        budget = self._budget(work.tool.burdens)
        budget.note_call()
        made = 0
        while True:
            made += 1
            progress.attempts += 1
            attempt = await self._attempt(work, progress, before_sent)
            if isinstance(attempt, Outcome):
                return attempt
            if attempt.mishap is None:
                return Failed(failure=attempt.failure)
            if move_after(attempt.mishap, work.tool.effect) is Move.UNKNOWN:
                match await find_out(work):
                    case Acted(result=result):
                        return await _checked(work, Answered(result=result))
                    case None:
                        message = f"{attempt.failure.message}; it may have acted"
                        return Failed(failure=outcome_unknown(work.tool.name, attempt.failure.reason, message))
            pause_s = retry.pause_s(made, left_s=deadline_left_s(), draw=self._draw, asked_s=attempt.failure.retry_after_s)
            if pause_s is None or (attempt.mishap is not Mishap.REFUSED and not budget.allows_retry()):
                return Failed(failure=replace(attempt.failure, retryable=True), unsettled=work.tool.effect is EffectClass.KEYED)
            await self._pause(pause_s)

    async def once(self, tool: Tool, invocation: Invocation, token: str) -> Attempt:
        """One attempt outside of any call: nothing is recorded, retried or checked."""
        decision = await self._gate.enter(_upstream(tool, invocation.tenant), token)
        if not isinstance(decision, Entered):
            return refused(tool, decision)
        verdict = Verdict.NEUTRAL
        try:
            async with self._bulkheads.slot(tool.digest, tool.concurrency, invocation.timeout_s):
                attempt = await self._executor.execute(tool, invocation)
                verdict = verdict_of(attempt.failure) if isinstance(attempt, Stopped) else Verdict.SUCCEEDED
        except Full:
            return _busy(tool)
        finally:
            await self._gate.report(decision, verdict)
        return attempt

    async def _attempt(self, work: Work, progress: Progress, before_sent: BeforeSent) -> Outcome | Stopped:
        """Limits and breaker, then a slot, then the tool; what became of it is told to the breaker, whatever happens."""
        tool, token = work.tool, f"{work.claim.call_id}:{work.claim.fence}:{progress.attempts}"
        decision = await self._gate.enter(_upstream(tool, work.call.tenant), token)
        if not isinstance(decision, Entered):
            return refused(tool, decision)
        entered, verdict, asked_at = decision, Verdict.NEUTRAL, self._clock.monotonic()
        try:
            async with self._bulkheads.slot(tool.digest, tool.concurrency, max(0.0, _time_left_s(tool))):
                if self._clock.monotonic() - asked_at > _STALE_S and not entered.probe:
                    again = await self._gate.enter(Upstream(name=tool.burdens, policy=_policy(tool)), token)
                    if not isinstance(again, Entered):
                        return refused(tool, again)
                    entered = again
                timeout_s = _time_left_s(tool)
                if timeout_s < _LEAST_S:
                    return _no_time_left(tool)
                await before_sent(work, progress)
                attempt = await self._sent(work, timeout_s)
            progress.sent = progress.sent or not (isinstance(attempt, Stopped) and attempt.mishap is Mishap.REFUSED)
            if isinstance(attempt, Stopped):
                verdict = verdict_of(attempt.failure)
                return attempt
            outcome = await _checked(work, attempt)
            verdict = Verdict.FAILED if isinstance(outcome, Failed) else Verdict.SUCCEEDED
            return outcome
        except Full:
            return _busy(tool)
        finally:
            await self._gate.report(entered, verdict)

    async def _sent(self, work: Work, timeout_s: float) -> Attempt:
        invocation = Invocation(
            tenant=work.call.tenant,
            call_key=work.call.key,
            arguments=work.admitted.proposal.effective_arguments,
            timeout_s=timeout_s,
            credentials=work.admitted.secrets.values,
            run_id=work.call.work.run_id,
        )
        with telemetry.span(f"execute_tool {work.tool.name}", SpanKind.INTERNAL, attributes=_span_attributes(work)):
            return await self._executor.execute(work.tool, invocation)

    def _budget(self, upstream: str) -> RetryBudget:
        budget = self._budgets.get(upstream)
        if budget is None:
            budget = self._budgets[upstream] = RetryBudget(self._clock)
            if len(self._budgets) > _MOST_BUDGETS:
                self._budgets.popitem(last=False)
        return budget


def verdict_of(failure: Failure) -> Verdict:
    """What a failure says about the upstream: a fault of its own, a sign of life, or nothing at all."""
    if failure.category in _FAULTS:
        return Verdict.FAILED
    return Verdict.SUCCEEDED if failure.category is Category.UPSTREAM_REJECTED else Verdict.NEUTRAL


def refused(tool: Tool, decision: Limited | Open) -> Stopped:
    """A call that was not sent, with the time at which it makes sense to come back."""
    if isinstance(decision, Limited):
        category, reason, message = Category.RATE_LIMITED, "RATE_LIMITED", f"the limit {decision.name} of {tool.burdens} is reached"
    else:
        category, reason, message = Category.UPSTREAM_UNAVAILABLE, "BREAKER_OPEN", f"{tool.burdens} failed too often and is left alone"
    failure = Failure(
        category=category, reason=reason, message=message, retryable=True, retry_after_s=decision.retry_after_s, where=tool.name
    )
    return Stopped(failure=failure, mishap=Mishap.REFUSED)


def deadline_left_s() -> float:
    """What the caller's deadline leaves once the time to record and answer is taken off."""
    left = remaining_s()
    return math.inf if left is None else left - min(_MARGIN_S, left / 10)


async def _checked(work: Work, answer: Answered) -> Outcome:
    if answer.size > AT_ONCE_CHARS:
        return await asyncio.to_thread(checked, work.tool, answer, work.admitted.secrets)
    return checked(work.tool, answer, work.admitted.secrets)


def _upstream(tool: Tool, tenant: str) -> Upstream:
    """All tenants share the breaker; each has a limit of its own beside the common one."""
    rates = tool.rates
    limits = ((Limit(name="all", rate=rates.all),) if rates.all else ()) + (
        (Limit(name=f"tenant:{tenant}", rate=rates.tenant),) if rates.tenant else ()
    )
    return Upstream(name=tool.burdens, limits=limits, policy=_policy(tool))


def _policy(tool: Tool) -> BreakerPolicy:
    return BreakerPolicy(probe_s=tool.timeout_s + _PROBE_MARGIN_S)


def _time_left_s(tool: Tool) -> float:
    """What one attempt may take: the tool's own limit or what the caller's deadline leaves."""
    return min(tool.timeout_s, deadline_left_s())


def _span_attributes(work: Work) -> dict[str, str | int | float | bool]:
    """After the GenAI conventions of OpenTelemetry."""
    return {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": work.tool.name,
        "gen_ai.tool.call.id": work.claim.call_id,
        "plimsoll.tool.digest": work.tool.digest,
    }


def _busy(tool: Tool) -> Stopped:
    failure = Failure(
        category=Category.RATE_LIMITED,
        reason="TOOL_BUSY",
        message=f"{tool.concurrency} calls of this tool are running and too many wait",
        retryable=True,
        where=tool.name,
    )
    return Stopped(failure=failure, mishap=Mishap.REFUSED)


def _no_time_left(tool: Tool) -> Stopped:
    failure = Failure(
        category=Category.TIMEOUT,
        reason="NO_TIME_LEFT",
        message="the caller's deadline left no time to begin",
        retryable=True,
        where=tool.name,
    )
    return Stopped(failure=failure, mishap=Mishap.REFUSED)
