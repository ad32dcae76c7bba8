"""Sends each attempt to the executor of the tool's kind of source."""

from collections.abc import Mapping

from plimsoll_runtime.failures import Category, Failure

from plimsoll_tool_dispatcher.domain.effects import Mishap
from plimsoll_tool_dispatcher.domain.execution import Attempt, Invocation, Stopped
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
        return await executor.execute(tool, invocation)
