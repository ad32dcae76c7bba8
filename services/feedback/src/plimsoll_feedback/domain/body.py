"""Bodies: what went into an operation and what came out. They stay with the service that keeps them and are fetched when asked for."""

from dataclasses import dataclass

from plimsoll_runtime.json_types import JsonValue


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """`missing` says why something is absent; empty when nothing is."""

    owner: str
    input: JsonValue = None
    output: JsonValue = None
    missing: str = ""
