"""What an executor is asked and what it says: an answer, or what stopped the call and whether it may have acted."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from plimsoll_runtime.failures import Failure
from plimsoll_runtime.json_types import JsonObject, JsonValue

from plimsoll_tool_dispatcher.domain.effects import Mishap


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """One attempt of one call. `call_key` is the same for every attempt; `credentials` are those that the tool names, and no others."""

    tenant: str
    call_key: str
    arguments: JsonObject
    timeout_s: float
    credentials: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)
    run_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """The tool returned; its result is not checked yet. `size` is about the length of its text, 0 when nobody knows."""

    result: JsonValue
    size: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """The tool did not return. Without a mishap the failure is its definite answer; with one, the effect table decides."""

    failure: Failure
    mishap: Mishap | None = None


Attempt: TypeAlias = Answered | Stopped
