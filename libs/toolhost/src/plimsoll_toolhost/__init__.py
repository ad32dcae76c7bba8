"""Serve tools to Plimsoll from a service of your own."""

from plimsoll_toolhost.host import ToolHost, tool_host_rpcs
from plimsoll_toolhost.serving import HostSettings, run_tool_host
from plimsoll_toolhost.tool import Effect, HostedTool, InvalidTool, Risk, ToolCall, ToolRejected, ToolUnavailable

__all__ = [
    "Effect",
    "HostSettings",
    "HostedTool",
    "InvalidTool",
    "Risk",
    "ToolCall",
    "ToolHost",
    "ToolRejected",
    "ToolUnavailable",
    "run_tool_host",
    "tool_host_rpcs",
]
