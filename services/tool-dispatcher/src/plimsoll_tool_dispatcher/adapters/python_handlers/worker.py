"""One worker process, seen from the dispatcher: started, spoken to, and ended whatever its code does."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import count

from plimsoll_runtime.logs import Log

from plimsoll_tool_dispatcher.adapters.python_handlers import frames
from plimsoll_tool_dispatcher.adapters.python_handlers.code import CategoryCode
from plimsoll_tool_dispatcher.adapters.python_handlers.output import log_output
from plimsoll_tool_dispatcher.adapters.python_handlers.process import WorkerProcess, start_process
from plimsoll_tool_dispatcher.adapters.python_handlers.wire import Wire
from plimsoll_tool_dispatcher.domain.execution import Invocation

_STOP_GRACE_S = 1.0
_CLOSE_GRACE_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a worker process may take."""

    memory_bytes: int
    result_bytes: int
    load_s: float
    environment: Mapping[str, str]
    """The variables of the dispatcher; few of them are handed on, and none of ours."""


class NotLoaded(Exception):
    """The process could not be started, or refused its code."""

    def __init__(self, version: str, reason: str, problem: str) -> None:
        super().__init__(reason, problem)
        self.version = version
        self.reason = reason
        self.problem = problem


class WorkerDied(Exception):
    """The process ended while a call was in it."""


class CallTimedOut(Exception):
    """The call did not end in time, and was stopped."""


class Worker:
    """A process with one version of one file of handlers in it."""

    def __init__(self, code: CategoryCode, limits: Limits, group: asyncio.TaskGroup) -> None:
        self.version = code.version
        self._process: WorkerProcess
        self._limits = limits
        self._group = group
        self._ids = count(1)
        self._pending: dict[int, asyncio.Future[frames.Reply]] = {}
        self._loaded: asyncio.Future[frames.Ready | frames.Broken] = asyncio.get_running_loop().create_future()
        self._exhausted = False
        self._ended = False
        self._gone = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    @classmethod
    async def start(cls, code: CategoryCode, limits: Limits, group: asyncio.TaskGroup, log: Log) -> "Worker":
        """A process that has loaded the code. Raises NotLoaded."""
        worker = cls(code, limits, group)
        try:
            process = worker._process = await start_process(limits.environment, lambda: Wire(limits.result_bytes, worker._heard))
        except OSError as error:
            raise NotLoaded(code.version, "WORKER_NOT_STARTED", f"no process could be started: {error.strerror}") from error
        group.create_task(log_output(process.output, code.category, code.credentials, log), name=f"output of {code.category}")
        try:
            async with asyncio.timeout(limits.load_s):
                await worker._load(code)
        except TimeoutError as error:
            worker.kill()
            raise NotLoaded(code.version, "HANDLERS_NOT_LOADED", f"{code.path} did not load within {limits.load_s:g} s") from error
        except BaseException:
            worker.kill()
            raise
        finally:
            group.create_task(worker._attend(), name=f"worker {code.category}")
        return worker

    @property
    def usable(self) -> bool:
        """Whether it takes calls: it lives, and no call has met the memory limit in it."""
        return not (self._exhausted or self._ended)

    @property
    def pid(self) -> int:
        return self._process.pid

    async def call(self, function: str, invocation: Invocation) -> frames.Reply:
        """Run a function. Raises CallTimedOut when it had to be stopped, WorkerDied when the process ended under it."""
        if self._ended:
            raise WorkerDied
        reply: asyncio.Future[frames.Reply] = asyncio.get_running_loop().create_future()
        call = frames.Invoke(
            id=next(self._ids),
            function=function,
            arguments=invocation.arguments,
            tenant=invocation.tenant,
            call_key=invocation.call_key,
            deadline_s=invocation.timeout_s,
        )
        self._pending[call.id] = reply
        self._idle.clear()
        try:
            async with asyncio.timeout(invocation.timeout_s):
                await self._say(call)
                return await reply
        except TimeoutError:
            reply = self._pending[call.id] = _unless_there(reply)
            await self._stop(call.id, reply)
            late = None if reply.cancelled() else reply.result()
            if late is None or isinstance(late, frames.Stopped):
                raise CallTimedOut from None
            return late
        except asyncio.CancelledError:
            reply = self._pending[call.id] = _unless_there(reply)
            self._group.create_task(self._stop(call.id, reply), name="stop a call")
            raise
        finally:
            if reply.done():
                self._forget(call.id)

    async def retire(self) -> None:
        """Let the calls in it end, then end the process. Give it no more calls from now on."""
        await self._idle.wait()
        await self.close()

    async def close(self) -> None:
        """End the process: politely, then not."""
        self._ended = True
        self._process.wire.say_no_more()
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_GRACE_S):
                await self._gone.wait()
        self.kill()

    def kill(self) -> None:
        """End the process, and whatever it started, at once."""
        self._ended = True
        self._process.kill()

    async def _load(self, code: CategoryCode) -> None:
        await self._say(
            frames.Load(
                path=code.path,
                text=code.text,
                functions=list(code.functions),
                credentials=dict(code.credentials),
                memory_bytes=self._limits.memory_bytes,
                result_bytes=self._limits.result_bytes,
            )
        )
        told = await self._loaded
        if isinstance(told, frames.Broken):
            raise NotLoaded(code.version, "HANDLERS_NOT_LOADED", f"{code.path} {told.problem}")

    def _heard(self, message: frames.Message | None) -> None:
        """Hand a reply to who waits for it."""
        if message is None:
            message = frames.Broken(problem="ended the process while it was loaded")
        if isinstance(message, frames.Ready | frames.Broken):
            if not self._loaded.done():
                self._loaded.set_result(message)
            return
        if isinstance(message, frames.OutOfMemory):
            self._exhausted = True
        reply = self._pending.get(getattr(message, "id", 0))
        if reply is not None and not reply.done():
            reply.set_result(message)  # type: ignore[arg-type]  # only replies carry the id of a call

    async def _attend(self) -> None:
        """Wait until the process is gone, then clean up behind it."""
        await self._process.wire.ended.wait()
        self._ended = True
        for reply in self._pending.values():
            if not reply.done():
                reply.set_exception(WorkerDied())
                reply.exception()  # read, in case nobody waits any more
        await self._process.bury()
        self._gone.set()

    async def _stop(self, call_id: int, reply: "asyncio.Future[frames.Reply]") -> None:
        """Cancel a call; a process that does not obey is killed, and every call in it with it."""
        await self._say(frames.Stop(id=call_id), within_s=_STOP_GRACE_S)
        await asyncio.wait([reply], timeout=_STOP_GRACE_S)
        if not reply.done():
            self.kill()
            reply.cancel()
        self._forget(call_id)

    async def _say(self, message: frames.Message, *, within_s: float | None = None) -> None:
        wire = self._process.wire
        wire.say(frames.encode(message))
        if wire.is_full:
            with suppress(TimeoutError):  # a process that is gone is noticed by who attends to it
                async with asyncio.timeout(within_s):
                    await wire.has_room()

    def _forget(self, call_id: int) -> None:
        self._pending.pop(call_id, None)
        if not self._pending:
            self._idle.set()


def _unless_there(reply: "asyncio.Future[frames.Reply]") -> "asyncio.Future[frames.Reply]":
    """The reply when it came in the last moment, else a new place for it: the one that was waited for ended with the waiting."""
    return asyncio.get_running_loop().create_future() if reply.cancelled() or not reply.done() else reply
