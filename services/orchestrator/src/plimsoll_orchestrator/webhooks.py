"""The courier: tells webhooks that runs ended, again and again until they take it or all tries are used up.

At least once: who dies between sending and recording sends again, under the same id. A receiver that is slow or broken has few messages
under way, and only they wait for it.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Callable

from plimsoll_runtime import logs
from plimsoll_runtime.clock import Clock
from plimsoll_runtime.errors import PlimsollError
from plimsoll_runtime.retry import Backoff

from plimsoll_orchestrator.domain.webhook import DeliveryStatus, body_of, headers_of, pause_s
from plimsoll_orchestrator.ports.webhooks import Answer, DueDeliveries, Outcome, Parcel, WebhookReceivers

_AT_ONCE = 128
_POLL_S = 1.0
_GONE = 410


class Courier:
    def __init__(
        self,
        store: DueDeliveries,
        receivers: WebhookReceivers,
        clock: Clock,
        log: logs.Log,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._store = store
        self._receivers = receivers
        self._clock = clock
        self._log = log
        self._draw = draw
        self._busy: Counter[tuple[str, str]] = Counter()
        self._freed = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        """Deliver what is due until `stop`, whatever happens to the database meanwhile; then finish what is under way."""
        backoff = Backoff(_POLL_S, 30.0)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._wake_at(stop))
            while not stop.is_set():
                try:
                    taken = await self.take(group)
                    backoff.reset()
                except PlimsollError as error:
                    self._log.warning("webhooks.waiting", {"reason": error.reason})
                    await backoff.pause(stop)
                    continue
                if not taken:
                    await self._rest()

    async def take(self, group: asyncio.TaskGroup) -> int:
        """Begin to deliver what is due and there is room for; returns how many messages there were."""
        self._freed.clear()
        free = _AT_ONCE - self._busy.total()
        if free <= 0:
            return 0
        parcels = await self._store.claim(free, self._busy)
        for parcel in parcels:
            self._busy[parcel.tenant, parcel.webhook] += 1
            group.create_task(self._deliver(parcel))
        return len(parcels)

    async def _deliver(self, parcel: Parcel) -> None:
        place = (parcel.tenant, parcel.webhook)
        fields: dict[str, logs.Field] = {"tenant": parcel.tenant, "webhook": parcel.webhook, "delivery": parcel.delivery_id}
        with logs.bound(fields):
            try:
                outcome = await self._try(parcel)
                await self._store.record(parcel, outcome)
                self._log.info("webhook.tried", {"try": parcel.tries, "status": outcome.status.value, "result": outcome.result})
            except PlimsollError as error:  # of the store: its hold ends, and it is sent again
                self._log.warning("webhook.unrecorded", {"reason": error.reason})
            except Exception as error:  # noqa: BLE001 - one message must not stop the others; its hold ends and shows it
                self._log.error("webhook.broken", error=error)
            finally:
                self._busy[place] -= 1
                self._busy += Counter()  # forgets those with none
                self._freed.set()

    async def _try(self, parcel: Parcel) -> Outcome:
        if parcel.ended is None:
            return Outcome(status=DeliveryStatus.DEAD, result="the run is no longer kept, or its end cannot be read")
        body = body_of(parcel.ended)
        headers = headers_of(parcel.delivery_id, self._clock.now(), body, parcel.secrets)
        try:
            answer = await self._receivers.send(parcel.url, headers, body)
        except PlimsollError as error:
            return self._failed(parcel, f"{error.reason}: {error.message}")
        return self._judged(parcel, answer)

    def _judged(self, parcel: Parcel, answer: Answer) -> Outcome:
        result = f"answered {answer.status}"
        if 200 <= answer.status < 300:
            return Outcome(status=DeliveryStatus.DELIVERED, result=result)
        if answer.status == _GONE:
            return Outcome(status=DeliveryStatus.DEAD, result=f"{result}: the webhook is disabled now", gone=True)
        if 300 <= answer.status < 400:
            result += "; redirects are not followed"
        return self._failed(parcel, result, answer.retry_after_s)

    def _failed(self, parcel: Parcel, result: str, asked_s: float | None = None) -> Outcome:
        again_s = pause_s(parcel.tries, self._draw(), asked_s)
        status = DeliveryStatus.DEAD if again_s is None else DeliveryStatus.PENDING
        return Outcome(status=status, result=result[:500], again_s=again_s)

    async def _rest(self) -> None:
        """Until a message is out of the way, which may make room for the next one, or for a while."""
        try:
            async with asyncio.timeout(random.uniform(0.5, 1.0) * _POLL_S):  # noqa: S311 - jitter, so that processes do not look in step
                await self._freed.wait()
        except TimeoutError:
            return

    async def _wake_at(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._freed.set()
