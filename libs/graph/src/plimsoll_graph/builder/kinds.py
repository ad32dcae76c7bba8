"""The kinds of nodes, each as it is declared in YAML under the word that its docstring begins with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias

from plimsoll_runtime.json_types import JsonObject, JsonValue

from plimsoll_graph.builder.declaring import given

Value: TypeAlias = JsonValue
"""JSON whose texts are expressions."""
Values: TypeAlias = Mapping[str, JsonValue]
"""Fields whose texts are expressions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """`model`: one call of a model.

    Attributes:
    prompt     name@label or name@version
    variables  the prompt's variables
    task       what the router chooses a model by: classification, extraction, answering, reasoning …
    output     JSON Schema of the answer's `output`

    Result: {text, output, confidence, model, rehearsal}.
    """

    kind: ClassVar[str] = "model"
    prompt: str
    variables: Values | None = None
    task: str | None = None
    output: JsonObject | None = None
    max_tokens: int | None = None

    def declared(self) -> JsonObject:
        return given(
            {
                "prompt": self.prompt,
                "variables": self.variables,
                "task": self.task,
                "output": self.output,
                "max_tokens": self.max_tokens,
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentLoop:
    """`agent`: a model that calls tools until it has an answer, bounded by turns, tokens and money.

    Result: {text, output, turns, calls: [{tool, arguments, ok, content}], confidence, model, rehearsal}.
    """

    kind: ClassVar[str] = "agent"
    prompt: str
    tools: Sequence[str]
    variables: Values | None = None
    task: str | None = None
    turns: int | None = None
    output: JsonObject | None = None
    max_tokens: int | None = None
    tokens: int | None = None
    cost_micros: int | None = None

    def declared(self) -> JsonObject:
        return given(
            {
                "prompt": self.prompt,
                "variables": self.variables,
                "task": self.task,
                "tools": self.tools,
                "turns": self.turns,
                "output": self.output,
                "max_tokens": self.max_tokens,
                "tokens": self.tokens,
                "cost_micros": self.cost_micros,
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """`tool`: one call of a tool; a high-risk one waits until people allow exactly this call. Result: the tool's."""

    kind: ClassVar[str] = "tool"
    name: str
    arguments: Values | None = None

    def declared(self) -> JsonObject:
        return given({"name": self.name, "arguments": self.arguments})


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrieve:
    """`retrieve`: a search in a collection. Result: {passages, receipt}; nothing found is the failure retrieval_empty."""

    kind: ClassVar[str] = "retrieve"
    collection: str
    query: str
    limit: int | None = None
    filter: Values | None = None

    def declared(self) -> JsonObject:
        return given({"collection": self.collection, "query": self.query, "limit": self.limit, "filter": self.filter})


@dataclass(frozen=True, slots=True, kw_only=True)
class Recall:
    """`retrieve` with `thread: true`: what the run's thread holds. Result: {turns, summary, facts, recalled}."""

    kind: ClassVar[str] = "retrieve"
    max_tokens: int | None = None
    query: str | None = None

    def declared(self) -> JsonObject:
        return given({"thread": True, "max_tokens": self.max_tokens, "query": self.query})


@dataclass(frozen=True, slots=True)
class Turn:
    """Something that was said, and by whom."""

    origin: Literal["user", "assistant", "tool", "system"]
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """A statement worth remembering. Without `subject` it is about the thread; with `attribute` it supersedes an older one of the same."""

    text: str
    subject: str | None = None
    attribute: str | None = None
    origin: Literal["user", "assistant", "tool", "operator"] | None = None

    def declared(self) -> JsonObject:
        return given({"subject": self.subject, "attribute": self.attribute, "text": self.text, "origin": self.origin})


@dataclass(frozen=True, slots=True, kw_only=True)
class Remember:
    """`remember`: into the run's thread, or with `collection` facts for every run. Result: {turns, facts, left_out: [{text, reason}]}."""

    kind: ClassVar[str] = "remember"
    turns: Sequence[Turn] | None = None
    facts: Sequence[Fact] | None = None
    learn: bool | None = None
    collection: str | None = None

    def declared(self) -> JsonObject:
        turns: list[JsonValue] | None = None if self.turns is None else [{turn.origin: turn.text} for turn in self.turns]
        facts: list[JsonValue] | None = None if self.facts is None else [fact.declared() for fact in self.facts]
        where: JsonObject = {"thread": True} if self.collection is None else {"collection": self.collection}
        return where | given({"turns": turns, "facts": facts, "learn": self.learn})


@dataclass(frozen=True, slots=True)
class Branch:
    """Where to go when a condition holds."""

    when: str
    next: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decide:
    """`decide`: the first branch whose condition holds, else the default."""

    kind: ClassVar[str] = "decide"
    branches: Sequence[Branch]
    default: str

    def declared(self) -> JsonObject:
        return {"branches": [{"when": branch.when, "next": branch.next} for branch in self.branches], "default": self.default}


@dataclass(frozen=True, slots=True)
class Set:
    """`set`: computed fields of the state, or as the body of a map the fields of an item's result."""

    kind: ClassVar[str] = "set"
    fields: Values

    def declared(self) -> JsonObject:
        return dict(self.fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subgraph:
    """`subgraph`: a run of another agent, pinned to the version that is newest when the graph is registered. Result: the child's output."""

    kind: ClassVar[str] = "subgraph"
    agent: str
    input: Values | None = None
    digest: str | None = None

    def declared(self) -> JsonObject:
        return given({"agent": self.agent, "digest": self.digest, "input": self.input})


@dataclass(frozen=True, slots=True, kw_only=True)
class Reduce:
    """A fold over the items that came out well, in their order; `each` sees acc, item (an item's result) and index."""

    initial: str
    each: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Map:
    """`map`: the same for every item of a list. The body sees item and index.

    Attributes:
    do               what is done for an item; a Subgraph when the mode is distributed, else any of the others
    mode             inline: in this worker; distributed: each item a run of its own, anywhere in the fleet
    on_item_failure  fail with the first, collect all, or quorum: at least the share `quorum` has to come out well

    Result: {items, failures: [{index, category, reason, message}], reduced}; the last only with `reduce`.
    """

    kind: ClassVar[str] = "map"
    over: str
    do: Model | Tool | Retrieve | Set | Subgraph
    mode: Literal["inline", "distributed"] | None = None
    concurrency: int | None = None
    on_item_failure: Literal["fail", "collect", "quorum"] | None = None
    quorum: float | None = None
    reduce: Reduce | None = None

    def declared(self) -> JsonObject:
        reduce: JsonObject | None = None if self.reduce is None else {"initial": self.reduce.initial, "each": self.reduce.each}
        return given(
            {
                "over": self.over,
                "mode": self.mode,
                "concurrency": self.concurrency,
                "on_item_failure": self.on_item_failure,
                "quorum": self.quorum,
                "reduce": reduce,
                "do": {self.do.kind: self.do.declared()},
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Parallel:
    """`parallel`: branches side by side; each is a chain of nodes that ends with JOIN.

    Attributes:
    branches  name → first node, in the order in which they are joined
    merge     how a field that several branches write becomes one: append, sum, merge, least or greatest

    Result: {branches: {name: {status, failure}}, failures: [{branch, category, reason, message}]}.
    """

    kind: ClassVar[str] = "parallel"
    branches: Mapping[str, str]
    on_branch_failure: Literal["fail", "collect"] | None = None
    merge: Mapping[str, Literal["append", "sum", "merge", "least", "greatest"]] | None = None

    def declared(self) -> JsonObject:
        merge: JsonObject | None = None if self.merge is None else dict(self.merge)
        return given({"branches": dict(self.branches), "on_branch_failure": self.on_branch_failure, "merge": merge})


@dataclass(frozen=True, slots=True)
class Sleep:
    """`wait` for a length of time such as 30s. Result: {at}."""

    kind: ClassVar[str] = "wait"
    duration: str

    def declared(self) -> JsonObject:
        return {"for": self.duration}


@dataclass(frozen=True, slots=True)
class SleepUntil:
    """`wait` until a moment: an expression for an RFC 3339 text. Result: {at}."""

    kind: ClassVar[str] = "wait"
    moment: str

    def declared(self) -> JsonObject:
        return {"until": self.moment}


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitForSignal:
    """`wait` for a signal of this name that fits `where`, which sees `signal`. Result: {name, payload, by}."""

    kind: ClassVar[str] = "wait"
    signal: str
    where: str | None = None
    expires: str | None = None
    on_expired: str | None = None

    def declared(self) -> JsonObject:
        return given({"signal": self.signal, "where": self.where, "expires": self.expires, "on_expired": self.on_expired})


@dataclass(frozen=True, slots=True, kw_only=True)
class Approve:
    """`approve`: waits until people decide. Result: {decision, by, comment}."""

    kind: ClassVar[str] = "approve"
    summary: str
    details: Values | None = None
    expires: str | None = None
    on_rejected: str | None = None
    on_expired: str | None = None

    def declared(self) -> JsonObject:
        return given(
            {
                "summary": self.summary,
                "details": self.details,
                "expires": self.expires,
                "on_rejected": self.on_rejected,
                "on_expired": self.on_expired,
            }
        )
