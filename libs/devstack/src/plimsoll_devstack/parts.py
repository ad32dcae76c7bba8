"""One supervised part of the mesh: how to make it ready to start, and how to tell that it is ready to serve."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import orjson

from plimsoll_devstack.errors import StartFailed
from plimsoll_devstack.processes import Child, Program

_POLL_S = 0.02
_TAIL_BYTES = 16_384


def _well(pid: int) -> str:
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A process to keep alive. `prepare` runs before every start; `ready` raises OSError until it serves; `sick` tells, for a
    process id, why a process that still runs has to be restarted, and is empty for one that is well.

    Rank 0 is a server, which starts before and stops after all services; among services the higher rank stops first.
    """

    name: str
    prepare: Callable[[], Program]
    ready: Callable[[], Awaitable[None]]
    rank: int
    address: str = ""
    ready_within_s: float = 60.0
    sick: Callable[[int], str] = _well


async def until_ready(part: Part, child: Child) -> None:
    """Wait until the part serves; fail at once when its process ends instead."""
    log = child.program.log
    try:
        async with asyncio.timeout(part.ready_within_s):
            while True:
                if (code := child.exit_code) is not None:
                    raise StartFailed(f"{part.name} {ending(code)} while starting{last_words(log)}", remedy=f"See {log}")
                try:
                    return await part.ready()
                except OSError:
                    await asyncio.sleep(_POLL_S)
    except TimeoutError as error:
        raise StartFailed(f"{part.name} is not ready after {part.ready_within_s:g} s{last_words(log)}", remedy=f"See {log}") from error


def ending(code: int) -> str:
    """How a process ended, in words."""
    return f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"


def last_words(log: Path) -> str:
    """The last line a process wrote, to quote in an error."""
    lines = tail(log)
    return f": {_in_words(lines[-1])[:500]}" if lines else ""


def tail(log: Path) -> list[str]:
    """The last lines of a log; none when there is no log."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
            return file.read().decode(errors="replace").strip().splitlines()
    except FileNotFoundError:
        return []


def _in_words(line: str) -> str:
    """A log line of a service is JSON: its event and reason say enough."""
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError:
        return line
    if not isinstance(record, dict):
        return line
    return " ".join(str(record[field]) for field in ("event", "reason", "message") if field in record)
