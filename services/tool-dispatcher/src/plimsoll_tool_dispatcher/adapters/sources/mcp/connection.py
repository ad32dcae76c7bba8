"""One connection to an MCP server, owned by one task: it opens it, keeps it, and closes it in the same task, as the library's scopes demand."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self, TypeAlias

from mcp.client.client import Client
from mcp.client.session import ClientSession
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from plimsoll_runtime.errors import Unavailable
from plimsoll_runtime.logs import Log

OpenClient: TypeAlias = Callable[[], AbstractAsyncContextManager[Client]]

_LAST_CALLS_S = 30.0


class NotConnected(Unavailable):
    """No connection to the server could be made; nothing was sent."""

    reason = "NOT_CONNECTED"


@dataclass(slots=True, eq=False)
class Live:
    """A connection that stands."""

    session: ClientSession
    users: int = 0
    retired: asyncio.Event = field(default_factory=asyncio.Event)
    unused: asyncio.Event = field(default_factory=asyncio.Event)
    ended: bool = False

    @property
    def modern(self) -> bool:
        """Without a session at the server: a call that is given up ends by itself."""
        return self.session.protocol_version in MODERN_PROTOCOL_VERSIONS

    def __enter__(self) -> Self:
        self.users += 1
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.users -= 1
        if not self.users:
            self.unused.set()

    def retire(self) -> None:
        """No new calls; it is closed when the present ones have ended."""
        self.ended = True
        self.retired.set()


class Connections:
    """The connection that stands now; opened when it is wanted, once however many want it."""

    def __init__(self, name: str, open_client: OpenClient, connect_s: float, log: Log, *, hint: str = "") -> None:
        """`hint` tells people where to look when no connection can be made."""
        self._name = name
        self._hint = hint
        self._open_client = open_client
        self._connect_s = connect_s
        self._log = log
        self._tasks = asyncio.TaskGroup()
        self._all: set[Live] = set()
        self._opening: asyncio.Future[Live] | None = None
        self._present: Live | None = None

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for live in self._all:
            live.users = 0
            live.unused.set()
            live.retire()
        await self._tasks.__aexit__(kind, error, trace)

    async def live(self) -> Live:
        """Raises NotConnected."""
        if self._present is not None and not self._present.ended:
            return self._present
        if self._opening is None:
            self._opening = asyncio.get_running_loop().create_future()
            self._tasks.create_task(self._own(self._opening), name=f"own the connection to {self._name}")
        return await asyncio.shield(self._opening)

    def lost(self) -> None:
        """What stands now is of no use any more: the next call opens anew."""
        if self._present is not None:
            self._present.retire()

    async def _own(self, opened: "asyncio.Future[Live]") -> None:
        """Never raises: what ends a connection must not end the source."""
        live: Live | None = None
        try:
            async with asyncio.timeout(self._connect_s) as patience, self._open_client() as client:
                patience.reschedule(None)
                live = self._present = Live(session=client.session)
                self._all.add(live)
                self._settle(opened, live)
                self._log.info("mcp.connected", {"source": self._name, "protocol": client.protocol_version or ""})
                await live.retired.wait()
                if live.users:
                    live.unused.clear()
                    with suppress(TimeoutError):
                        async with asyncio.timeout(_LAST_CALLS_S):
                            await live.unused.wait()
        except Exception as error:  # noqa: BLE001 - the library raises what its transports raise, in groups
            self._log.warning("mcp.connection_ended", {"source": self._name, "error": _innermost(error)})
            self._settle(opened, NotConnected(f"no connection to the server: {_innermost(error)}{self._hint}"))
        finally:
            if live is not None:
                live.ended = True
                self._all.discard(live)
            self._settle(opened, NotConnected("the connection was given up"))

    def _settle(self, opened: "asyncio.Future[Live]", outcome: Live | NotConnected) -> None:
        if opened.done():
            return
        self._opening = None
        if isinstance(outcome, Live):
            opened.set_result(outcome)
        else:
            opened.set_exception(outcome)
            opened.exception()  # read, in case nobody waits any more


def _innermost(error: BaseException) -> str:
    """The kind of what went wrong first; its text may hold what a server said."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return type(error).__name__
