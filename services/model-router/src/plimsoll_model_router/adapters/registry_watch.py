"""Moves of labels reach every replica: told over NATS at once, and found in Postgres within half a second in any case."""

import asyncio

from plimsoll_runtime import logs
from plimsoll_runtime.bus import Bus
from plimsoll_runtime.errors import PlimsollError
from plimsoll_runtime.retry import Backoff

from plimsoll_model_router.adapters.postgres_registry import PostgresRegistryStore
from plimsoll_model_router.adapters.snapshot_file import SnapshotFile
from plimsoll_model_router.domain.labels import Move
from plimsoll_model_router.domain.registry_cache import Moved, RegistryCache

MOVED = "plimsoll.v1.model_router.label.moved"  # core NATS only: it wakes, and says nothing
_LOOK_EVERY_S = 0.5
_SAVE_EVERY = 20  # looks
_RETRY_FIRST_S, _RETRY_MOST_S = 0.2, 2.0


class RegistryWatch:
    """Keeps a cache honest, and its snapshot current."""

    def __init__(self, bus: Bus, store: PostgresRegistryStore, cache: RegistryCache, snapshot: SnapshotFile, log: logs.Log) -> None:
        self._bus = bus
        self._store = store
        self._cache = cache
        self._snapshot = snapshot
        self._log = log
        self._seen: int | None = None
        self._looks = 0
        self._is_away = False

    async def announce(self, tenant: str, move: Move) -> None:
        """A label was moved here."""
        self._cache.note(Moved(position=move.position, tenant=tenant, kind=move.kind, name=move.name))
        await self._bus.notify(MOVED)

    async def run(self, stop: asyncio.Event) -> None:
        """Look until `stop` is set: whenever a move is told, and every half second."""
        backoff = Backoff(_RETRY_FIRST_S, _RETRY_MOST_S)
        while not stop.is_set():
            try:
                async with self._bus.listen(MOVED) as words:
                    while not stop.is_set():
                        await self._look_once()
                        await words.next(_LOOK_EVERY_S)
            except PlimsollError:  # NATS is away: nobody tells, and we look all the same
                await self._look_once()
                await backoff.pause(stop)
        await asyncio.to_thread(self._snapshot.save)

    async def look(self) -> None:
        """Take note of what moved since the last look. Raises Unavailable or DeadlineExpired."""
        if self._seen is None:
            self._seen = await self._store.last_move()
            self._cache.note_all()
        for moved in await self._store.moved_since(self._seen):
            self._cache.note(moved)
            self._seen = moved.position

    async def _look_once(self) -> None:
        try:
            await self.look()
        except PlimsollError as error:
            if not self._is_away:
                self._log.warning("registry.away", {"reason": error.reason, "means": "the last known good is served"})
            self._is_away = True
            return
        if self._is_away:
            self._log.info("registry.back")
        self._is_away = False
        self._looks += 1
        if self._looks % _SAVE_EVERY == 1:
            await asyncio.to_thread(self._snapshot.save)
