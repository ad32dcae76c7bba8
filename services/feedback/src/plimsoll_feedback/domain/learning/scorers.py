"""Scorers: how good one answer is, beside the answer that would have been right."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import jsonschema_rs
from plimsoll_runtime.json_types import JsonObject, JsonValue, canonical

from plimsoll_feedback.domain.learning.likeness import normalised

EXACT, SIMILARITY, SCHEMA, TOOL_CHOICE, JUDGE = "exact", "similarity", "schema", "tool_choice", "judge"
SCORERS = (EXACT, SIMILARITY, SCHEMA, TOOL_CHOICE, JUDGE)
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """An answer as it is scored: its JSON when there is one, else its text; the tools it called, in order.

    `failed` is an answer that did not come for the version's own fault: it scores nothing.
    """

    value: JsonValue
    tools: tuple[str, ...] = ()
    failed: bool = False


def score(scorer: str, given: Given, expected: JsonValue, schema: JsonValue, expected_tools: Sequence[str]) -> float | None:
    """0 to 1; None where the scorer has nothing to go by. The judge is asked elsewhere. Raises ValueError for what cannot be scored."""
    if given.failed:
        return 0.0
    match scorer:
        case "exact":
            return float(_plain(given.value) == _plain(expected))
        case "similarity":
            return overlap(_text(given.value), _text(expected))
        case "schema":
            return _conforms(given.value, schema)
        case "tool_choice":
            return float(Counter(given.tools) == Counter(expected_tools))
        case _:
            raise ValueError(f"there is no scorer {scorer}")


def overlap(one: str, other: str) -> float:
    """The harmonic mean of the words' precision and recall, as in reading comprehension; 1 for two texts without words."""
    left, right = Counter(_WORD.findall(normalised(one))), Counter(_WORD.findall(normalised(other)))
    if not left or not right:
        return float(left == right)
    common = sum((left & right).values())
    return 2 * common / (left.total() + right.total())


def judged(output: JsonValue) -> float:
    """The score that a judge gave. Raises ValueError when what it said is none."""
    found = output.get("score") if isinstance(output, dict) else None
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 <= found <= 1:
        raise ValueError("the judge gave no score from 0 to 1")
    return float(found)


def _conforms(value: JsonValue, schema: JsonValue) -> float | None:
    if not isinstance(schema, dict):
        return None
    try:
        patterns = jsonschema_rs.RegexOptions()  # of linear time
        return float(jsonschema_rs.validator_for(schema, retriever=_refused, pattern_options=patterns).is_valid(value))
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError) as error:
        raise ValueError(f"the recorded schema is none: {error}") from error


def _refused(uri: str) -> JsonValue:
    """A recorded schema is somebody else's text: nothing is fetched for it, from nowhere."""
    raise ValueError(f"{uri} lies outside of the schema")


def _plain(value: JsonValue) -> str:
    """Equal for equal answers; texts are compared without case and spaces, numbers by value."""
    return f"text:{normalised(value)}" if isinstance(value, str) else canonical(_folded(value))


def _folded(value: JsonValue) -> JsonValue:
    if isinstance(value, str):
        return normalised(value)
    if isinstance(value, list):
        return [_folded(item) for item in value]
    if isinstance(value, dict):
        folded: JsonObject = {key: _folded(item) for key, item in value.items()}
        return folded
    return value


def _text(value: JsonValue) -> str:
    return value if isinstance(value, str) else canonical(value)
