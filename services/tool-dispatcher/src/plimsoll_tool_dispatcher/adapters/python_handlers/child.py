"""The worker process: loads one file of handlers and answers calls until the dispatcher goes away.

    python -I -u -m plimsoll_tool_dispatcher.adapters.python_handlers.child SOCKET_FD

Standard input is a lifeline: its end means that the dispatcher is dead. Standard output and error belong to the handlers.
"""

import asyncio
import inspect
import math
import os
import resource
import socket
import sys
import threading
import traceback
import types
from collections.abc import Awaitable, Callable

import uvloop
from plimsoll_runtime.json_types import JsonObject, JsonValue

from plimsoll_tool_dispatcher.adapters.python_handlers import frames
from plimsoll_tool_dispatcher.adapters.python_handlers.fitness import unfitness
from plimsoll_tool_dispatcher.adapters.python_handlers.masking import masked
from plimsoll_tool_dispatcher.adapters.python_handlers.wire import Wire
from plimsoll_tool_dispatcher.handler import SetupContext, ToolContext, ToolRejected, ToolUnavailable

_MOST_BYTES = 256 * 1024 * 1024  # from the dispatcher, which has its own limits
_MOST_CHARS, _MESSAGE_CHARS = 100_000, 2_000  # of what an author says; a frame has to hold it
_BROKEN = (ConnectionError, TimeoutError, EOFError, socket.gaierror)


class _Category:
    """The loaded file."""

    def __init__(self, load: frames.Load) -> None:
        self._load = load
        self._ready = False
        self._setting_up = asyncio.Lock()
        self._module = types.ModuleType(f"plimsoll_tools_{os.path.splitext(os.path.basename(load.path))[0]}")
        self._module.__file__ = load.path

    def load(self) -> str:
        """Run the file; what is wrong with it, or an empty text."""
        sys.modules[self._module.__name__] = self._module
        try:
            exec(compile(self._load.text, self._load.path, "exec"), self._module.__dict__)  # noqa: S102 - this process is for it
        except BaseException as error:  # noqa: BLE001 - whatever the file does, the dispatcher is told
            traceback.print_exc()
            return f"cannot be loaded: {type(error).__name__} at {self.place(error)}"
        for name in self._load.functions:
            if not inspect.iscoroutinefunction(getattr(self._module, name, None)):
                return f"has no async function {name}"
        return ""

    async def answer(self, call: frames.Invoke) -> frames.Reply:
        """Run one call to its end, whatever that is."""
        try:
            await self._set_up_once()
            context = ToolContext(
                tenant=call.tenant,
                call_key=call.call_key,
                deadline_s=call.deadline_s,
                credentials=types.MappingProxyType(self._load.credentials),
            )
            function: Callable[[JsonObject, ToolContext], Awaitable[JsonValue]] = getattr(self._module, call.function)
            value = await function(call.arguments, context)
        except asyncio.CancelledError:
            return frames.Stopped(id=call.id)
        except ToolRejected as error:
            return frames.Rejected(id=call.id, reason=str(error.reason)[:_MESSAGE_CHARS], message=self._masked(error.message))
        except ToolUnavailable as error:
            return frames.Unavailable(
                id=call.id,
                reason=str(error.reason)[:_MESSAGE_CHARS],
                message=self._masked(error.message),
                retry_after_s=_seconds(error.retry_after_s),
            )
        except MemoryError:
            return frames.OutOfMemory(id=call.id)
        except BaseException as error:  # noqa: BLE001 - SystemExit too: a handler may not end the process of its neighbours
            return frames.Raised(id=call.id, error=type(error).__name__, at=self.place(error), broken_connection=isinstance(error, _BROKEN))
        problem = unfitness(value)
        return frames.Unfit(id=call.id, reason="RESULT_NOT_JSON", problem=problem) if problem else frames.Returned(id=call.id, value=value)

    async def _set_up_once(self) -> None:
        """Raises ToolUnavailable when `setup` fails: no handler ran, and the next call tries again."""
        async with self._setting_up:
            setup = getattr(self._module, "setup", None)
            if self._ready or setup is None:
                return
            try:
                await setup(SetupContext(credentials=types.MappingProxyType(self._load.credentials)))
            except (ToolUnavailable, MemoryError):
                raise
            except Exception as error:
                raise ToolUnavailable("SETUP_FAILED", f"setup raised {type(error).__name__} at {self.place(error)}") from error
            self._ready = True

    def place(self, error: BaseException) -> str:
        """The innermost line of the file that the error passed through; its text may hold arguments and stays here."""
        if isinstance(error, SyntaxError) and error.filename == self._load.path:
            return f"line {error.lineno}"
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == self._load.path]
        return f"line {lines[-1]}" if lines else "an unknown line"

    def _masked(self, text: object) -> str:
        return masked(str(text)[:_MOST_CHARS], self._load.credentials)[:_MESSAGE_CHARS]


