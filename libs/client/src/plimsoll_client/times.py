"""Times and durations as people type them: 2026-12-01T09:00, 30m, 1h30m, 2d."""

import re
from datetime import datetime, timedelta

from plimsoll_runtime.errors import FieldProblem

from plimsoll_client.errors import BadInput

_PIECE = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)(ms|s|m|h|d)", re.ASCII)
_DURATION = re.compile(rf"(?:{_PIECE.pattern})+", re.ASCII)
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


def seconds_in(text: str, field: str) -> float:
    """The length of a duration. Raises BadInput, naming `field`."""
    if not _DURATION.fullmatch(text.strip()):
        raise _bad(field, f"is no duration: {text!r}", "Give one such as 500ms, 30s, 5m, 1h30m or 2d")
    return sum(float(number) * _SECONDS[unit] for number, unit in _PIECE.findall(text))


def moment_in(text: str, field: str, now: datetime) -> datetime:
    """The time that a duration from `now` or a date means; one without a zone is meant in the reader's own. Raises BadInput."""
    if _DURATION.fullmatch(text.strip()):
        return after(now, seconds_in(text, field), field)
    try:
        return datetime.fromisoformat(text.strip()).astimezone()
    except (ValueError, OverflowError) as error:
        remedy = "Give a time such as 2026-12-01T09:00 or 2026-12-01T09:00:00Z, or how long from now, such as 90m"
        raise _bad(field, f"is no time: {text!r}", remedy) from error


def after(now: datetime, seconds: float, field: str) -> datetime:
    """So many seconds from `now`. Raises BadInput for more than a calendar has."""
    try:
        return now + timedelta(seconds=seconds)
    except OverflowError as error:
        raise _bad(field, "is longer than any calendar", "Give a shorter time") from error


def _bad(field: str, problem: str, remedy: str) -> BadInput:
    return BadInput(problems=(FieldProblem(field, problem, remedy),))
