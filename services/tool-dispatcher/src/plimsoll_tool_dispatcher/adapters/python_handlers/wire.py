"""One end of the socket between the dispatcher and a worker process: frames out, and in, each handed on in the moment in which it came."""

import asyncio
from collections.abc import Callable
from typing import cast

from plimsoll_tool_dispatcher.adapters.python_handlers import frames


class Wire(asyncio.Protocol):
    """`hear` gets every message, and None when the other side is gone or said what is no frame of ours; then `ended` is set."""

    def __init__(self, most_bytes: int, hear: Callable[[frames.Message | None], None]) -> None:
        self._frames = frames.Frames(most_bytes)
        self._hear = hear
        self._transport: asyncio.Transport | None = None
        self._room = asyncio.Event()
        self._room.set()
        self.ended = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # not every loop's transport is a subclass

    def data_received(self, data: bytes) -> None:
        try:
            for message in self._frames.feed(data):
                self._hear(message)
        except frames.TornFrame:
            self._end()
            self.close()

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._room.set()
        self._end()

    def _end(self) -> None:
        if not self.ended.is_set():
            self.ended.set()
            self._hear(None)

    def pause_writing(self) -> None:
        self._room.clear()

    def resume_writing(self) -> None:
        self._room.set()

    def say(self, frame: bytes) -> None:
        """To one that is gone nothing is said: who listens to it notices that."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(frame)

    @property
    def is_full(self) -> bool:
        return not self._room.is_set()

    async def has_room(self) -> None:
        """Wait until the other side has read most of what was said, or is gone."""
        await self._room.wait()

    def say_no_more(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write_eof()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
