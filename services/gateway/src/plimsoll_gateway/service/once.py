"""Requests that are made once however often they are sent: the same idempotency key and request get the same answer for a day.

What was refused was not done, so a refusal frees its key and the next repeat is judged anew. A gateway that dies between doing and
recording lets go of the key after some seconds; the repeat then goes to the service behind once more, all of whose writes may be repeated.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass

from plimsoll_runtime import logs
from plimsoll_runtime.deadline import budget_s
from plimsoll_runtime.errors import Conflict, PlimsollError, Unavailable, unwrap
from plimsoll_runtime.ids import Ids

from plimsoll_gateway.domain.repeat import RequestKey
from plimsoll_gateway.errors import RequestKeyReused, RequestUnderWay
from plimsoll_gateway.ports import Answered, Begun, OtherRequest, RequestLedger, UnderWay

LEASE_S = 6.0
_HOLD_S = 2.0
_WAIT_S = 10.0  # for an attempt under way, before the repeat is told to come again
_LOOK_S = 0.05
_LOOK_MOST_S = 0.5
_SWEEP_S = 60.0
_REUSED = "IDEMPOTENCY_KEY_REUSED"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer, and whether it is one that was given before."""

    answer: bytes
    replayed: bool


class Once:
    def __init__(self, ledger: RequestLedger, ids: Ids, log: logs.Log) -> None:
        self._ledger = ledger
        self._ids = ids
        self._log = log

    async def do(self, key: RequestKey, work: Callable[[], Awaitable[bytes]]) -> Outcome:
        """Do the work, or give the answer it had. Raises RequestKeyReused, RequestUnderWay, Unavailable without the database, and what
        the work raises."""
        attempt = self._ids.new("req")
        match await self._begin(key, attempt):
            case Answered(answer):
                return Outcome(key.opened(answer), replayed=True)
            case OtherRequest():
                raise RequestKeyReused
            case UnderWay():
                raise RequestUnderWay
            case Begun():
                return Outcome(await self._work(key, attempt, work), replayed=False)

    async def keep_house(self, stop: asyncio.Event) -> None:
        """Forget what is older than a day."""
        while not stop.is_set():
            try:
                while await self._ledger.forget_old():
                    pass
            except PlimsollError as error:
                self._log.warning("requests.not_forgotten", {"reason": error.reason})
            with suppress(TimeoutError):
                async with asyncio.timeout(_SWEEP_S):
                    await stop.wait()

    async def _begin(self, key: RequestKey, attempt: str) -> Answered | OtherRequest | UnderWay | Begun:
        pause = _LOOK_S
        with suppress(TimeoutError):
            async with asyncio.timeout(budget_s(_WAIT_S)):
                while True:
                    beginning = await self._ledger.begin(key, attempt, LEASE_S)
                    if not isinstance(beginning, UnderWay):
                        return beginning
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, _LOOK_MOST_S)
        return UnderWay()

    async def _work(self, key: RequestKey, attempt: str, work: Callable[[], Awaitable[bytes]]) -> bytes:
        try:
            async with self._held(key, attempt):
                answer = await work()
        except BaseException:  # also when the client leaves: what it asked was cancelled all the way down, or may be repeated
            with suppress(Unavailable):
                await self._ledger.let_go(key, attempt)
            raise
        try:
            await self._ledger.answer(key, attempt, key.sealed(answer))
        except Unavailable as error:  # it is done, and said so; a repeat is done again, as after a crash
            self._log.warning("requests.not_recorded", {"reason": error.reason})
        return answer

    @asynccontextmanager
    async def _held(self, key: RequestKey, attempt: str) -> AsyncIterator[None]:
        try:
            async with asyncio.TaskGroup() as group:
                holding = group.create_task(self._hold(key, attempt))
                try:
                    yield
                finally:
                    holding.cancel()
        except BaseExceptionGroup as errors:
            raise unwrap(errors) from errors

    async def _hold(self, key: RequestKey, attempt: str) -> None:
        while True:
            await asyncio.sleep(_HOLD_S)
            with suppress(PlimsollError):  # then it runs out, and a repeat may be made beside this one: so may every repeat after a crash
                await self._ledger.hold(key, attempt, LEASE_S)


@contextmanager
def telling_reuse() -> Iterator[None]:
    """The refusal of a service behind that keeps keys of its own, as ours."""
    try:
        yield
    except Conflict as error:
        if error.reason == _REUSED:
            raise RequestKeyReused from error
        raise
