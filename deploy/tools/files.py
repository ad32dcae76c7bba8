"""Files in the tenant's workspace."""

import asyncio
from datetime import UTC, datetime
from typing import TypeAlias

from plimsoll_runtime.json_types import JsonValue
from plimsoll_tool_dispatcher.handler import ToolContext, ToolRejected
from plimsoll_tool_dispatcher.workspace import Workspace

Arguments: TypeAlias = "dict[str, JsonValue]"


async def file_list(arguments: Arguments, context: ToolContext) -> JsonValue:
    """The files that there are."""
    entries = await asyncio.to_thread(_workspace(context).entries, str(arguments["prefix"]))
    return {
        "files": [
            {"path": one.path, "bytes": one.size, "changed_at": datetime.fromtimestamp(one.changed_at, UTC).isoformat(timespec="seconds")}
            for one in entries
        ]
    }


async def file_read(arguments: Arguments, context: ToolContext) -> JsonValue:
    """Some lines of a text file."""
    content = await asyncio.to_thread(_workspace(context).read, str(arguments["path"]))
    try:
        lines = content.decode("utf-8-sig").replace("\0", "\N{REPLACEMENT CHARACTER}").splitlines(keepends=True)
    except UnicodeDecodeError as error:
        raise ToolRejected("NOT_TEXT", "the file is not text in UTF-8") from error
    first = int(str(arguments["from_line"])) - 1
    last = first + int(str(arguments["lines"]))
    return {"text": "".join(lines[first:last]), "lines": len(lines), "more": last < len(lines)}


async def file_write(arguments: Arguments, context: ToolContext) -> JsonValue:
    """Puts a whole file in place. Repeated with the same text, it changes nothing."""
    workspace, path, content = _workspace(context), str(arguments["path"]), str(arguments["text"]).encode()
    if not arguments["replace"]:
        present = {entry.path for entry in await asyncio.to_thread(workspace.entries, path)}
        if path in present and await asyncio.to_thread(workspace.read, path) != content:
            raise ToolRejected("FILE_EXISTS", "a file with other content has this path; say replace: true to replace it")
    await asyncio.to_thread(workspace.write, path, content)
    return {"path": path, "bytes": len(content)}


async def file_delete(arguments: Arguments, context: ToolContext) -> JsonValue:
    """Deletes a file."""
    return {"deleted": await asyncio.to_thread(_workspace(context).remove, str(arguments["path"]))}


def _workspace(context: ToolContext) -> Workspace:
    return Workspace(context.credentials["workspace_directory"], context.tenant)
