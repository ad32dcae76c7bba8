"""The second half of the pipeline: bulkhead, execute, check the result, retry, record. It owns the calls in flight.

A call runs in a task of its own, because the ledger has promised it: when the one who asked goes away, a call that may act is
finished and recorded for whoever asks again under its key. Only a read-only call is stopped.
"""

import asyncio
import math
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from types import TracebackType
from typing import Self

from opentelemetry.trace import SpanKind
from plimsoll_runtime import telemetry
from plimsoll_runtime.clock import Clock
from plimsoll_runtime.deadline import remaining_s
from plimsoll_runtime.errors import PlimsollError
from plimsoll_runtime.failures import Category, Failure
from plimsoll_runtime.ids import Ids
from plimsoll_runtime.logs import Log

from plimsoll_tool_dispatcher.bulkhead import Bulkheads, Full
from plimsoll_tool_dispatcher.domain.admission import Admitted, told
from plimsoll_tool_dispatcher.domain.call import Call, Failed, Outcome, Report, Succeeded
from plimsoll_tool_dispatcher.domain.effects import EffectClass, Mishap, Move, move_after, needs_dispatch_mark
from plimsoll_tool_dispatcher.domain.execution import Answered, Attempt, Invocation, Stopped
from plimsoll_tool_dispatcher.domain.ledger import Claim, Completed, Recorded, Unfinished, outcome_unknown
from plimsoll_tool_dispatcher.domain.tool import Tool
from plimsoll_tool_dispatcher.errors import CallInFlight
from plimsoll_tool_dispatcher.ports import CallLedger, Draw, Executor, Pause

AT_ONCE_CHARS = 64 * 1024
"""JSON longer than this is worked on in a thread, so that calls with little of it do not wait for it."""

