"""The graph of an agent: nodes and edges in the domain's own terms, immutable, known by the digest of its canonical form."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import jsonschema_rs
from plimsoll_runtime.failures import Category
from plimsoll_runtime.json_types import JsonObject, JsonValue, digest

from plimsoll_graph.expression import Expression, Template

END = "end"
ANY = "any"


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptName:
    """A prompt by label, or by version number."""

    name: str
    label: str = ""
    version: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelNode:
    prompt: PromptName
    variables: Mapping[str, Template]
    task: str
    output: JsonObject | None
    max_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentNode:
    prompt: PromptName
    variables: Mapping[str, Template]
    task: str
    tools: tuple[str, ...]
    turns: int
    output: JsonObject | None
    max_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolNode:
    tool: str
    arguments: Mapping[str, Template]


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrieveNode:
    collection: str
    query: Expression
    limit: int
    filter: Mapping[str, Template]


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    when: Expression
    next: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DecideNode:
    branches: tuple[Branch, ...]
    default: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SetNode:
    fields: Mapping[str, Template]


@dataclass(frozen=True, slots=True, kw_only=True)
class MapNode:
    over: Expression
    concurrency: int
    collect_failures: bool
    body: "ModelNode | ToolNode | RetrieveNode | SetNode"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApproveNode:
    summary: Expression
    details: Mapping[str, Template]
    expires_s: float
    on_rejected: str
    on_expired: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """Do the failed node again, at most `limit` times in all."""

    limit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GoTo:
    next: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Escalate:
    """Ask a person: approved means do the failed node again, rejected means fail."""

    summary: Expression


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveUp:
    pass


Remedy: TypeAlias = Retry | GoTo | Escalate | GiveUp


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    when: Expression | None
    remedy: Remedy


@dataclass(frozen=True, slots=True, kw_only=True)
class HandleNode:
    cases: tuple[Case, ...]


Kind: TypeAlias = ModelNode | AgentNode | ToolNode | RetrieveNode | DecideNode | SetNode | MapNode | ApproveNode | HandleNode

KIND_NAMES: Mapping[type, str] = {
    ModelNode: "model",
    AgentNode: "agent",
    ToolNode: "tool",
    RetrieveNode: "retrieve",
    DecideNode: "decide",
    SetNode: "set",
    MapNode: "map",
    ApproveNode: "approve",
    HandleNode: "handle",
}

# Kinds that touch nothing outside: computed and committed in one go, without a "started" entry before.
PURE_KINDS = frozenset({"decide", "set", "handle"})


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often a node is tried in all, and the first pause in seconds; each further pause is twice as long, up to a minute."""

    attempts: int = 1
    backoff_s: float = 0.5
    on: frozenset[Category] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    name: str
    kind: Kind
    next: str
    require: tuple[Expression, ...] = ()
    ensure: tuple[Expression, ...] = ()
    save: Mapping[str, Template]
    timeout_s: float
    retry: RetryPolicy = RetryPolicy()
    on_failure: Mapping[str, str]

    @property
    def kind_name(self) -> str:
        return KIND_NAMES[type(self.kind)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What a run may use up in all; zero means no limit."""

    steps: int = 1000
    tokens: int = 0
    cost_micros: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FileMapping:
    text_field: str = ""
    base64_field: str = ""
    name_field: str = ""


@dataclass(frozen=True, kw_only=True)
class Graph:
    """Attributes:
    canonical  the graph as JSON, as it was declared; its digest names the version
    """

    agent: str
    description: str
    input_schema: JsonObject
    state_schema: JsonObject
    start: str
    nodes: Mapping[str, Node]
    output: Mapping[str, Template]
    budget: Budget
    accepts: FileMapping
    canonical: JsonObject

    @cached_property
    def digest(self) -> str:
        return digest(self.canonical)

    @cached_property
    def _input_validator(self) -> Any:
        return compile_schema(self.input_schema)

    @cached_property
    def _field_validators(self) -> Mapping[str, Any]:
        properties = self.state_schema.get("properties")
        shared: JsonObject = {key: self.state_schema[key] for key in ("$defs", "definitions") if key in self.state_schema}
        if not isinstance(properties, dict):
            return {}
        return {
            name: compile_schema({"allOf": [schema], **shared} if shared else schema)
            for name, schema in properties.items()
            if isinstance(schema, dict)
        }

    def input_problems(self, value: JsonValue) -> list[tuple[str, str]]:
        """(path, what is wrong) for every place where an input breaks the schema."""
        return [(_path(error.instance_path), error.message) for error in self._input_validator.iter_errors(value)]

    def delta_problems(self, delta: JsonObject) -> list[tuple[str, str]]:
        """(path, what is wrong) for every changed field that breaks the state's schema."""
        problems = [
            (name, "is not a field of the state") for name in delta if self._field_validators and name not in self._field_validators
        ]
        for name, value in delta.items():
            validator = self._field_validators.get(name)
            if validator is not None and not validator.is_valid(value):
                problems += [(_path([name, *error.instance_path]), error.message) for error in validator.iter_errors(value)]
        return problems


def compile_schema(schema: JsonObject) -> Any:
    """A validator that never leaves the process. Raises ValueError when the schema is not a JSON Schema.

    Messages never show the value that is wrong: it may be a secret or a person's.
    """
    try:
        return jsonschema_rs.validator_for(schema, mask="the value", retriever=_refuse, pattern_options=jsonschema_rs.RegexOptions())
    except jsonschema_rs.ValidationError as error:
        raise ValueError(f"{_path(error.instance_path) or 'the schema'}: {error.message}") from error
    except (jsonschema_rs.ReferencingError, TypeError, ValueError) as error:
        raise ValueError(str(error)) from error


def _refuse(uri: str) -> Any:
    raise ValueError(f"{uri}: a schema may refer to itself only")


def _path(parts: list[str | int]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else (f".{part}" if index else str(part)) for index, part in enumerate(parts))
