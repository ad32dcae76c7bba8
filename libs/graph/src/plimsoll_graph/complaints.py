"""What the expression engine complains of, in words that say what is wrong and what to do."""

import re
from collections.abc import Callable

_TYPES = {
    "int64": "a whole number",
    "uint64": "a whole number",
    "double": "a decimal number",
    "string": "a text",
    "bool": "true or false",
    "list": "a list",
    "map": "an object",
    "null_type": "null",
    "*error*": "what failed before",
}
_RESULTS = {"int": "a whole number", "uint": "a whole number", "double": "a decimal number", "bool": "true or false"}
_STATUS = re.compile(r"^[A-Z_]+: ")


def _missing(found: re.Match[str]) -> str:
    return f"there is no {found[1]} where it looks; ask has(…) before it, or write .?name.orValue(…) for what may be missing"


def _beyond(found: re.Match[str]) -> str:
    return f"it asks for item {found[1]} of a list of {found[2]}, counted from 0; test size(…) before"


def _operands(found: re.Match[str]) -> str:
    types = [_TYPES.get(name.strip(), name.strip()) for name in found[2].split(",")]
    operator = found[1].strip("_")
    what = f"`{operator}`" if found[1].startswith("_") or not operator.isidentifier() else f"{operator}(…)"
    return f"{what} does not take {' and '.join(types)}; convert one, such as with string(…), int(…) or double(…)"


def _number(found: re.Match[str]) -> str:
    return f"the text is not {_RESULTS.get(found[1], found[1])}; test it with matches(…) before"


_WORDS: tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = (
    (re.compile(r'Key not found in map : (".*"|.+)'), _missing),
    (re.compile(r"(?:divide|modulus) by zero"), "it divides by zero; test the divisor before"),
    (re.compile(r"Index error: index=(-?\d+) size=(\d+)"), _beyond),
    (
        re.compile(r"No matching overloads found : <jump_condition>"),
        "what stands before `?` is not true or false; compare it with something",
    ),
    (re.compile(r"No matching overloads found : ([^(]+)\((.*)\)"), _operands),
    (
        re.compile(r"Applying SELECT to non-message type"),
        "it looks for a field in what is no object but null, a text, a number or a list; test it with != null before",
    ),
    (re.compile(r"cannot convert string to (\w+)"), _number),
    (re.compile(r"String to Timestamp conversion failed"), "the text is no time such as 2030-01-31T09:00:00Z"),
    (re.compile(r"String to Duration conversion failed"), "the text is no duration such as 90s"),
    (re.compile(r"(?:integer|int|uint64|int64).*overflow"), "a whole number becomes larger than 64 bits hold; use double(…)"),
    (re.compile(r"invalid regular expression: (.*)"), lambda found: f"the pattern is no regular expression: {found[1]}"),
)


def in_words(complaint: str) -> str:
    """What went wrong while an expression was evaluated. What is not known here keeps the engine's own words."""
    for pattern, words in _WORDS:
        found = pattern.search(complaint)
        if found is not None:
            return words if isinstance(words, str) else words(found)
    return _STATUS.sub("", complaint)
