"""Where tools run: one frozen description per kind of source, told apart by type."""

from dataclasses import dataclass
from typing import TypeAlias

from plimsoll_runtime.json_types import JsonObject

from plimsoll_tool_dispatcher.domain.fields import Fields

_SOURCE = r"[a-z][a-z0-9_]{0,30}"
_FIELDS = ("kind", "source", "tool")


@dataclass(frozen=True, slots=True, kw_only=True)
class PythonSource:
    """The tool is a function of the same name in a Python file."""

    path: str

    def identity(self) -> JsonObject:
        """What of the source belongs to the tool's digest: nothing. What a person approves is what the tool promises, not where its file lies."""
        return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSource:
    """The tool is an operation of an API. `shape` is the digest of the form of its request; empty for whatever it is now."""

    source: str
    tool: str
    shape: str = ""

    def identity(self) -> JsonObject:
        """All of it: another request is another tool."""
        return {"kind": "http", "source": self.source, "tool": self.tool, "shape": self.shape}


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSource:
    """The tool runs in a team's own tool host. `shape` is the digest of its definition there; empty for whatever it is now."""

    source: str
    tool: str
    shape: str = ""

    def identity(self) -> JsonObject:
        """All of it."""
        return {"kind": "host", "source": self.source, "tool": self.tool, "shape": self.shape}


@dataclass(frozen=True, slots=True, kw_only=True)
class McpSource:
    """The tool belongs to an MCP server. `shape` is the digest of its definition there; empty for whatever it is now."""

    source: str
    tool: str
    shape: str = ""

    def identity(self) -> JsonObject:
        """All of it."""
        return {"kind": "mcp", "source": self.source, "tool": self.tool, "shape": self.shape}


RemoteSource: TypeAlias = HttpSource | HostSource | McpSource
Source: TypeAlias = PythonSource | RemoteSource


def read_source(fields: Fields) -> Source | None:
    """The field `source`, such as {kind: http, source: petstore, tool: listPets}; None when absent or wrong, which is noted."""
    if fields.value("source") is None:
        return None
    inner = fields.inner("source", _FIELDS)
    source = inner.text("source", _SOURCE, "name a declared source such as petstore")
    tool = inner.text("tool", r"[^\x00-\x1f]{1,200}", "name the operation, or the tool, as the source does")
    match inner.value("kind"):
        case "http":
            return HttpSource(source=source, tool=tool)
        case "host":
            return HostSource(source=source, tool=tool)
        case "mcp":
            return McpSource(source=source, tool=tool)
        case other:
            inner.refuse("kind", f"is {str(other)[:40]!r}", "use one of http, host, mcp")
            return None
