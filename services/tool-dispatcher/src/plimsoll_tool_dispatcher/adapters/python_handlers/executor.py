"""Runs tools that are Python functions: one worker process per file, started with its first call."""

import asyncio
from dataclasses import replace
from types import TracebackType
from typing import Protocol, Self

from plimsoll_runtime.failures import Category, Failure
from plimsoll_runtime.logs import Log

from plimsoll_tool_dispatcher.adapters.python_handlers import frames
from plimsoll_tool_dispatcher.adapters.python_handlers.code import CategoryCode
from plimsoll_tool_dispatcher.adapters.python_handlers.worker import CallTimedOut, Limits, NotLoaded, Worker, WorkerDied
from plimsoll_tool_dispatcher.domain.effects import EffectClass, Mishap
from plimsoll_tool_dispatcher.domain.execution import Answered, Attempt, Invocation, Stopped
from plimsoll_tool_dispatcher.domain.sources import PythonSource
from plimsoll_tool_dispatcher.domain.tool import Tool

_LEAST_S = 0.01
_MAX_MESSAGE_CHARS = 500
_MAX_REASON_CHARS = 64


class CodeShelf(Protocol):
    """Where the present code of a file is found."""

    def code(self, path: str) -> CategoryCode | None: ...


class PythonHandlers:
    """The executor; while it is entered its worker processes live."""

    def __init__(self, shelf: CodeShelf, limits: Limits, log: Log) -> None:
        self._shelf = shelf
        self._limits = limits
        self._log = log
        self._tasks = asyncio.TaskGroup()
        self._workers: dict[str, Worker] = {}
        self._starts: dict[str, asyncio.Task[Worker | NotLoaded]] = {}
        self._retiring: set[Worker] = set()

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for start in self._starts.values():
            start.cancel()
        for worker in [*self._workers.values(), *self._retiring]:
            worker.kill()
        await self._tasks.__aexit__(kind, error, trace)

    async def execute(self, tool: Tool, invocation: Invocation) -> Attempt:
        """Run the function named like the tool."""
        assert isinstance(tool.source, PythonSource)
        code = self._shelf.code(tool.source.path) if isinstance(tool.source, PythonSource) else None
        if code is None:
            return _refused(tool, Category.UNKNOWN_TOOL, "HANDLERS_GONE", "the file of its handlers is gone")
        if code.missing:
            names = ", ".join(code.missing)
            return Stopped(
                failure=_failure(tool, Category.TOOL_ERROR, "CREDENTIAL_MISSING", f"the dispatcher has no credential named {names}")
            )
        present = self._workers.get(code.path)
        if present is not None and present.usable and present.version == code.version:
            return await self._call(present, tool, invocation)
        until = asyncio.get_running_loop().time() + invocation.timeout_s
        try:
            async with asyncio.timeout_at(until):
                worker = await self._worker(code)
        except TimeoutError:
            return _refused(tool, Category.TIMEOUT, "WORKER_NOT_READY", "no worker process was ready in time")
        if isinstance(worker, NotLoaded):
            if worker.reason == "WORKER_NOT_STARTED":
                return _refused(tool, Category.UPSTREAM_UNAVAILABLE, worker.reason, worker.problem)
            return Stopped(failure=_failure(tool, Category.TOOL_ERROR, worker.reason, worker.problem))
        left_s = max(_LEAST_S, until - asyncio.get_running_loop().time())
        return await self._call(worker, tool, replace(invocation, timeout_s=left_s))

    async def check(self, code: CategoryCode) -> str:
        """What keeps the code from being loaded, found out in a process of its own; an empty text when nothing does."""
        try:
            worker = await Worker.start(code, self._limits, self._tasks, self._log)
        except NotLoaded as error:
            return error.problem
        try:
            await worker.close()
        finally:
            worker.kill()
        return ""

    async def _worker(self, code: CategoryCode) -> Worker | NotLoaded:
        """The process that runs this version; started in the background, so that an impatient caller does not undo the start."""
        while True:
            worker = self._workers.get(code.path)
            if worker is not None and worker.usable and worker.version == code.version:
                return worker
            start = self._starts.get(code.path)
            if start is None:
                start = self._starts[code.path] = self._tasks.create_task(self._start(code), name=f"start {code.category}")
            started = await asyncio.shield(start)
            if started.version == code.version:
                return started

    async def _start(self, code: CategoryCode) -> Worker | NotLoaded:
        """Put a new process in the place of the old one, which ends after the calls that are in it."""
        try:
            started = await Worker.start(code, self._limits, self._tasks, self._log)
        except NotLoaded as error:
            return error
        finally:
            del self._starts[code.path]
        earlier = self._workers.get(code.path)
        self._workers[code.path] = started
        if earlier is not None:
            self._retiring.add(earlier)
            self._tasks.create_task(self._retire(earlier), name=f"retire {code.category}")
        self._log.info("worker.started", {"category": code.category, "pid": started.pid})
        return started

    async def _retire(self, worker: Worker) -> None:
        try:
            await worker.retire()
        finally:
            self._retiring.discard(worker)

    async def _call(self, worker: Worker, tool: Tool, invocation: Invocation) -> Attempt:
        try:
            reply = await worker.call(tool.name, invocation)
        except CallTimedOut:
            failure = _failure(tool, Category.TIMEOUT, "TOOL_TIMEOUT", f"the tool did not answer within {invocation.timeout_s:.3g} s")
            return Stopped(failure=failure, mishap=Mishap.LOST)
        except WorkerDied:
            self._log.warning("worker.died", {"category": tool.category, "pid": worker.pid, "tool": tool.name})
            failure = _failure(tool, Category.TOOL_ERROR, "WORKER_DIED", "the worker process died while the call was in it")
            return Stopped(failure=failure, mishap=Mishap.LOST)
        return _attempt(tool, reply)


