"""What can come next in a run, and what performing a step can come to."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias

from plimsoll_graph.graph import Node
from plimsoll_runtime.failures import Failure
from plimsoll_runtime.json_types import JsonObject, JsonValue
from plimsoll_runtime.usage import Usage

from plimsoll_orchestrator.domain.journal import NO_USAGE, ChildrenStarted, Entry, RunStarted, RunStatus


@dataclass(frozen=True, slots=True)
class Write:
    """Append these entries; nothing outside is touched."""

    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Birth:
    """A run that a step starts."""

    run_id: str
    agent: str
    agent_digest: str
    first: RunStarted


@dataclass(frozen=True, slots=True)
class Begin:
    """Start these runs, and say so in the journal, both or neither."""

    entry: ChildrenStarted
    births: tuple[Birth, ...]


@dataclass(frozen=True, slots=True)
class Perform:
    """Do the step that is under way."""

    node: Node


@dataclass(frozen=True, slots=True)
class JoinThread:
    """Learn what the run's thread carries."""


@dataclass(frozen=True, slots=True)
class Park:
    """Let go of the run until `at`, or until somebody wakes it."""

    at: datetime | None
    status: RunStatus


@dataclass(frozen=True, slots=True)
class Rest:
    """The run is finished."""


Action: TypeAlias = Write | Begin | Perform | JoinThread | Park | Rest


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A step came out well.

    Attributes:
    next     overrules the node's own
    delta    changes of the state beside those that the node saves
    prompts  prompt reference → digest of the version that answered
    signal   id of the signal that ended a wait
    empty    nothing came: there is no result to be saved or judged
    labels   what was read, by the labels of what it was read from
    """

    result: JsonValue
    usage: Usage = NO_USAGE
    rehearsal: bool = False
    facts: JsonObject | None = None
    next: str = ""
    delta: JsonObject = field(default_factory=dict)
    prompts: dict[str, str] = field(default_factory=dict)
    signal: str = ""
    empty: bool = False
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A step came out as a failure; `unsettled` when a call may have acted without our learning of it."""

    failure: Failure
    usage: Usage = NO_USAGE
    unsettled: bool = False
