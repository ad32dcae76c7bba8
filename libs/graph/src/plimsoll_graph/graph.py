"""The graph of an agent: nodes and edges in the domain's own terms, immutable, known by the digest of its canonical form."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any, TypeAlias

from plimsoll_runtime.failures import Category
from plimsoll_runtime.json_types import JsonObject, JsonValue, digest

from plimsoll_graph.expression import Expression, Template
from plimsoll_graph.schemas import compile_schema, path_text

END = "end"  # a run is over
JOIN = "join"  # a branch of a parallel node is over
FAIL = "fail"  # a failure goes no further: the run fails
ANY = "any"
ESCALATIONS = 10  # how often people may let a node be tried again in one run, when its handler does not say


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
    tokens: int = 0  # what the whole loop may use up; zero means no limit but the run's
    cost_micros: int = 0


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
class RecallNode:
    """`retrieve: {thread: true}`: what the run's thread holds. `query` is None when only the latest turns are wanted."""

    max_tokens: int
    query: Expression | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnTemplate:
    """`origin` is user, assistant, tool or system: who said it."""

    origin: str
    text: Expression


@dataclass(frozen=True, slots=True, kw_only=True)
class FactTemplate:
    """`subject` is None when the fact is about the thread; `attribute` is empty when nothing is superseded by it."""

    subject: Expression | None
    attribute: str
    text: Expression
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RememberNode:
    """Into the run's thread (`collection` is then empty), or facts into a collection. `learn` finds facts in what the user said."""

    collection: str
    turns: tuple[TurnTemplate, ...]
    facts: tuple[FactTemplate, ...]
    learn: bool


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
class SubgraphNode:
    """A run of another agent's graph. `digest` pins its version: the newest one when this graph was registered, unless it is declared."""

    agent: str
    digest: str
    input: Mapping[str, Template]


class FailurePolicy(StrEnum):
    """What failed items of a map or failed branches mean."""

    FAIL = "fail"  # the first failure is the node's; what has not begun does not begin
    COLLECT = "collect"  # failures are part of the result
    QUORUM = "quorum"  # at least a share has to come out well


@dataclass(frozen=True, slots=True, kw_only=True)
class Reducer:
    """A fold over the items that came out well, in their order: `each` sees `acc`, `item` (an item's result) and `index`."""

    initial: Expression
    each: Expression


@dataclass(frozen=True, slots=True, kw_only=True)
class MapNode:
    """The same small step for every element of a list."""

    over: Expression
    concurrency: int
    body: "ModelNode | ToolNode | RetrieveNode | SetNode | SubgraphNode"
    distributed: bool = False  # every item is a run of its own, anywhere in the fleet; the body is then a subgraph
    policy: FailurePolicy = FailurePolicy.FAIL
    quorum: float = 1.0  # share of items that have to come out well, above 0 and up to 1; counts with the policy QUORUM
    reduce: Reducer | None = None


class Merge(StrEnum):
    """How values that several branches wrote to one field become one, in the order of the branches."""

    APPEND = "append"  # lists, one behind the other
    SUM = "sum"
    MERGE = "merge"  # objects, later keys win
    LEAST = "least"
    GREATEST = "greatest"


@dataclass(frozen=True, slots=True, kw_only=True)
class ParallelNode:
    """Attributes:
    branches  name → first node of the branch, in the order in which they are joined; a branch is over at `next: join`
    merge     how a field that several branches write is joined; any other field may be written by one branch only
    """

    branches: Mapping[str, str]
    policy: FailurePolicy = FailurePolicy.FAIL
    merge: Mapping[str, Merge]


@dataclass(frozen=True, slots=True, kw_only=True)
class TimerNode:
    """`wait` for a length of time, or until a moment (an expression for an RFC 3339 text)."""

    seconds: float
    until: Expression | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalNode:
    """`wait` for a signal of this name that fits `where`; one that came before the wait counts."""

    signal: str
    where: Expression | None
    expires_s: float
    on_expired: str


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
    """Ask a person: approved means do the failed node again, rejected means fail. After `limit` yeses in a run the case no longer applies."""

    summary: Expression
    limit: int = ESCALATIONS


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveUp:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Compensate:
    """Undo the finished nodes that say how (`undo`), latest first; then go to `next`, or fail with the failure when it is empty."""

    next: str


Remedy: TypeAlias = Retry | GoTo | Escalate | GiveUp | Compensate


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    when: Expression | None
    remedy: Remedy


@dataclass(frozen=True, slots=True, kw_only=True)
class HandleNode:
    cases: tuple[Case, ...]


Kind: TypeAlias = (
    ModelNode
    | AgentNode
    | ToolNode
    | RetrieveNode
    | RecallNode
    | RememberNode
    | DecideNode
    | SetNode
    | MapNode
    | ParallelNode
    | SubgraphNode
    | ApproveNode
    | TimerNode
    | SignalNode
    | HandleNode
)

KIND_NAMES: Mapping[type, str] = {
    ModelNode: "model",
    AgentNode: "agent",
    ToolNode: "tool",
    RetrieveNode: "retrieve",
    RecallNode: "retrieve",
    RememberNode: "remember",
    DecideNode: "decide",
    SetNode: "set",
    MapNode: "map",
    ParallelNode: "parallel",
    SubgraphNode: "subgraph",
    ApproveNode: "approve",
    TimerNode: "wait",
    SignalNode: "wait",
    HandleNode: "handle",
}

PURE_KINDS = frozenset({"decide", "set", "handle"})  # touch nothing outside: computed and committed in one go


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
    timeout_s: float  # zero for no limit but those of what it waits for
    retry: RetryPolicy = RetryPolicy()
    on_failure: Mapping[str, str]
    undo: ToolNode | None = None  # the call that undoes this node, for a handler that compensates

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Concurrency:
    """At most `limit` runs of the tenant with the same value of `key` (an expression over `input`) are under way at once."""

    key: Expression
    limit: int


@dataclass(frozen=True, kw_only=True)
class Graph:
    """Attributes:
    keep         state fields that a thread carries from one of its runs to the next
    concurrency  None when runs do not wait for each other
    on_failure   where failures go that their node does not route, by category or `any`; `fail` says that the run fails
    canonical    the graph as JSON, as it was declared, with subgraphs pinned; its digest names the version
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
    keep: tuple[str, ...] = ()
    concurrency: Concurrency | None = None
    on_failure: Mapping[str, str]
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
        return [(path_text(error.instance_path), error.message) for error in self._input_validator.iter_errors(value)]

    def delta_problems(self, delta: JsonObject) -> list[tuple[str, str]]:
        """(path, what is wrong) for every changed field that breaks the state's schema."""
        known = self._field_validators
        problems = [(name, "is not a field of the state") for name in delta if known and name not in known]
        for name, value in delta.items():
            validator = known.get(name)
            if validator is not None and not validator.is_valid(value):
                problems += [(path_text([name, *error.instance_path]), error.message) for error in validator.iter_errors(value)]
        return problems
