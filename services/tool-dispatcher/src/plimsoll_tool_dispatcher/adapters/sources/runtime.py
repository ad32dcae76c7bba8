"""What a source of any kind can do once it runs."""

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Protocol, Self, TypeAlias

from plimsoll_runtime.errors import FieldProblem

from plimsoll_tool_dispatcher.domain.execution import Attempt, Invocation
from plimsoll_tool_dispatcher.domain.remote_tools import RemoteTool
from plimsoll_tool_dispatcher.domain.tool import Tool

Secrets: TypeAlias = Callable[[], Mapping[str, str]]
"""The present values of the credentials that a source declares, by name; those that are missing are left out."""

Listing: TypeAlias = tuple[tuple[RemoteTool, ...], tuple[FieldProblem, ...]]
"""What a source has, and what is wrong with the rest of it."""


class SourceRuntime(Protocol):
    """One source; while it is entered, its connections live."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...

    async def listing(self) -> Listing:
        """What it has now. Raises PlimsollError when it cannot be asked."""
        ...

    async def execute(self, tool: Tool, invocation: Invocation) -> Attempt:
        """As `ports.Executor`."""
        ...
