"""What handlers and other processes of tools print, as log lines: cut to length, freed of secrets, and limited in number."""

import asyncio
from collections.abc import Mapping

from plimsoll_runtime.logs import Log

from plimsoll_tool_dispatcher.adapters.python_handlers.masking import masked

_LINE_CHARS = 500
_REST_BYTES = 4096  # of a line that has not ended
_CHUNK_BYTES = 16 * 1024
_LINES_AT_ONCE = 20
_LINES_PER_S = 5.0


async def log_output(stream: asyncio.StreamReader, category: str, credentials: Mapping[str, str], log: Log) -> None:
    """Read until the process is gone: a process whose output nobody reads would stand still."""
    budget, refilled_at, dropped, rest = float(_LINES_AT_ONCE), asyncio.get_running_loop().time(), 0, b""
    while chunk := await stream.read(_CHUNK_BYTES):
        *lines, rest = (rest + chunk).split(b"\n")
        rest = rest[:_REST_BYTES]
        now = asyncio.get_running_loop().time()
        budget, refilled_at = min(_LINES_AT_ONCE, budget + (now - refilled_at) * _LINES_PER_S), now
        for line in lines:
            if budget < 1:
                dropped += 1
                continue
            budget -= 1
            log.info("tool.output", {"category": category, "line": _shown(line, credentials), "dropped_before": dropped})
            dropped = 0
    if rest.strip():
        log.info("tool.output", {"category": category, "line": _shown(rest, credentials), "dropped_before": dropped})


def _shown(line: bytes, credentials: Mapping[str, str]) -> str:
    return masked(line.decode("utf-8", "replace"), credentials)[:_LINE_CHARS]
