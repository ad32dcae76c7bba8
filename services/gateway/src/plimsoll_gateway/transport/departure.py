"""The gateway's departure, told to the streams that are open."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Departure:
    """Announced once, when the gateway stops. Listening costs no task: most streams do nothing else for hours."""

    def __init__(self) -> None:
        self.announced = asyncio.Event()
        self._listeners: set[Callable[[], None]] = set()

    def announce(self) -> None:
        self.announced.set()
        for listener in [*self._listeners]:
            listener()

    @contextmanager
    def heard_by(self, listener: Callable[[], None]) -> Iterator[None]:
        """Call `listener` when the gateway leaves inside the block; at once when it is leaving already."""
        self._listeners.add(listener)
        try:
            if self.announced.is_set():
                listener()
            yield
        finally:
            self._listeners.discard(listener)
