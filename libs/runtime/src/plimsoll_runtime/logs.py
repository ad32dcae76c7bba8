"""Logs: JSON lines on standard output, pretty on a terminal; the message is a constant event name, all else is a field."""

import logging
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import TypeAlias

import orjson

Field: TypeAlias = str | int | float | bool | None

_bound: ContextVar[Mapping[str, Field]] = ContextVar("plimsoll_log_fields", default=MappingProxyType({}))


class Log:
    """Writes events of one service. Never give it a prompt, an argument, a result or a secret."""

    def __init__(self, service: str) -> None:
        self._logger = logging.getLogger(f"plimsoll.{service}")

    def debug(self, event: str, fields: Mapping[str, Field] | None = None) -> None:
        self._write(logging.DEBUG, event, fields)

    def info(self, event: str, fields: Mapping[str, Field] | None = None) -> None:
        self._write(logging.INFO, event, fields)

    def warning(self, event: str, fields: Mapping[str, Field] | None = None) -> None:
        self._write(logging.WARNING, event, fields)

    def error(self, event: str, fields: Mapping[str, Field] | None = None, *, error: BaseException | None = None) -> None:
        self._write(logging.ERROR, event, fields, error)

    def _write(self, level: int, event: str, fields: Mapping[str, Field] | None, error: BaseException | None = None) -> None:
        if self._logger.isEnabledFor(level):
            trace = (type(error), error, error.__traceback__) if error is not None else None
            self._logger.log(level, event, exc_info=trace, extra={"fields": {**_bound.get(), **(fields or {})}})


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


def configure(service: str, level: str) -> None:
    """Send all logs of the process to standard output; called once, in main."""
    stream = logging.StreamHandler(sys.stdout)
    stream.setFormatter(_Pretty(service) if sys.stdout.isatty() else _JsonLines(service))
    logging.root.handlers[:] = [stream]
    logging.root.setLevel(logging.WARNING)
    logging.getLogger("plimsoll").setLevel(level)


class _JsonLines(logging.Formatter):
    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"
        line = {"time": at, "level": record.levelname.lower(), "service": self._service, "event": record.getMessage()}
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()


class _Pretty(logging.Formatter):
    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        fields = " ".join(f"{name}={value}" for name, value in getattr(record, "fields", {}).items())
        text = f"{time.strftime('%H:%M:%S')} {record.levelname:<7} {self._service:<15} {record.getMessage()} {fields}"
        return text + ("\n" + self.formatException(record.exc_info) if record.exc_info else "")
