"""Keeps the logs of a data directory bounded while processes write to them."""

import asyncio
import os
import shutil
from pathlib import Path

_LARGEST_BYTES = 16 * 1024 * 1024
_LOOK_EVERY_S = 5.0


async def keep_bounded(logs: Path) -> None:
    """Look after the folder until cancelled: a log over 16 MiB becomes NAME.log.1 and starts over."""
    while True:
        _rotate_all(logs)
        await asyncio.sleep(_LOOK_EVERY_S)


def _rotate_all(logs: Path) -> None:
    for log in sorted(logs.glob("*.log")):
        rotate(log, largest_bytes=_LARGEST_BYTES)


def rotate(log: Path, *, largest_bytes: int) -> bool:
    """Copy a log that has grown too large aside and empty it in place: its writers append, so they simply go on."""
    try:
        if log.stat().st_size <= largest_bytes:
            return False
        shutil.copyfile(log, log.with_suffix(".log.1"))
        os.truncate(log, 0)
    except FileNotFoundError:
        return False
    return True


def tail(log: Path, lines: int) -> tuple[list[str], int]:
    """The last lines of a log and the position behind them."""
    try:
        with log.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            start = max(0, end - lines * 4096)
            file.seek(start)
            text = file.read(end - start).decode(errors="replace")
    except FileNotFoundError:
        return [], 0
    found = text.splitlines()
    return (found[-lines:] if lines else []), end


def grown(log: Path, position: int) -> tuple[list[str], int]:
    """The whole lines written since `position`, and the new position; begins anew when the log was emptied."""
    try:
        with log.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(position if position <= end else 0)
            fresh = file.read()
    except FileNotFoundError:
        return [], 0
    whole = fresh.rfind(b"\n") + 1
    begin = position if position <= end else 0
    return fresh[:whole].decode(errors="replace").splitlines(), begin + whole
