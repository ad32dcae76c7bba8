"""Asks a person at the terminal whether a proposed call may execute."""

import asyncio
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console


class Say(StrEnum):
    """A person's answer."""

    APPROVE = "approve"
    REJECT = "reject"
    LATER = "later"


_WORDS = {"a": Say.APPROVE, "y": Say.APPROVE, "yes": Say.APPROVE, "r": Say.REJECT, "n": Say.REJECT, "no": Say.REJECT, "l": Say.LATER}


def said(line: str) -> Say | None:
    """What a typed line means; None when it means nothing."""
    word = line.strip().lower()
    return _WORDS.get(word) or next((say for say in Say if say == word), None)


def terminal() -> TextIO | None:
    """Where a person can be asked: standard input, or the terminal behind it when something is piped in; None when nobody is there."""
    if not sys.stderr.isatty():
        return None
    if sys.stdin.isatty():
        return sys.stdin
    try:
        return open("/dev/tty", encoding="utf-8")
    except OSError:
        return None


async def ask(out: "Console", source: TextIO) -> Say:
    """Ask until the answer is clear; the end of input means later. Waits without blocking, so that Ctrl-C and streams go on working."""
    while True:
        out.print("Approve exactly this? [a]pprove, [r]eject, [l]ater: ", end="")
        line = await _line(source)
        if not line:
            return Say.LATER
        if (answer := said(line)) is not None:
            return answer


async def _line(source: TextIO) -> str:
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(source.fileno(), ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(source.fileno())
    return source.readline()
