"""Logs: JSON lines on standard output, pretty on a terminal; the message is a constant event name, all else is a field."""

import asyncio
import json
import logging
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import lru_cache
from types import MappingProxyType
from typing import TextIO, TypeAlias

import orjson

from plimsoll_runtime.errors import PlimsollError

_CHAIN_CAP = 10
_TRACEBACK_CAP = 20_000  # characters, of the end: a group of errors can be long

Field: TypeAlias = str | int | float | bool | None

_line: ContextVar[dict[str, Field] | None] = ContextVar("plimsoll_log_line", default=None)
_bound: ContextVar[Mapping[str, Field]] = ContextVar("plimsoll_log_fields", default=MappingProxyType({}))


class Log:
    """Writes events of one service. Never give it a prompt, an argument, a result or a secret."""

    def __init__(self, service: str) -> None:
        self._logger = logging.getLogger(f"plimsoll.{service}")

    def debug(self, event: str, fields: Mapping[str, Field] | None = None) -> None:
        self._write(logging.DEBUG, event, fields)

    def info(self, event: str, fields: Mapping[str, Field] | None = None) -> None:
        self._write(logging.INFO, event, fields)

    def warning(self, event: str, fields: Mapping[str, Field] | None = None, *, error: BaseException | None = None) -> None:
        self._write(logging.WARNING, event, fields, error)

    def error(self, event: str, fields: Mapping[str, Field] | None = None, *, error: BaseException | None = None) -> None:
        self._write(logging.ERROR, event, fields, error)

    def _write(self, level: int, event: str, fields: Mapping[str, Field] | None, error: BaseException | None = None) -> None:
        if self._logger.isEnabledFor(level):
            trace = (type(error), error, error.__traceback__) if error is not None else None
            extra = {"fields": {**_bound.get(), **(fields or {})}}
            record = self._logger.makeRecord(
                self._logger.name, level, "", 0, event, (), trace, extra=extra
            )  # nobody asks which line wrote it
            self._logger.handle(record)


def get(service: str) -> Log:
    return Log(service)


@contextmanager
def bound(fields: Mapping[str, Field]) -> Iterator[None]:
    """Add fields to every line written inside the block."""
    token = _bound.set({**_bound.get(), **fields})
    try:
        yield
    finally:
        _bound.reset(token)


def begin_line(fields: dict[str, Field], *, alone: str) -> None:
    """The line that will be written about a request: from now on, all but `alone` of its fields are on every line that its task writes.

    For a task that is the request's own.
    """
    _line.set(fields)
    _bound.set({**_bound.get(), **{name: value for name, value in fields.items() if name != alone}})


def note(fields: Mapping[str, Field]) -> None:
    """Add to the one line that is written when the present request ends; without effect outside of one."""
    present = _line.get()
    if present is not None:
        present.update(fields)


def configure(service: str, level: str) -> None:
    """Send all logs of the process to standard output; called once, in main.

    On a terminal, and at the level DEBUG, an error is told in its own words; else only errors of ours and of the operating system
    are, because those of libraries quote what must not be in a log: arguments, rows, texts of users.
    """
    lines = _OncePerTurn(sys.stdout)
    lines.setFormatter(_Pretty(service) if sys.stdout.isatty() else _JsonLines(service, told_in_full=level == "DEBUG"))
    logging.root.handlers[:] = [lines]
    logging.root.setLevel(logging.WARNING)
    logging.getLogger("plimsoll").setLevel(level)
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False  # no line shows them, every line would pay for them


class _OncePerTurn(logging.StreamHandler[TextIO]):
    """Writes the lines out once a turn of the event loop: a system call for every line costs more than all else in a short request."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.stream.write(self.format(record) + self.terminator)
        except Exception:  # noqa: BLE001 - as every handler does: a line that cannot be written must not end the work it tells of
            self.handleError(record)
            return
        try:
            asyncio.get_running_loop().call_soon(self.flush)
        except RuntimeError:  # no loop runs in this thread
            self.flush()

    def flush(self) -> None:
        with suppress(OSError):  # nobody reads any more
            super().flush()


class _JsonLines(logging.Formatter):
    def __init__(self, service: str, *, told_in_full: bool) -> None:
        super().__init__()
        self._service = service
        self._told_in_full = told_in_full

    def format(self, record: logging.LogRecord) -> str:
        at = f"{_second(int(record.created))}.{int(record.msecs):03d}Z"
        head = {"time": at, "level": record.levelname.lower(), "service": self._service, "event": record.getMessage()}
        line = head | getattr(record, "fields", {}) | head  # a field never replaces what every line has
        if record.exc_info and record.exc_info[1] is not None:
            told = self.formatException(record.exc_info) if self._told_in_full else _trace(record.exc_info[1])
            line["error"] = told[-_TRACEBACK_CAP:]
        try:
            return orjson.dumps(line, default=str).decode()
        except TypeError:  # a number or a text that JSON has no form for: better an odd line than none
            return json.dumps(line, default=str)


@lru_cache(4)
def _second(since_epoch: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(since_epoch))


class _Pretty(logging.Formatter):
    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        fields = " ".join(f"{name}={value}" for name, value in getattr(record, "fields", {}).items())
        text = f"{time.strftime('%H:%M:%S')} {record.levelname:<7} {self._service:<15} {record.getMessage()} {fields}"
        return text + ("\n" + self.formatException(record.exc_info) if record.exc_info else "")


def _trace(error: BaseException, depth: int = 0) -> str:
    """Where it was raised and by what, with what led to it; the words of an error only when they are ours."""
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    inner = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    words = f": {error}" if isinstance(error, PlimsollError | OSError) else ""
    own = "".join(traceback.format_tb(error.__traceback__)) + f"{type(error).__qualname__}{words}"
    if depth == _CHAIN_CAP:
        return own
    before = [_trace(cause, depth + 1), "which led to"] if cause else []
    return "\n".join([*before, own, *(f"holding\n{_trace(one, depth + 1)}" for one in inner)])
