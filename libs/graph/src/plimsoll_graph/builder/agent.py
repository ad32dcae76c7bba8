"""An agent and its nodes, with the fields that all kinds share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from plimsoll_runtime.json_types import JsonObject, JsonValue

from plimsoll_graph.builder.declaring import given, plain
from plimsoll_graph.builder.kinds import (
    AgentLoop,
    Approve,
    Decide,
    Map,
    Model,
    Parallel,
    Recall,
    Remember,
    Retrieve,
    Set,
    Sleep,
    SleepUntil,
    Subgraph,
    Tool,
    Values,
    WaitForSignal,
)
from plimsoll_graph.builder.remedies import Handle
from plimsoll_graph.check import Checked, check
from plimsoll_graph.graph import Graph
from plimsoll_graph.parse import parse_graph
from plimsoll_graph.yaml_text import yaml_text

Kind: TypeAlias = (
    Model
    | AgentLoop
    | Tool
    | Retrieve
    | Recall
    | Remember
    | Decide
    | Set
    | Map
    | Parallel
    | Subgraph
    | Approve
    | Sleep
    | SleepUntil
    | WaitForSignal
    | Handle
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Try a node again by itself: `attempts` in all, the first pause `backoff`, after failures of the categories in `on`."""

    attempts: int
    on: Sequence[str]
    backoff: str | None = None

    def declared(self) -> JsonObject:
        return given({"attempts": self.attempts, "backoff": self.backoff, "on": self.on})


@dataclass(frozen=True, slots=True, kw_only=True)
class Undo:
    """The call that undoes a tool node, for a handler that compensates."""

    name: str
    arguments: Values | None = None

    def declared(self) -> JsonObject:
        return given({"name": self.name, "arguments": self.arguments})


@dataclass(frozen=True, slots=True)
class Node:
    """A node: its kind, and what goes around it.

    Attributes:
    next        the node that follows, END, or in a branch JOIN; decide and handle nodes have none
    save        fields of the state, from `result` and `state`
    require     what must hold before
    ensure      what must hold after
    timeout     such as 30s
    on_failure  category or ANY → node, or FAIL
    """

    kind: Kind
    next: str | None = None
    save: Values | None = None
    require: Sequence[str] | None = None
    ensure: Sequence[str] | None = None
    timeout: str | None = None
    retry: RetryPolicy | None = None
    on_failure: Mapping[str, str] | None = None
    undo: Undo | None = None

    def declared(self) -> JsonObject:
        return {
            self.kind.kind: plain(self.kind.declared()),
            **given(
                {
                    "require": self.require,
                    "ensure": self.ensure,
                    "save": self.save,
                    "timeout": self.timeout,
                    "retry": self.retry.declared() if self.retry else None,
                    "undo": self.undo.declared() if self.undo else None,
                    "on_failure": dict(self.on_failure) if self.on_failure is not None else None,
                    "next": self.next,
                }
            ),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What a run may use up in all; `seconds` is the time it works, in whole seconds."""

    steps: int | None = None
    tokens: int | None = None
    cost_micros: int | None = None
    seconds: int | None = None

    def declared(self) -> JsonObject:
        return given({"steps": self.steps, "tokens": self.tokens, "cost_micros": self.cost_micros, "seconds": self.seconds})


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepts:
    """How a plain file becomes an input: which field gets its text, its bytes in Base64, its name."""

    text: str | None = None
    base64: str | None = None
    name: str | None = None

    def declared(self) -> JsonObject:
        return given({"text": self.text, "base64": self.base64, "name": self.name})


@dataclass(frozen=True, slots=True, kw_only=True)
class Concurrency:
    """At most `limit` runs with the same value of `key`, an expression over `input`, are under way at once."""

    key: str
    limit: int | None = None

    def declared(self) -> JsonObject:
        return given({"key": self.key, "limit": self.limit})


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """A whole graph.

    Attributes:
    agent        its name
    input        JSON Schema of what a run is given; the fields become the first state
    state        JSON Schema of the state: input fields and saved fields
    start        the first node
    output       what a run returns
    keep         state fields that a thread carries to its next run
    on_failure   where failures go that their node does not route: category or ANY → node, or FAIL
    """

    agent: str
    input: JsonObject
    state: JsonObject
    start: str
    nodes: Mapping[str, Node]
    output: Values | None = None
    description: str | None = None
    accepts: Accepts | None = None
    budget: Budget | None = None
    keep: Sequence[str] | None = None
    concurrency: Concurrency | None = None
    on_failure: Mapping[str, str] | None = None

    def declared(self) -> JsonObject:
        """The canonical form."""
        nodes: dict[str, JsonValue] = {name: node.declared() for name, node in self.nodes.items()}
        return given(
            {
                "agent": self.agent,
                "description": self.description,
                "input": self.input,
                "accepts": self.accepts.declared() if self.accepts else None,
                "state": self.state,
                "start": self.start,
                "budget": self.budget.declared() if self.budget else None,
                "keep": self.keep,
                "concurrency": self.concurrency.declared() if self.concurrency else None,
                "on_failure": dict(self.on_failure) if self.on_failure is not None else None,
                "output": self.output,
                "nodes": nodes,
            }
        )

    def to_yaml(self) -> str:
        """The graph as text: for `agent.yaml`, for `plimsoll agents`, for reading."""
        return yaml_text(self.declared())

    def check(self) -> Checked:
        """Every mistake at once, with its line in `to_yaml()`."""
        return check(self.to_yaml(), f"{self.agent}.yaml")

    def graph(self) -> Graph:
        """The graph. Raises InvalidGraph with every mistake."""
        return parse_graph(self.to_yaml(), f"{self.agent}.yaml")
