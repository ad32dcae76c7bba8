"""What the author of a Python tool imports: the context a handler receives and the two failures it may raise.

A handler is one async function per declared tool, in the file named after the category:

    async def find_account(arguments: dict[str, JsonValue], context: ToolContext) -> JsonValue: ...

A file may also define `async def setup(context: SetupContext) -> None`; it runs once in each worker process before the first call.
This module imports nothing heavy: it is loaded into every worker process.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolContext:
    """One call, as its handler sees it."""

    tenant: str
    call_key: str
    """The same for every attempt of one call: pass it on to an upstream that deduplicates by key."""
    deadline_s: float
    """Seconds left when the handler starts; it is cancelled when they are over."""
    credentials: Mapping[str, str] = field(repr=False)
    """The secrets that the declaration names, by name, and no others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetupContext:
    """What `setup` sees: it runs for all tenants and before any call."""

    credentials: Mapping[str, str] = field(repr=False)
    """The secrets that the declaration names, by name, and no others."""


class ToolRejected(Exception):
    """The upstream understood the call and said no; nothing was done. Becomes the failure `upstream_rejected`.

    `reason` is stable UPPER_SNAKE that graphs can branch on; `message` is for people and holds no secret and no argument.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(reason, message)
        self.reason = reason
        self.message = message


class ToolUnavailable(Exception):
    """The upstream could not be reached or refused for now, and nothing was done. Becomes the failure `upstream_unavailable`.

    Raise it only when the call certainly did not act: it is retried whatever the tool's effect class. When a call was sent and its answer
    was lost, let the exception of the connection through instead.
    """

    def __init__(self, reason: str, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(reason, message)
        self.reason = reason
        self.message = message
        self.retry_after_s = retry_after_s
