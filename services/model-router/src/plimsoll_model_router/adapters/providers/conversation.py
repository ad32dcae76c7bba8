"""What all codecs need to know of a conversation: unique call ids, provenance, and whether a schema can be enforced by a provider."""

import re
from collections import defaultdict, deque
from dataclasses import dataclass, replace

from plimsoll_runtime.json_types import JsonObject, JsonValue, canonical

from plimsoll_model_router.domain.generation import Question
from plimsoll_model_router.domain.messages import Message, Part, ToolCall, ToolResult

_WIRE_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """A question in a provider's form. `notes` say what was dropped or emulated on the way."""

    body: JsonObject
    notes: tuple[str, ...] = ()


def with_wire_ids(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """The conversation with call ids that every provider accepts: unique, of plain characters, each result under its call's id.

    Calls of different turns may share an id with us, and other providers' ids may hold anything; results follow their calls in order.
    """
    renamed: dict[str, deque[str]] = defaultdict(deque)
    used: set[str] = set()
    out = []
    for message in messages:
        parts: list[Part] = []
        for part in message.parts:
            if isinstance(part, ToolCall):
                wire_id = _fresh(part.call_id, used)
                used.add(wire_id)
                renamed[part.call_id].append(wire_id)
                parts.append(replace(part, call_id=wire_id))
            elif isinstance(part, ToolResult):
                waiting = renamed[part.call_id]
                parts.append(replace(part, call_id=waiting.popleft() if waiting else _fresh(part.call_id, set())))
            else:
                parts.append(part)
        out.append(replace(message, parts=tuple(parts)))
    return tuple(out)


def call_id(given: str, position: int, taken: set[str]) -> str:
    """The id of a call in a reply: the provider's, unless it gave none or the same twice."""
    wanted = given or f"call_{position + 1}"
    return _fresh(wanted, taken) if wanted in taken else wanted


def provenance(provider: str, question: Question) -> str:
    """Who made the opaque parts of a reply; nobody else can read them."""
    return f"{provider}/{question.model}"


def schema_instruction(schema: JsonObject) -> str:
    """What to tell a model whose provider cannot enforce the schema."""
    return f"Answer with one JSON value and nothing else. It must satisfy this JSON Schema:\n{canonical(schema)}"


def is_closed(schema: JsonValue) -> bool:
    """Whether every object in the schema lists all it may hold and requires all of it: what strict modes of providers ask for."""
    match schema:
        case {"type": "object", **rest}:
            properties = rest.get("properties")
            if not isinstance(properties, dict) or rest.get("additionalProperties") is not False:
                return False
            required = rest.get("required")
            every = isinstance(required, list) and set(properties) == {str(name) for name in required}
            return every and all(is_closed(inner) for inner in properties.values()) and not rest.keys() & _BEYOND
        case dict():
            return not schema.keys() & _BEYOND and all(is_closed(value) for key, value in schema.items() if key not in {"enum", "const"})
        case list():
            return all(is_closed(item) for item in schema)
        case _:
            return True


_BEYOND = frozenset(
    {"oneOf", "allOf", "not", "if", "$ref", "patternProperties", "minLength", "maxLength", "minItems", "maxItems"}
) | frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "pattern", "uniqueItems", "dependentRequired"})


def _fresh(wanted: str, used: set[str]) -> str:
    plain = wanted if _WIRE_ID.fullmatch(wanted) else (re.sub(r"[^A-Za-z0-9_-]", "_", wanted)[:60] or "call")
    number, name = 1, plain
    while name in used:
        number += 1
        name = f"{plain[:58]}_{number}"
    return name
