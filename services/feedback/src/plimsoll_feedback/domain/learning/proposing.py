"""Proposing: which corrected examples a prompt shows, within the tokens it may spend on them."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from plimsoll_runtime.json_types import JsonValue, dump_json

from plimsoll_feedback.domain.learning.likeness import NEARLY_THE_SAME, likeness, normalised, shingles

_PLACEHOLDER = re.compile(r"\{\{\s*([^{}]*?)\s*\}\}")
_BYTES_A_TOKEN = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A worked example of a prompt: a user's message and its right answer."""

    user: str
    assistant: JsonValue
    label: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptVersion:
    """A prompt as the registry has it."""

    name: str
    digest: str
    version: int
    description: str
    variables: tuple[str, ...]
    system: str
    examples: tuple[Shown, ...]
    user: str


def rendered(template: str, variables: JsonValue) -> str:
    """The user's message as the router would write it; a variable that is missing stays as its placeholder."""
    known: Mapping[str, JsonValue] = variables if isinstance(variables, dict) else {}

    def value(match: re.Match[str]) -> str:
        found = known.get(match[1], match[0])
        return found if isinstance(found, str) else dump_json(found)

    return _PLACEHOLDER.sub(value, template).strip()


def placeholders(text: str) -> frozenset[str]:
    """The variables that a template uses."""
    return frozenset(_PLACEHOLDER.findall(text))


def tokens(shown: Shown) -> int:
    """About as many as a model counts."""
    answer = shown.assistant if isinstance(shown.assistant, str) else dump_json(shown.assistant)
    return (len(shown.user.encode()) + len(answer.encode())) // _BYTES_A_TOKEN + 8


def chosen(present: Sequence[Shown], corrected: Sequence[Shown], budget: int) -> tuple[Shown, ...]:
    """The examples that a candidate shows: as many labels as fit, and of each those that differ most from one another.

    Corrections go before what the prompt shows already, for they are what it got wrong; of two that say nearly the same only the first
    stays, and a correction always outlives a present example that answers the same question otherwise. Each round takes one of every label,
    so that no label crowds out another when the budget ends. Deterministic: no chance is involved.
    """
    by_label: dict[str, list[Shown]] = defaultdict(list)
    for shown in _deduplicated([*corrected, *present]):
        by_label[shown.label].append(shown)
    queues = {label: _spread(by_label[label]) for label in sorted(by_label)}
    taken: list[Shown] = []
    left = budget
    while queues:
        for label in list(queues):
            one = next(queues[label], None)
            if one is None:
                del queues[label]
            elif (price := tokens(one)) <= left:
                taken.append(one)
                left -= price
    return tuple(sorted(taken, key=lambda one: (one.label, one.user)))


def _deduplicated(shown: Sequence[Shown]) -> Iterator[Shown]:
    seen: set[str] = set()
    for one in shown:
        key = normalised(one.user)
        if key and key not in seen:
            seen.add(key)
            yield one


def _spread(shown: Sequence[Shown]) -> Iterator[Shown]:
    """The first, then each time the one least like those taken (Gonzalez's farthest-first); nearly the same as one taken is never given."""
    sketches = [shingles(one.user) for one in shown]
    near = [0.0] * len(shown)
    left = set(range(len(shown)))
    while left:
        at = min(left, key=lambda one: (near[one], one))
        if near[at] >= NEARLY_THE_SAME:
            return
        left.remove(at)
        for other in left:
            near[other] = max(near[other], likeness(sketches[at], sketches[other]))
        yield shown[at]
