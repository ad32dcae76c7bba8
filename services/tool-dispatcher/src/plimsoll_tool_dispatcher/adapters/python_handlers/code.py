"""One version of one file of handlers, as it was read: a worker process gets this text, whatever becomes of the file."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class CategoryCode:
    """`path` names the file, for messages and for what lies beside it; `missing` are credentials that were declared and not found.

    `version` changes with anything that a worker process is given.
    """

    path: str
    category: str
    text: str = field(repr=False)
    functions: tuple[str, ...]
    credentials: Mapping[str, str] = field(repr=False)
    missing: tuple[str, ...]
    version: str


def category_code(
    *, path: str, category: str, text: str, functions: tuple[str, ...], credentials: Mapping[str, str], missing: tuple[str, ...] = ()
) -> CategoryCode:
    """The code under its version."""
    given = "\0".join([text, *functions, *(f"{name}={value}" for name, value in sorted(credentials.items()))])
    version = hashlib.sha256(given.encode("utf-8", "surrogatepass")).hexdigest()
    return CategoryCode(
        path=path, category=category, text=text, functions=functions, credentials=credentials, missing=missing, version=version
    )
