"""Sends each attempt to the executor of the tool's kind of source, and does to it what a fault plan asks for."""

import asyncio
from collections.abc import Mapping

from plimsoll_runtime.failures import Category, Failure
from plimsoll_runtime.faults import Edge, Fault, FaultKind, fault_at

from plimsoll_tool_dispatcher.domain.effects import Mishap
from plimsoll_tool_dispatcher.domain.execution import Answered, Attempt, Invocation, Stopped
from plimsoll_tool_dispatcher.domain.sources import Source
from plimsoll_tool_dispatcher.domain.tool import Tool
from plimsoll_tool_dispatcher.ports import Executor


class ExecutorsBySource:
    """One executor for each type of source."""

    def __init__(self, executors: Mapping[type[Source], Executor]) -> None:
        self._executors = executors

    async def execute(self, tool: Tool, invocation: Invocation) -> Attempt:
        executor = self._executors.get(type(tool.source))
        if executor is None:
            message = f"nothing here runs tools of a {type(tool.source).__name__}"
            failure = Failure(category=Category.UPSTREAM_UNAVAILABLE, reason="SOURCE_UNSUPPORTED", message=message, where=tool.name)
            return Stopped(failure=failure, mishap=Mishap.REFUSED)
        fault = fault_at(Edge.TOOL, tool.name)
        return await executor.execute(tool, invocation) if fault is None else await _faulty(fault, executor, tool, invocation)


async def _faulty(fault: Fault, executor: Executor, tool: Tool, invocation: Invocation) -> Attempt:
    """The attempt with a fault on demand, told as truly as a real one would be."""
    seconds = min(fault.seconds, invocation.timeout_s)
    match fault.kind:
        case FaultKind.ERROR:
            return _stopped(tool, Mishap.NOT_ACTED, "refused the call")
        case FaultKind.TIMEOUT:
            await asyncio.sleep(seconds)
            return _stopped(tool, Mishap.LOST, "did not answer in time")
        case FaultKind.LATENCY:
            await asyncio.sleep(seconds)
            return await executor.execute(tool, invocation)
    attempt = await executor.execute(tool, invocation)
    match fault.kind:
        case FaultKind.SLOW:
            await asyncio.sleep(seconds)
        case FaultKind.CUT:
            return _stopped(tool, Mishap.LOST, "broke the connection before its answer ended")
        case FaultKind.MALFORMED if isinstance(attempt, Answered):
            return Answered(result="garbled")
        case _:
            pass
    return attempt


def _stopped(tool: Tool, mishap: Mishap, what: str) -> Stopped:
    message = f"{tool.name} {what} (a fault on demand)"
    failure = Failure(
        category=Category.TIMEOUT if "in time" in what else Category.UPSTREAM_UNAVAILABLE,
        reason="FAULT_INJECTED",
        message=message,
        retryable=True,
        where=tool.name,
    )
    return Stopped(failure=failure, mishap=mishap)
