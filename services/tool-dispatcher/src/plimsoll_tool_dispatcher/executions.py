"""The calls in flight: each is run to its end, falls back if that is declared, and is recorded. It owns their claims.

A call runs in a task of its own, because the ledger has promised it: when the one who asked goes away, a call that may act is
finished and recorded for whoever asks again under its key. Only a read-only call is stopped.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, Self

from plimsoll_runtime.errors import PlimsollError
from plimsoll_runtime.logs import Log

from plimsoll_tool_dispatcher.attempts import Attempts, Progress, Work
from plimsoll_tool_dispatcher.domain.call import Call, Failed, Outcome, Report, Succeeded
from plimsoll_tool_dispatcher.domain.effects import EffectClass, needs_dispatch_mark
from plimsoll_tool_dispatcher.domain.ledger import Claim, Completed, Finding, KeyTaken, Recorded, StaleEpoch, Unfinished, outcome_unknown
from plimsoll_tool_dispatcher.doubts import Reconciliation
from plimsoll_tool_dispatcher.errors import CallInFlight, CallKeyTaken
from plimsoll_tool_dispatcher.errors import StaleEpoch as StaleEpochError
from plimsoll_tool_dispatcher.fallbacks import Fallbacks
from plimsoll_tool_dispatcher.ports import Outside

_RECORD_PAUSES_S = (0.1, 0.3, 1.0, 2.0, 4.0)
_LAST_WORDS_S = 2.0


class ClaimLost(Exception):
    """Another dispatcher took the call over while this one did not renew its claim."""


class Executions:
    """The calls in flight in this process."""

    def __init__(
        self, outside: Outside, attempts: Attempts, fallbacks: Fallbacks, reconciliation: Reconciliation, *, lease_s: float, log: Log
    ) -> None:
        self._ledger = outside.ledger
        self._clock = outside.clock
        self._ids = outside.ids
        self._pause = outside.pause
        self._attempts = attempts
        self._fallbacks = fallbacks
        self._reconciliation = reconciliation
        self._lease_s = lease_s
        self._log = log
        self._tasks = asyncio.TaskGroup()
        self._in_flight: dict[Claim, asyncio.Task[Any]] = {}
        self._unreserved: dict[tuple[str, str], asyncio.Task[Any]] = {}
        self._none_left = asyncio.Event()
        self._none_left.set()

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Cut off what is still in flight: `keep_alive` has given it time to end."""
        for task in (*self._in_flight.values(), *self._unreserved.values()):
            task.cancel()
        await self._tasks.__aexit__(kind, error, trace)

    async def run(self, work: Work) -> Report:
        """Run the call and record how it ended. Begin it before anything else is awaited: the claim is alive only from then on."""
        if work.tool.effect is EffectClass.READ_ONLY:
            return await self._run_here(work)
        answer: asyncio.Future[Report] = asyncio.get_running_loop().create_future()
        task = self._tasks.create_task(self._run_to_its_end(work, answer), name=f"call {work.claim.call_id}")
        self._begin(work.claim, task)
        task.add_done_callback(lambda _: self._landed(work.claim, answer))  # also when it is cancelled before its first step
        return await asyncio.shield(answer)

    def unreserved(self, call: Call) -> "asyncio.Task[Any] | None":
        """Who runs this call here just now without having reserved it."""
        return self._unreserved.get((call.tenant, call.key))

    @contextmanager
    def without_reservation(self, call: Call) -> Iterator[None]:
        """The present task looks the call up and runs it; ask first that no other does."""
        task = asyncio.current_task()
        assert task is not None
        self._unreserved[call.tenant, call.key] = task
        self._none_left.clear()
        try:
            yield
        finally:
            del self._unreserved[call.tenant, call.key]
            self._note_end()

    async def read(self, work: Work) -> Report:
        """Run a call that needed no reservation, inside `without_reservation`. It ends with the task of the one who asks."""
        return await self._execute(work)

    async def _run_here(self, work: Work) -> Report:
        """In the task of the one who asks: the call ends with it, and saves a task of its own."""
        task = asyncio.current_task()
        assert task is not None
        self._begin(work.claim, task)
        try:
            return await self._execute(work)
        finally:
            self._ended(work.claim)

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

    def _begin(self, claim: Claim, task: "asyncio.Task[Any]") -> None:
        self._in_flight[claim] = task
        self._none_left.clear()

    def _ended(self, claim: Claim) -> None:
        self._in_flight.pop(claim, None)
        self._note_end()

    def _note_end(self) -> None:
        if not self._in_flight and not self._unreserved:
            self._none_left.set()

    def _landed(self, claim: Claim, answer: "asyncio.Future[Report]") -> None:
        answer.cancel()  # without effect where there is one
        self._ended(claim)

    async def _execute(self, work: Work) -> Report:
        progress = Progress(self._clock.now(), self._clock.monotonic())
        try:
            outcome = await self._attempts.run(work, progress, self._mark, self._find_out)
            if isinstance(outcome, Failed):
                outcome = await self._fallbacks.instead(work, outcome, progress, self._mark)
            else:
                await self._fallbacks.remember(work, outcome)
        except asyncio.CancelledError:
            await self._last_words(work, progress)
            raise
        except ClaimLost:
            return await self._what_became_of(work)
        completed = self._completed(work, progress, outcome)
        if isinstance(outcome, Failed) and (outcome.unsettled or not progress.sent):
            await self._record_released(work, completed)
        elif not await self._record(work, outcome, completed):
            return await self._what_became_of(work)
        return Report(outcome=outcome, call_id=work.claim.call_id, attempts=progress.attempts, duration_s=completed.duration_s)

    async def _mark(self, work: Work, progress: Progress) -> None:
        """Write down that the call is about to be sent, where that will matter. Raises ClaimLost."""
        if needs_dispatch_mark(work.tool.effect) and not progress.marked:
            if not await self._ledger.mark_dispatched(work.claim, self._lease_s):
                raise ClaimLost
            progress.marked = True

    async def _find_out(self, work: Work) -> Finding | None:
        return await self._reconciliation.ask(work.tool, work.call, work.admitted.proposal.effective_arguments)

    def _completed(self, work: Work, progress: Progress, outcome: Outcome) -> Completed:
        grant = work.admitted.grant
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
            grant_id=grant.id if grant else "",
            effect=work.tool.effect,
            call_digest=work.admitted.proposal.call_digest,
            policy=work.admitted.ruling.policy,
            rules=work.admitted.ruling.rules,
            approved_by=tuple(sorted(grant.approvers)) if grant else (),
            degraded=outcome.degraded.by if isinstance(outcome, Succeeded) and outcome.degraded else "",
        )

    async def _record(self, work: Work, outcome: Outcome, completed: Completed) -> bool:
        """Write down what happened; a database that is away for a moment must not turn a known outcome into an unknown one."""
        for pause_s in _RECORD_PAUSES_S:
            try:
                return await self._settled(work, outcome, completed)
            except PlimsollError as error:
                if not error.retryable:
                    raise
                self._log.warning("call.not_recorded_yet", {"call_id": work.claim.call_id, "reason": error.reason})
            await self._pause(pause_s)
        return await self._settled(work, outcome, completed)

    async def _settled(self, work: Work, outcome: Outcome, completed: Completed) -> bool:
        if work.unreserved is not None:
            return await self._ledger.record(work.unreserved, outcome, completed)
        return await self._ledger.settle(work.claim, outcome, completed)

    async def _record_released(self, work: Work, completed: Completed) -> None:
        try:
            if work.unreserved is not None:
                await self._ledger.announce(completed)
            else:
                await self._ledger.release(work.claim, completed)
        except PlimsollError as error:  # the lease runs out by itself
            self._log.warning("call.not_released", {"call_id": work.claim.call_id, "reason": error.reason})

    async def _last_words(self, work: Work, progress: Progress) -> None:
        """The call was cut off in the middle: leave the ledger in the state that the effect table wants."""
        if work.unreserved is not None:
            return
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
        """The call is another's by now: what counts is what that one recorded."""
        self._log.warning("call.claim_lost", {"call_id": work.claim.call_id, "tool": work.tool.name})
        match found := await self._ledger.find(work.call):
            case Recorded():
                return recorded(found)
            case StaleEpoch() | KeyTaken():
                raise forbidden(found)
        raise CallInFlight(retry_after_s=1.0)


def recorded(entry: Recorded) -> Report:
    """The answer to a repeat."""
    return Report(outcome=entry.outcome, call_id=entry.call_id, recorded=True, attempts=entry.attempts, duration_s=entry.duration_s)


def forbidden(found: StaleEpoch | KeyTaken) -> PlimsollError:
    """Why the call must not be told anything."""
    match found:
        case StaleEpoch(highest=highest):
            return StaleEpochError(f"a claim with epoch {highest} acts for this run", remedy="drop the run; its new owner goes on")
        case KeyTaken():
            return CallKeyTaken(remedy="use a fresh call key for a new request")