def _attempt(tool: Tool, reply: frames.Reply) -> Attempt:
    match reply:
        case frames.Returned():
            return Answered(result=reply.value, size=reply.size)
        case frames.Rejected():
            return Stopped(failure=_failure(tool, Category.UPSTREAM_REJECTED, reply.reason, reply.message))
        case frames.Unavailable():
            failure = _failure(tool, Category.UPSTREAM_UNAVAILABLE, reply.reason, reply.message, retry_after_s=reply.retry_after_s)
            return Stopped(failure=failure, mishap=Mishap.NOT_ACTED)
        case frames.Raised(broken_connection=True):
            message = f"the connection to the upstream broke: {reply.error} at {reply.at}"
            return Stopped(failure=_failure(tool, Category.UPSTREAM_UNAVAILABLE, "CONNECTION_BROKEN", message), mishap=Mishap.LOST)
        case frames.Raised():
            return _in_doubt(tool, "HANDLER_RAISED", f"the tool raised {reply.error} at {reply.at}")
        case frames.OutOfMemory():
            return _in_doubt(tool, "OUT_OF_MEMORY", "the tool met the memory limit")
        case frames.Unfit():
            return Stopped(failure=_failure(tool, Category.MALFORMED_RESULT, reply.reason, reply.problem))
        case frames.Stopped():
            return _in_doubt(tool, "HANDLER_STOPPED", "the tool stopped itself")


def _in_doubt(tool: Tool, reason: str, message: str) -> Stopped:
    """A fault of the tool's code: nobody repeats it, and where repeating would matter nobody knows whether it had acted."""
    mishap = Mishap.LOST if tool.effect is EffectClass.NON_IDEMPOTENT else None
    return Stopped(failure=_failure(tool, Category.TOOL_ERROR, reason, message), mishap=mishap)


def _refused(tool: Tool, category: Category, reason: str, message: str) -> Stopped:
    return Stopped(failure=_failure(tool, category, reason, message), mishap=Mishap.REFUSED)


def _failure(tool: Tool, category: Category, reason: str, message: str, *, retry_after_s: float | None = None) -> Failure:
    return Failure(
        category=category,
        reason=_clean(reason)[:_MAX_REASON_CHARS] or "UNSPECIFIED",
        message=_clean(message)[:_MAX_MESSAGE_CHARS],
        retry_after_s=retry_after_s,
        where=tool.name,
    )


def _clean(text: str) -> str:
    """What an author's code says, fit for every store on the way: Postgres takes no zero character."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")
