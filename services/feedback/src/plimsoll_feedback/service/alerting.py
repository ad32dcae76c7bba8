"""Tells a webhook of alerts, again and again until it takes them or the tries are used up."""

from collections.abc import Mapping
from typing import Final, Protocol

from plimsoll_runtime.clock import Clock
from plimsoll_runtime.errors import PlimsollError
from plimsoll_runtime.logs import Log
from plimsoll_runtime.settings import Secret

from plimsoll_feedback.domain.alert_message import body_of, headers_of, pause_s
from plimsoll_feedback.ports.monitors import Delivery, MonitorStore

_BATCH: Final = 10
_LEASE_S: Final = 60.0


class Receiver(Protocol):
    """Where alerts are told."""

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        """The status of the answer. Raises PlimsollError when there is none."""
        ...


class Alerting:
    """Delivers; every alert is tried a bounded number of times, and what was given up is told in the log."""

    def __init__(self, store: MonitorStore, receiver: Receiver, clock: Clock, log: Log, *, url: str, secret: Secret) -> None:
        self._store = store
        self._receiver = receiver
        self._clock = clock
        self._log = log
        self._url = url
        self._secret = secret

    async def deliver(self) -> bool:
        """Deliver what is due; False when nothing was."""
        due = await self._store.due(_BATCH, _LEASE_S)
        for delivery in due:
            await self._one(delivery)
        return bool(due)

    async def _one(self, delivery: Delivery) -> None:
        alert, body = delivery.alert, body_of(delivery.alert)
        try:
            status = await self._receiver.send(self._url, headers_of(alert, self._clock.now(), body, self._secret), body)
            problem = "" if 200 <= status < 300 else f"status {status}"
        except PlimsollError as error:
            problem = error.reason
        if not problem:
            await self._store.delivered(alert)
            return
        wait_s = pause_s(delivery.tries)
        self._log.warning(
            "feedback.alert_not_taken", {"alert": alert.id, "problem": problem, "tries": delivery.tries, "given_up": wait_s is None}
        )
        if wait_s is None:
            await self._store.delivered(alert)
        else:
            await self._store.failed(alert, wait_s)
