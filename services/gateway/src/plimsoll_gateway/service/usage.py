"""Counting who asks how much: in memory while it happens, in the database some seconds later. A gateway that is killed forgets those."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass

from plimsoll_runtime import logs
from plimsoll_runtime.clock import Clock
from plimsoll_runtime.errors import PlimsollError

from plimsoll_gateway.domain.principal import Principal
from plimsoll_gateway.ports import KeyUsage, UsageStore

_WRITE_S = 5.0
_KEYS_MOST = 10_000  # counted between two writes, also when there is none for long


@dataclass(slots=True)
class _Count:
    name: str
    requests: int = 0
    refused: int = 0


class UsageCounts:
    def __init__(self, store: UsageStore, clock: Clock, log: logs.Log) -> None:
        self._store = store
        self._clock = clock
        self._log = log
        self._counts: dict[tuple[str, str], _Count] = {}

    def note(self, principal: Principal, *, let_in: bool) -> None:
        """Somebody asked."""
        key = principal.tenant, principal.key_id
        count = self._counts.get(key)
        if count is None:
            if len(self._counts) >= _KEYS_MOST:
                return
            count = self._counts[key] = _Count(principal.name)
        if let_in:
            count.requests += 1
        else:
            count.refused += 1

    async def write(self) -> None:
        """What was counted, into the database; it stays counted when that fails."""
        counts, self._counts = self._counts, {}
        if not counts:
            return
        now = self._clock.now()
        rows = [
            (tenant, KeyUsage(key_id=key_id, name=one.name, day=now.date(), requests=one.requests, refused=one.refused))
            for (tenant, key_id), one in counts.items()
        ]
        try:
            await self._store.add(now, rows)
        except PlimsollError as error:
            self._log.warning("usage.not_written", {"reason": error.reason})
            for key, one in counts.items():
                kept = self._counts.setdefault(key, _Count(one.name))
                kept.requests += one.requests
                kept.refused += one.refused

    async def run(self, stop: asyncio.Event) -> None:
        """Write every five seconds, and at the end."""
        while not stop.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(_WRITE_S):
                    await stop.wait()
            await self.write()
