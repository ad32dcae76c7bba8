"""Every example of the graph language's reference does what it says, on the real engine."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from orchestrator_fakes import TENANT, Bench, answer, failure, open_bench, pending
from plimsoll_orchestrator.domain.journal import RunStatus
from plimsoll_orchestrator.domain.options import USUAL, RunOptions
from plimsoll_orchestrator.ports import Returned, ToolOutcome
from plimsoll_orchestrator.service import RunView
from plimsoll_runtime.failures import Category
from plimsoll_runtime.json_types import JsonObject

REFERENCE = Path(__file__).parents[2] / "GRAPH.md"
EXAMPLES = {re.findall(r"^agent: (\S+)", text)[0]: text for text in re.findall(r"```yaml\n(.*?)```", REFERENCE.read_text(), re.DOTALL)}

# What each example is given, and what it returns.
RUNS: dict[str, tuple[JsonObject, JsonObject]] = {
    "greeter": ({"name": "Ann"}, {"greeting": "Hello, Ann"}),
    "common-fields": ({"order": "o1"}, {"shipped": True}),
    "kind-model": ({"message": "My money, please"}, {"intent": "refund"}),
    "kind-agent": ({"question": "Where is it?"}, {"answer": "hello"}),
    "kind-tool": ({"order": "o1"}, {"ticket": {"subject": "About o1", "urgent": False, "tags": ["order", "o1"]}}),
    "kind-retrieve": ({"question": "How long?"}, {"evidence": ["refunds.md"]}),
    "kind-remember": ({"message": "Hi"}, {"answer": "You said: Hi", "before": 0}),
    "kind-file": ({"customer": "c1"}, {}),
    "kind-decide": ({"amount": 200}, {"size": "medium"}),
    "kind-set": ({"prices": [5, 20]}, {"dear": [20], "note": {"kind": "summary", "first": 5, "checked": True}}),
    "kind-map": ({"orders": ["a", "b"]}, {"found": [{"order": "a", "place": 0}, {"order": "b", "place": 1}], "total": 2}),
    "kind-spread": ({"names": ["Ann", "Bob"]}, {"greetings": ["Hello, Ann", "Hello, Bob"]}),
    "kind-parallel": ({"product": "p1"}, {"found": ["price", "news"]}),
    "kind-subgraph": ({"name": "Ann"}, {"greeting": "Hello, Ann"}),
    "kind-approve": ({"amount": 9}, {"outcome": "paid, as ann decided"}),
    "kind-wait": ({"moment": "2020-01-31T09:00:00Z"}, {"at": "2020-01-31T09:00:00+00:00"}),
    "kind-signal": ({"order": "o1"}, {"paid": True}),
    "kind-handle": ({"order": "o1"}, {"outcome": "booked and paid"}),
    "cycle": ({}, {"round": 3}),
}


@pytest.fixture
async def bench(postgres_dsn: str) -> AsyncIterator[Bench]:
    async with open_bench(postgres_dsn) as bench:
        bench.tools.reply = _tool
        await bench.register(EXAMPLES["greeter"])
        yield bench


def _tool(tool: str, arguments: JsonObject, grants: object) -> ToolOutcome:
    known: dict[str, JsonObject] = {"book": {"id": "b1"}}
    if tool == "find_order" and "place" not in arguments:
        return Returned(result={"shipped": True})
    return Returned(result=known.get(tool, arguments))


def test_every_example_is_run() -> None:
    assert set(RUNS) == set(EXAMPLES)


@pytest.mark.parametrize("agent", RUNS)
async def test_an_example_returns_what_it_says(bench: Bench, agent: str) -> None:
    if agent == "kind-model":
        bench.models.reply = lambda question: answer("refund", output={"intent": "refund"})
    given, expected = RUNS[agent]
    options = RunOptions(thread_id="t1") if agent == "kind-remember" else USUAL
    view = await _run(bench, agent, given, options)
    assert view.run.failure is None
    assert view.run.output == expected


async def test_a_failure_is_handled_as_the_examples_say(bench: Bench) -> None:
    undone: list[JsonObject] = []

    def reply(tool: str, arguments: JsonObject, grants: object) -> ToolOutcome:
        match tool:
            case "pay":
                return failure(Category.UPSTREAM_REJECTED)
            case "cancel_booking":
                undone.append(arguments)
                return Returned(result={})
            case "find_order":
                return failure(Category.UPSTREAM_REJECTED)
            case _:
                return Returned(result={"id": "b1"})

    bench.tools.reply = reply
    assert (await _run(bench, "kind-handle", {"order": "o1"})).run.output == {"outcome": "not booked"}
    assert undone == [{"id": "b1"}]
    assert (await _run(bench, "common-fields", {"order": "o1"})).run.output == {"shipped": False}
    assert (await _run(bench, "common-fields", {"order": ""})).run.status is RunStatus.FAILED


async def _run(bench: Bench, agent: str, given: JsonObject, options: RunOptions = USUAL) -> RunView:
    """Run an example, and be the people and the world outside that it waits for."""
    await bench.register(EXAMPLES[agent])
    async with bench.working():
        run_id = await bench.start(agent, given, "", options)
        if agent == "kind-approve":
            asked = await pending(bench, run_id)
            await bench.control.decide_approval(TENANT, asked.approval.approval_id, approve=True, comment="", decided_by="ann")
        if agent == "kind-signal":
            await bench.control.signal_run(TENANT, run_id, "paid", given, "", "bank")
        return await bench.ended(run_id)
