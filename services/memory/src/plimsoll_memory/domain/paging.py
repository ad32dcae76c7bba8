"""Paging: where the next page begins, as an opaque token."""

import base64
import binascii
from dataclasses import dataclass

from plimsoll_runtime.errors import FieldProblem

from plimsoll_memory.errors import RequestRefused

_DEFAULT_SIZE, _MOST = 50, 500


@dataclass(frozen=True, slots=True, kw_only=True)
class PageRequest:
    """Up to `size` documents whose source comes after `after`."""

    after: str
    size: int


def page_request(collection: str, size: int, token: str) -> PageRequest:
    """Read a page size (0 means the default) and a token. Raises RequestRefused."""
    if not 0 <= size <= _MOST:
        raise RequestRefused(problems=[FieldProblem("page_size", f"is {size}", f"use 1 to {_MOST}, or 0 for {_DEFAULT_SIZE}")])
    return PageRequest(after=_source(collection, token) if token else "", size=size or _DEFAULT_SIZE)


def page_token(collection: str, last_source: str) -> str:
    """The token of the page behind `last_source`."""
    return base64.urlsafe_b64encode(f"{collection}\n{last_source}".encode()).decode().rstrip("=")


def _source(collection: str, token: str) -> str:
    """The source that the token names; neither names nor sources hold a line end."""
    try:
        text = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        text = ""
    meant, _, source = text.partition("\n")
    if meant != collection or not source or "\x00" in source:
        remedy = "send next_page_token of the page before, unchanged, for the same collection"
        raise RequestRefused(problems=[FieldProblem("page_token", "does not belong to this list", remedy)])
    return source
