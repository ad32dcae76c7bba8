"""Input that nobody can mean: refused or failed by name, before anything is written, and the run's state stays whole."""

from collections.abc import AsyncIterator

import pytest
from orchestrator_fakes import STEPS, TENANT, Bench, needs_grant, open_bench, pending
from orchestrator_history import violations
from plimsoll_orchestrator.domain.journal import RunStatus
from plimsoll_orchestrator.errors import ApprovalExpired, InvalidInput
from plimsoll_orchestrator.ports import Returned, RunFilter
from plimsoll_runtime.json_types import JsonValue

MIB = 1024 * 1024
KEEPER = """
agent: keeper
input: {type: object, properties: {n: {type: integer}}}
state: {type: object, properties: {n: {type: integer}, got: {}, why: {type: string}}}
start: first
output: {got: "has(state.got) ? state.got : null", why: "has(state.why) ? state.why : ''"}
nodes:
  first: {tool: {name: look, arguments: {}}, save: {got: EXPRESSION}, on_failure: {context_invalid: mend, any: fail}, next: end}
  mend: {set: {why: failure.reason}, next: end}
"""
NESTING = """
agent: nesting
input: {type: object}
state: {type: object, properties: {n: {type: integer}, got: {}}}
start: begin
output: {}
nodes:
  begin: {set: {n: 0, got: "[]"}, next: nest}
  nest: {set: {n: "state.n + 1", got: "[state.got]"}, next: again}
  again: {decide: {branches: [{when: "state.n < 300", next: nest}], default: end}}
"""
MAP = """
agent: mapped
input: {type: object, properties: {items: {type: array}}}
state: {type: object, properties: {items: {type: array}, got: {}}}
start: all
output: {}
nodes:
  all: {map: {over: state.items, BODY}, save: {got: result.items}, next: end}
"""
CHILD = """
agent: child
input: {type: object}
state: {type: object, properties: {n: {type: integer}}}
start: one
output: {}
nodes: {one: {set: {n: 1}, next: end}}
"""


@pytest.fixture
async def bench(postgres_dsn: str) -> AsyncIterator[Bench]:
    async with open_bench(postgres_dsn) as bench:
        yield bench


async def test_an_input_that_is_too_large_is_refused_with_its_limit_and_leaves_nothing(bench: Bench) -> None:
    await bench.register(STEPS)
    with pytest.raises(InvalidInput) as refused:
        await bench.start("steps", {"canary": "x" * (4 * MIB)})
    [problem] = refused.value.problems
    assert (problem.field, "the limit is 4194304" in problem.problem, bool(problem.remedy)) == ("input", True, True)
    assert await bench.pool.fetchval("select count(*) from runs") == await bench.pool.fetchval("select count(*) from journal") == 0


@pytest.mark.parametrize(
    ("expression", "result", "why"),
    [
        ("result.text", {"text": "x" * (4 * MIB)}, "STATE_TOO_LARGE"),
        ("1 / (result.n - 7)", {"n": 7}, "EXPRESSION_FAILED"),
        ("1.0 / (result.n - 7.0)", {"n": 7.0}, "EXPRESSION_FAILED"),
        ("result.nothing", {}, "EXPRESSION_FAILED"),
        ("result.l.map(a, result.l.map(b, result.l.map(c, result.l.map(d, result.l))))", {"l": [*range(60)]}, "EXPRESSION_FAILED"),
    ],
    ids=["a delta of 4 MiB", "a division by zero", "infinity", "a field that is missing", "work without end"],
)
async def test_a_result_that_cannot_be_kept_takes_its_route_and_nothing_of_it_is_written(
    bench: Bench, expression: str, result: JsonValue, why: str
) -> None:
    await bench.register(KEEPER.replace("EXPRESSION", f'"{expression}"'))
    bench.tools.reply = lambda *_: Returned(result=result)
    view = await bench.run("keeper", {"n": 1})
    assert view.run.status is RunStatus.SUCCEEDED, view.run.failure
    assert view.run.output == {"got": None, "why": why}
    assert view.run.state == {"n": 1, "why": why}
    assert await bench.pool.fetchval("select max(length(entry)) from journal") < 2_000
    assert await violations(bench.pool) == []


async def test_a_state_that_is_nested_without_measure_fails_by_name(bench: Bench) -> None:
    await bench.register(NESTING)
    view = await bench.run("nesting", {})
    assert view.run.failure is not None
    assert (view.run.failure.reason, view.run.failure.message) == ("EXPRESSION_FAILED", "'[state.got]': nested deeper than 64")
    assert view.run.state["n"] == 64


@pytest.mark.parametrize(
    "body",
    ["do: {set: {n: item}}", "mode: distributed, concurrency: 9, do: {subgraph: {agent: child, input: {}}}"],
    ids=["here", "over the fleet"],
)
async def test_a_map_over_a_million_items_fails_by_name_before_anything_starts(bench: Bench, body: str) -> None:
    await bench.register(CHILD)
    await bench.register(MAP.replace("BODY", body))
    view = await bench.run("mapped", {"items": [1] * 1_000_000})
    assert view.run.failure is not None
    assert (view.run.failure.reason, "`over` has 1000000 items; the limit is" in view.run.failure.message) == ("TOO_MANY_ITEMS", True)
    assert await bench.service.list_runs(TENANT, RunFilter(parent_run_id=view.run.run_id), "", 5) == []
    assert await violations(bench.pool) == []


ASK = """
agent: asking
input: {type: object}
state: {type: object, properties: {done: {type: boolean}}}
start: pay
output: {}
nodes:
  pay: {tool: {name: refund, arguments: {}}, save: {done: result.done}, on_failure: {approval_rejected: end, any: fail}, next: end}
"""


@pytest.mark.parametrize("approve", [True, False])
async def test_a_decision_after_the_term_is_refused_whether_the_run_knows_of_it_or_not(bench: Bench, approve: bool) -> None:
    await bench.register(ASK)
    bench.tools.reply = needs_grant
    async with bench.working():
        run_id = await bench.start("asking", {})
        asked = (await pending(bench, run_id)).approval
    await bench.pool.execute("update approvals set expires_at = now() - interval '1 second'")
    with pytest.raises(ApprovalExpired):
        await bench.control.decide_approval(TENANT, asked.approval_id, approve, "", "ann")
    assert (await bench.service.get_run(TENANT, run_id)).run.status is RunStatus.WAITING
