"""Mistakes that no service can see when they happen: wrong tools and made-up arguments, found afterwards by explicit rules.

Each rule says in its evidence what it saw. None of them is sure; a person's correction always wins.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from plimsoll_runtime.failures import Category
from plimsoll_runtime.json_types import JsonObject, JsonValue, dump_json

from plimsoll_feedback.domain.body import Body
from plimsoll_feedback.domain.labels import Finding
from plimsoll_feedback.domain.operation import Operation, OperationKind
from plimsoll_feedback.domain.signal import Decided, Demonstrated, Signal

ANOTHER_TOOL: Final = "another_tool_succeeded"
OTHER_ARGUMENTS: Final = "other_arguments_succeeded"
PERSON_CHOSE: Final = "person_chose"
FROM_NOWHERE: Final = "argument_from_nowhere"

_SAID_NO: Final = frozenset({Category.UPSTREAM_REJECTED, Category.TOOL_ERROR, Category.INVALID_ARGUMENTS, Category.MALFORMED_RESULT})
"""Failures that a wrong choice explains. What was away or too slow says nothing of the choice."""

_VALUES_CAP: Final = 200
_TEXT_CAP: Final = 2_000_000
_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+\.[a-zA-Z]{2,}")
_CODE: Final = re.compile(r"(?=.*[0-9])(?=.*[A-Za-z])[A-Za-z0-9][A-Za-z0-9_./#-]{3,63}")
_NUMBER: Final = re.compile(r"[0-9]{5,}")
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}([T ].*)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A tool call with its arguments, where they are kept."""

    operation: Operation
    arguments: JsonValue


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a model was asked before it called a tool."""

    operation: Operation
    body: Body


def in_step(calls: Sequence[Call], asked: Sequence[Asked], at: datetime) -> Sequence[Finding]:
    """Everything the rules find among the tool calls of one step. `asked` are the model calls of the same step."""
    ordered = sorted(calls, key=lambda call: (call.operation.started_at, call.operation.id))
    found: list[Finding] = []
    for place, call in enumerate(ordered):
        found += [*_after_failure(call, ordered[place + 1 :], at), *_from_nowhere(call, asked, at)]
    return found


def in_signal(signal: Signal, operation: Operation, arguments: JsonValue, at: datetime) -> Finding | None:
    """What a demonstration for a tool call, or a refusal with other arguments, says about the call."""
    match signal.value:
        case Demonstrated(answer={"tool": str(tool)}) if operation.kind is OperationKind.TOOL_CALL and tool != operation.name:
            said = f"{signal.source} demonstrated {tool} in place of {operation.name}"
            return _finding(operation, Category.WRONG_TOOL, PERSON_CHOSE, said, at)
        case Demonstrated(answer=dict(answer)) if operation.kind is OperationKind.TOOL_CALL:
            wanted = answer.get("arguments")
            if isinstance(wanted, dict) and isinstance(arguments, dict) and (names := _differing(arguments, wanted)):
                said = f"{signal.source} demonstrated other values of {', '.join(names)}"
                return _finding(operation, Category.INVALID_ARGUMENTS, PERSON_CHOSE, said, at)
            return None
        case Decided(approved=False, arguments=dict(wanted), proposal=dict(proposal)):
            before = proposal.get("arguments")
            names = _differing(before if isinstance(before, dict) else {}, wanted)
            said = f"{signal.source} refused the call and proposed other values of {', '.join(names)}"
            return _finding(operation, Category.INVALID_ARGUMENTS, PERSON_CHOSE, said, at) if names else None
        case _:
            return None


def _after_failure(call: Call, later: Sequence[Call], at: datetime) -> Iterator[Finding]:
    """The first later call of the same step that succeeded tells what was wrong with the one that failed."""
    failure = call.operation.failure
    if failure is None or failure.category not in _SAID_NO:
        return
    worked = next((other for other in later if other.operation.failure is None), None)
    if worked is None:
        return
    said = f"{call.operation.name} failed with {failure.reason}; "
    if worked.operation.name != call.operation.name:
        said += f"{worked.operation.name} succeeded afterwards in the same step"
        yield _finding(call.operation, Category.WRONG_TOOL, ANOTHER_TOOL, said, at)
        return
    before, after = call.arguments, worked.arguments
    if isinstance(before, dict) and isinstance(after, dict) and (names := _differing(before, after)):
        said += f"it succeeded afterwards in the same step with other values of {', '.join(names)}"
        yield _finding(call.operation, Category.INVALID_ARGUMENTS, OTHER_ARGUMENTS, said, at)


def _from_nowhere(call: Call, asked: Sequence[Asked], at: datetime) -> Iterator[Finding]:
    """Codes, addresses and long numbers that the model gave a tool and that occur nowhere in what it had been told."""
    before = [one for one in asked if one.operation.started_at <= call.operation.started_at and one.body.input is not None]
    if not before:
        return
    told = _squeezed(dump_json(max(before, key=lambda one: one.operation.started_at).body.input)[:_TEXT_CAP])
    absent = [
        path for path, value in list(_values(call.arguments, ""))[:_VALUES_CAP] if _is_telling(value) and _squeezed(value) not in told
    ]
    if absent:
        said = f"the value of {', '.join(absent[:5])} occurs nowhere in what the model had been told"
        yield _finding(call.operation, Category.INVALID_ARGUMENTS, FROM_NOWHERE, said, at)


def _is_telling(value: str) -> bool:
    """Only what cannot be put in other words: not names, sentences, dates or small numbers."""
    if _DATE.fullmatch(value):
        return False
    return any(form.fullmatch(value) for form in (_EMAIL, _CODE, _NUMBER))


def _values(value: JsonValue, path: str) -> Iterator[tuple[str, str]]:
    """Paths and texts of the leaves; the values themselves never leave this module."""
    match value:
        case str():
            yield path, value
        case bool() | None:
            return
        case int() | float():
            yield path, f"{value}"
        case list():
            for place, one in enumerate(value):
                yield from _values(one, f"{path}[{place}]")
        case dict():
            for name, one in value.items():
                yield from _values(one, f"{path}.{name}" if path else name)


def _squeezed(text: str) -> str:
    """Without what people write differently: case, spaces, dashes, thousands' separators."""
    return re.sub(r"[\s\-_.,'/#]", "", text.lower())


def _differing(one: JsonObject, other: JsonObject) -> list[str]:
    return sorted(name for name in {*one, *other} if one.get(name) != other.get(name))[:10]


def _finding(operation: Operation, category: Category, rule: str, evidence: str, at: datetime) -> Finding:
    return Finding(
        tenant=operation.tenant,
        run_id=operation.run_id,
        operation_id=operation.id,
        category=category,
        rule=rule,
        evidence=evidence[:2000],
        agent=operation.agent,
        started_at=operation.started_at,
        created_at=at,
    )