_MAX_BACKOFF_S = 10.0
_MAX_RETRY_AFTER_S = 30.0
_MARGIN_S = 0.25  # left of the caller's deadline for recording and answering
_LEAST_S = 0.01  # less time than this is none
_RECORD_PAUSES_S = (0.1, 0.3, 1.0, 2.0, 4.0)
_LAST_WORDS_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A call that may run now."""

    call: Call
    admitted: Admitted
    claim: Claim

    @property
    def tool(self) -> Tool:
        return self.admitted.tool


@dataclass(slots=True)
class _Progress:
    """How far a call has come."""

    started_at: datetime
    started: float
    attempts: int = 0
    marked: bool = False  # as dispatched, in the ledger
    sent: bool = False


class ClaimLost(Exception):
    """Another dispatcher took the call over while this one did not renew its claim."""


class Executions:
    """The calls in flight in this process."""

    def __init__(
        self, *, ledger: CallLedger, executor: Executor, clock: Clock, ids: Ids, pause: Pause, draw: Draw, lease_s: float, log: Log
    ) -> None:
        self._ledger = ledger
        self._executor = executor
        self._clock = clock
        self._ids = ids
        self._pause = pause
        self._draw = draw
        self._lease_s = lease_s
        self._log = log
        self._bulkheads = Bulkheads()
        self._tasks = asyncio.TaskGroup()
        self._in_flight: dict[Claim, asyncio.Task[None]] = {}
        self._none_left = asyncio.Event()
        self._none_left.set()

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Cut off what is still in flight: `keep_alive` has given it time to end."""
        for task in self._in_flight.values():
            task.cancel()
        await self._tasks.__aexit__(kind, error, trace)

    async def run(self, work: Work) -> Report:
        """Run the call and record how it ended. Begin it before anything else is awaited: the claim is alive only from then on."""
        answer: asyncio.Future[Report] = asyncio.get_running_loop().create_future()
        task = self._tasks.create_task(self._run_to_its_end(work, answer), name=f"call {work.claim.call_id}")
        self._in_flight[work.claim] = task
        self._none_left.clear()
        task.add_done_callback(lambda _: self._landed(work.claim, answer))  # also when it is cancelled before its first step
        try:
            return await asyncio.shield(answer)
        except asyncio.CancelledError:
            if work.tool.effect is EffectClass.READ_ONLY:
                task.cancel()
            raise

    async def ended(self, entry: Unfinished, within_s: float) -> None:
        """Wait until a call has ended here, or for `within_s` when it runs elsewhere."""
        task = self._in_flight.get(entry.claim)
        if task is None:
            await self._pause(within_s)
        else:
            await asyncio.wait([task], timeout=within_s)

    async def keep_alive(self, stop: asyncio.Event) -> None:
        """Renew the claims of all calls in flight, until `stop` and then until none is left."""
        while not (stop.is_set() and self._none_left.is_set()):
            claims = list(self._in_flight)
            if claims:
                try:
                    await self._ledger.renew(claims, self._lease_s)
                except PlimsollError as error:
                    self._log.warning("calls.not_renewed", {"reason": error.reason, "calls": len(claims)})
            with suppress(TimeoutError):
                async with asyncio.timeout(self._lease_s / 4):
                    await (self._none_left if stop.is_set() else stop).wait()

    async def _run_to_its_end(self, work: Work, answer: "asyncio.Future[Report]") -> None:
        """Never raises: an error here would end the calls of all others with it."""
        try:
            report = await self._execute(work)
            if not answer.done():
                answer.set_result(report)
        except Exception as error:  # noqa: BLE001 - the supervisor of all calls: the one who asked gets the error
            if not isinstance(error, PlimsollError):
                self._log.error("call.broken", {"call_id": work.claim.call_id, "tool": work.tool.name}, error=error)
            if not answer.done():
                answer.set_exception(error)
                answer.exception()  # read, in case nobody asks any more

    def _landed(self, claim: Claim, answer: "asyncio.Future[Report]") -> None:
        answer.cancel()  # without effect where there is one
        self._in_flight.pop(claim, None)
        if not self._in_flight:
            self._none_left.set()

    async def _execute(self, work: Work) -> Report:
        progress = _Progress(self._clock.now(), self._clock.monotonic())
        try:
            outcome = await self._attempts(work, progress)
        except asyncio.CancelledError:
            await self._last_words(work, progress)
            raise
        except ClaimLost:
            return await self._what_became_of(work)
        completed = self._completed(work, progress, outcome)
        if isinstance(outcome, Failed) and not progress.sent:
            await self._record_released(work, completed)
        elif not await self._record(work, outcome, completed):
            return await self._what_became_of(work)
        return Report(outcome=outcome, call_id=work.claim.call_id, attempts=progress.attempts, duration_s=completed.duration_s)

    async def _attempts(self, work: Work, progress: _Progress) -> Outcome:
        retry = work.tool.retry
        while True:
            progress.attempts += 1
            attempt = await self._attempt(work, progress)
            if isinstance(attempt, Answered):
                large = attempt.size > AT_ONCE_CHARS
                return await asyncio.to_thread(_checked, work.tool, attempt) if large else _checked(work.tool, attempt)
            if attempt.mishap is None:
                return Failed(failure=attempt.failure)
            if move_after(attempt.mishap, work.tool.effect) is Move.UNKNOWN:
                return Failed(
                    failure=outcome_unknown(work.tool.name, attempt.failure.reason, f"{attempt.failure.message}; it may have acted")
                )
            pause_s = self._backoff_s(progress.attempts, retry.backoff_s, attempt.failure.retry_after_s)
            if progress.attempts >= retry.attempts or pause_s > _deadline_left_s():
                return Failed(failure=replace(attempt.failure, retryable=True))
            await self._pause(pause_s)

    async def _attempt(self, work: Work, progress: _Progress) -> Attempt:
        tool = work.tool
        try:
            async with self._bulkheads.slot(tool.digest, tool.concurrency, max(0.0, self._time_left_s(tool))):
                timeout_s = self._time_left_s(tool)
                if timeout_s < _LEAST_S:
                    return _no_time_left(tool)
                if needs_dispatch_mark(tool.effect) and not progress.marked:
                    if not await self._ledger.mark_dispatched(work.claim, self._lease_s):
                        raise ClaimLost
                    progress.marked = True
                invocation = Invocation(
                    tenant=work.call.tenant,
                    call_key=work.call.key,
                    arguments=work.admitted.proposal.effective_arguments,
                    timeout_s=timeout_s,
                )
                with telemetry.span(f"execute_tool {tool.name}", SpanKind.INTERNAL, attributes=_span_attributes(work)):
                    attempt = await self._executor.execute(tool, invocation)
        except Full:
            return _busy(tool)
        progress.sent = progress.sent or not (isinstance(attempt, Stopped) and attempt.mishap is Mishap.REFUSED)
        return attempt

    def _time_left_s(self, tool: Tool) -> float:
        """What one attempt may take: the tool's own limit or what the caller's deadline leaves."""
        return min(tool.timeout_s, _deadline_left_s())

    def _backoff_s(self, attempts: int, base_s: float, retry_after_s: float | None) -> float:
        """Exponential with full jitter, never sooner than the upstream asked for, and never longer than we are willing to wait."""
        drawn = self._draw() * min(_MAX_BACKOFF_S, base_s * 2.0 ** (attempts - 1))
        return drawn + min(_MAX_RETRY_AFTER_S, max(0.0, retry_after_s or 0.0))

    def _completed(self, work: Work, progress: _Progress, outcome: Outcome) -> Completed:
        return Completed(
            event_id=self._ids.new("evt"),
            tenant=work.call.tenant,
            call_id=work.claim.call_id,
            call_key=work.call.key,
            work=work.call.work,
            tool=work.tool.name,
            tool_digest=work.tool.digest,
            started_at=progress.started_at,
            duration_s=self._clock.monotonic() - progress.started,
            attempts=progress.attempts,
            failure=outcome.failure if isinstance(outcome, Failed) else None,
            grant_id=work.admitted.grant.id if work.admitted.grant else "",
        )

    async def _record(self, work: Work, outcome: Outcome, completed: Completed) -> bool:
        """Write down what happened; a database that is away for a moment must not turn a known outcome into an unknown one."""
        for pause_s in _RECORD_PAUSES_S:
            try:
                return await self._ledger.settle(work.claim, outcome, completed)
            except PlimsollError as error:
                if not error.retryable:
                    raise
                self._log.warning("call.not_recorded_yet", {"call_id": work.claim.call_id, "reason": error.reason})
            await self._pause(pause_s)
        return await self._ledger.settle(work.claim, outcome, completed)

    async def _record_released(self, work: Work, completed: Completed | None) -> None:
        try:
            await self._ledger.release(work.claim, completed)
        except PlimsollError as error:  # the lease runs out by itself
            self._log.warning("call.not_released", {"call_id": work.claim.call_id, "reason": error.reason})

    async def _last_words(self, work: Work, progress: _Progress) -> None:
        """The call was cut off in the middle: leave the ledger in the state that the effect table wants."""
        with suppress(TimeoutError, PlimsollError):
            async with asyncio.timeout(_LAST_WORDS_S):
                if progress.marked:
                    outcome = Failed(
                        failure=outcome_unknown(work.tool.name, "CUT_OFF", "the call was cut off while in flight; it may have acted")
                    )
                    await self._ledger.settle(work.claim, outcome, self._completed(work, progress, outcome))
                else:
                    await self._ledger.release(work.claim, None)

    async def _what_became_of(self, work: Work) -> Report:
        """The claim is lost: what counts is what its new owner recorded."""
        self._log.warning("call.claim_lost", {"call_id": work.claim.call_id, "tool": work.tool.name})
        found = await self._ledger.find(work.call)
        if isinstance(found, Recorded):
            return recorded(found)
        raise CallInFlight(retry_after_s=1.0)


def _span_attributes(work: Work) -> dict[str, str | int | float | bool]:
    """After the GenAI conventions of OpenTelemetry."""
    return {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": work.tool.name,
        "gen_ai.tool.call.id": work.claim.call_id,
        "plimsoll.tool.digest": work.tool.digest,
    }


def _deadline_left_s() -> float:
    """What the caller's deadline leaves once the time to record and answer is taken off."""
    left = remaining_s()
    return math.inf if left is None else left - min(_MARGIN_S, left / 10)


def recorded(entry: Recorded) -> Report:
    """The answer to a repeat."""
    return Report(outcome=entry.outcome, call_id=entry.call_id, recorded=True, attempts=entry.attempts, duration_s=entry.duration_s)


def _checked(tool: Tool, answer: Answered) -> Outcome:
    problems = tool.result.problems(answer.result, "result")
    if not problems:
        return Succeeded(result=answer.result)
    failure = Failure(category=Category.MALFORMED_RESULT, reason="RESULT_BREAKS_SCHEMA", message=told(problems), where=tool.name)
    return Failed(failure=failure)


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