def _seconds(given: object) -> float | None:
    """An author may give anything."""
    return float(given) if isinstance(given, int | float) and math.isfinite(given) else None


class _Conversation:
    """One socket to the dispatcher: frames in, frames out, calls side by side."""

    def __init__(self) -> None:
        self._wire = Wire(_MOST_BYTES, self._heard)
        self._load: asyncio.Future[frames.Load | None] = asyncio.get_running_loop().create_future()
        self._begin: Callable[[frames.Invoke], None] = lambda _: None  # nothing is loaded yet
        self._running: dict[int, asyncio.Task[None]] = {}
        self._result_bytes = 0

    async def hold(self, fd: int) -> None:
        """Load what the first frame brings, then answer until the socket ends."""
        await asyncio.get_running_loop().create_connection(lambda: self._wire, sock=socket.socket(fileno=fd))
        async with asyncio.TaskGroup() as calls:
            load = await self._load
            if load is not None and await self._loaded(load, calls):
                await self._wire.ended.wait()
            for task in self._running.values():
                task.cancel()
        self._wire.close()

    async def _loaded(self, load: frames.Load, calls: asyncio.TaskGroup) -> bool:
        """Whether calls may come now."""
        self._result_bytes = load.result_bytes
        _limit_resources(load.memory_bytes)
        category = _Category(load)
        if problem := category.load():
            await self._say(frames.Broken(problem=problem))
            return False

        def begin(call: frames.Invoke) -> None:
            self._running[call.id] = calls.create_task(self._answer(category, call))

        self._begin = begin
        await self._say(frames.Ready())
        return True

    def _heard(self, message: frames.Message | None) -> None:
        match message:
            case frames.Invoke():
                self._begin(message)
            case frames.Stop() if message.id in self._running:
                self._running[message.id].cancel()
            case frames.Load() | None if not self._load.done():
                self._load.set_result(message)

    async def _answer(self, category: _Category, call: frames.Invoke) -> None:
        try:
            reply = await category.answer(call)
        except asyncio.CancelledError:  # came before the first step of the call
            reply = frames.Stopped(id=call.id)
        finally:
            del self._running[call.id]
        await self._say(reply)

    async def _say(self, message: frames.Ready | frames.Broken | frames.Reply) -> None:
        self._wire.say(self._encoded(message))
        await self._wire.has_room()

    def _encoded(self, message: frames.Ready | frames.Broken | frames.Reply) -> bytes:
        if not isinstance(message, frames.Returned):
            return frames.encode(message)
        try:
            frame = frames.encode(message)
        except (TypeError, ValueError) as error:
            return frames.encode(frames.Unfit(id=message.id, reason="RESULT_NOT_JSON", problem=str(error)[:200]))
        except MemoryError:
            return frames.encode(frames.OutOfMemory(id=message.id))
        if len(frame) > self._result_bytes:
            problem = f"is longer than {self._result_bytes} bytes"
            return frames.encode(frames.Unfit(id=message.id, reason="RESULT_TOO_LARGE", problem=problem))
        return frame


def _limit_resources(memory_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform != "darwin":  # where the limit exists and is not enforced
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))


def _die_with_the_dispatcher() -> None:
    """Watch the lifeline from a thread: a handler may block the loop, and must not outlive the dispatcher for it."""
    lifeline = os.dup(0)
    os.set_inheritable(lifeline, False)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)

    def watch() -> None:
        while os.read(lifeline, 1):
            pass
        os._exit(1)

    threading.Thread(target=watch, name="lifeline", daemon=True).start()


async def _converse(fd: int) -> None:
    await _Conversation().hold(fd)


def main() -> None:
    """Serve until the dispatcher goes away."""
    _die_with_the_dispatcher()
    uvloop.run(_converse(int(sys.argv[1])))


if __name__ == "__main__":
    main()
