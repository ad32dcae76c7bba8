"""A NATS server of a test's own, to restart and to stop; its streams stay."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from plimsoll_devstack.parts import until_ready
from plimsoll_devstack.processes import Child
from plimsoll_devstack.servers import configure, server_parts

USER = "test"


class OwnNats:
    """One server, which listens on the same port after every start."""

    def __init__(self, directory: Path) -> None:
        servers = configure(directory, durable=False, guests=(USER,))
        self.url = servers.nats.url(USER)
        self._part = next(part for part in server_parts(servers) if part.name == "nats")
        self._child: Child | None = None

    async def start(self) -> None:
        """Returns when it answers."""
        self._child = Child(self._part.prepare())
        async with asyncio.timeout(20):
            await until_ready(self._part, self._child)

    async def stop(self) -> None:
        if self._child is not None:
            await self._child.stop()
            self._child = None

    async def kill(self) -> None:
        """It ends without a word to those who are connected."""
        assert self._child is not None
        self._child.send(signal.SIGKILL)
        await self._child.wait()
        self._child = None


@asynccontextmanager
async def own_nats(directory: Path) -> AsyncIterator[OwnNats]:
    """A server that runs."""
    server = OwnNats(directory)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
