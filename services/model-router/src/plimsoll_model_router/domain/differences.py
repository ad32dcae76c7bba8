"""What differs between two versions, field by field; for texts also line by line."""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass

from plimsoll_runtime.json_types import JsonValue, dump_json

from plimsoll_model_router.domain.entries import Content, to_plain


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Attributes:
    field   a path such as `examples[2].user`
    before  JSON; empty when it was not there
    after   JSON; empty when it is gone
    lines   for texts of several lines: their unified difference
    """

    field: str
    before: str
    after: str
    lines: str = ""


def differences(before: Content, after: Content) -> tuple[Difference, ...]:
    """Empty when the two are the same."""
    described = [] if before.description == after.description else [_difference("description", before.description, after.description)]
    return (*described, *_between("", to_plain(before), to_plain(after)))


def _between(path: str, before: JsonValue, after: JsonValue) -> Iterator[Difference]:
    match before, after:
        case dict(), dict():
            for key in [*before, *(key for key in after if key not in before)]:
                field = f"{path}.{key}" if path else key
                if key not in after:
                    yield Difference(field=field, before=dump_json(before[key]), after="")
                elif key not in before:
                    yield Difference(field=field, before="", after=dump_json(after[key]))
                else:
                    yield from _between(field, before[key], after[key])
        case list(), list():
            for at in range(max(len(before), len(after))):
                field = f"{path}[{at}]"
                if at >= len(after):
                    yield Difference(field=field, before=dump_json(before[at]), after="")
                elif at >= len(before):
                    yield Difference(field=field, before="", after=dump_json(after[at]))
                else:
                    yield from _between(field, before[at], after[at])
        case _ if dump_json(before) != dump_json(after):
            yield _difference(path, before, after)


def _difference(field: str, before: JsonValue, after: JsonValue) -> Difference:
    lines = ""
    if isinstance(before, str) and isinstance(after, str) and "\n" in before + after:
        lines = "\n".join(difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=2))
    return Difference(field=field, before=dump_json(before), after=dump_json(after), lines=lines)
