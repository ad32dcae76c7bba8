"""Pages of a list: rows in a fixed order, and the position behind the last one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

T = TypeVar("T")

DEFAULT_PAGE_SIZE = 50
PAGE_SIZE_CAP = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """The time and id of a row, by which lists are ordered."""

    at: datetime
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PageRequest:
    """Up to `size` rows behind `after`; from the beginning without it."""

    size: int = DEFAULT_PAGE_SIZE
    after: Position | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[T]):
    """`next` is where the following page begins; None on the last one."""

    rows: tuple[T, ...]
    next: Position | None


def cut(found: Sequence[T], size: int, position: Callable[[T], Position]) -> Page[T]:
    """A page out of up to `size` + 1 rows: the one too many only shows that there is more."""
    rows = tuple(found[:size])
    return Page(rows=rows, next=position(rows[-1]) if len(found) > size else None)
