"""Building a graph in Python: the same canonical form, and so the same digest, as the equal YAML.

    from plimsoll_graph.builder import END, Agent, Model, Node

    agent = Agent(
        agent="greeter",
        input={"type": "object", "properties": {"name": {"type": "string"}}},
        state={"type": "object", "properties": {"name": {"type": "string"}, "answer": {"type": "string"}}},
        start="greet",
        output={"answer": "state.answer"},
        nodes={"greet": Node(Model(prompt="greet@production", variables={"name": "state.name"}), save={"answer": "result.text"}, next=END)},
    )

As in YAML, texts in variables, arguments, save, set, output and the like are expressions; `text("…")` writes a literal one. What is not given is
not declared: the defaults are the graph language's own. Nothing is checked while building; `agent.check()` finds every mistake at once.
"""

from plimsoll_graph.builder.agent import Accepts, Agent, Budget, Concurrency, Node, RetryPolicy, Undo
from plimsoll_graph.builder.kinds import (
    AgentLoop,
    Approve,
    Branch,
    Decide,
    Fact,
    Map,
    Model,
    Parallel,
    Recall,
    Reduce,
    Remember,
    Retrieve,
    Set,
    Sleep,
    SleepUntil,
    Subgraph,
    Tool,
    Turn,
    Value,
    Values,
    WaitForSignal,
)
from plimsoll_graph.builder.literal import text
from plimsoll_graph.builder.remedies import Compensate, Escalate, Fail, GoTo, Handle, Retry
from plimsoll_graph.graph import ANY, END, FAIL, JOIN

__all__ = [
    "ANY",
    "END",
    "FAIL",
    "JOIN",
    "Accepts",
    "Agent",
    "AgentLoop",
    "Approve",
    "Branch",
    "Budget",
    "Compensate",
    "Concurrency",
    "Decide",
    "Escalate",
    "Fact",
    "Fail",
    "GoTo",
    "Handle",
    "Map",
    "Model",
    "Node",
    "Parallel",
    "Recall",
    "Reduce",
    "Remember",
    "Retrieve",
    "Retry",
    "RetryPolicy",
    "Set",
    "Sleep",
    "SleepUntil",
    "Subgraph",
    "Tool",
    "Turn",
    "Undo",
    "Value",
    "Values",
    "WaitForSignal",
    "text",
]
