"""How often runs found what their samples expect, field by field."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from plimsoll_client.models import Run
from plimsoll_runtime.json_types import JsonObject, JsonValue

_ELSEWHERE = {"refund_cents": ("refund", "amount_cents")}
"""Expectations about a field inside another one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """One expected field of one agent: how many runs met it, of how many that were asked to."""

    agent: str
    field: str
    met: int
    asked: int


def met(expect: JsonObject, run: Run) -> dict[str, bool]:
    """For each expected field whether the run found it: in its output, else in its state. Of a list all must be found."""
    output = run.output if isinstance(run.output, dict) else {}
    return {name: _matches(wanted, _found(name, output, run.state or {})) for name, wanted in expect.items()}


def tallies(checked: Iterable[tuple[str, dict[str, bool]]]) -> list[Tally]:
    """Sums of `met` by agent and field, in the order of their first appearance."""
    asked: Counter[tuple[str, str]] = Counter()
    right: Counter[tuple[str, str]] = Counter()
    for agent, fields in checked:
        for name, ok in fields.items():
            asked[agent, name] += 1
            right[agent, name] += ok
    return [Tally(agent=agent, field=name, met=right[agent, name], asked=count) for (agent, name), count in asked.items()]


def _found(name: str, output: JsonObject, state: JsonObject) -> JsonValue:
    path = _ELSEWHERE.get(name, (name,))
    for place in (output, state):
        value: JsonValue = place
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        if value is not None:
            return value
    return None


def _matches(wanted: JsonValue, found: JsonValue) -> bool:
    if isinstance(wanted, list):
        return isinstance(found, list) and all(item in found for item in wanted)
    return wanted == found
