"""Limits: what is too large is refused by name, what repeats is bounded, what waits gets older, and what is read at once is not too much."""

from collections.abc import AsyncIterator

import pytest
from orchestrator_fakes import STEPS, TENANT, Bench, answer, failure, open_bench, pending
from plimsoll_orchestrator.adapters import statements as sql
from plimsoll_orchestrator.domain.journal import ChildrenStarted, RunStatus, ToolCall
from plimsoll_orchestrator.domain.options import RunOptions
from plimsoll_orchestrator.errors import InvalidInput
from plimsoll_orchestrator.ports import Returned
from plimsoll_orchestrator.service import RunView
from plimsoll_runtime.errors import Invalid
from plimsoll_runtime.failures import Category


@pytest.fixture
async def bench(postgres_dsn: str) -> AsyncIterator[Bench]:
    async with open_bench(postgres_dsn) as bench:
        yield bench


def reason(view: RunView) -> str:
    assert view.run.failure is not None
    assert view.run.failure.category is Category.CONTEXT_INVALID
    return f"{view.run.failure.reason}: {view.run.failure.message}"


async def test_a_concurrency_key_that_is_too_long_is_refused_and_not_cut(bench: Bench) -> None:
    await bench.register(STEPS + "concurrency: {key: input.canary, limit: 1}\n")
    await bench.start("steps", {"canary": "c" * 200})
    with pytest.raises(InvalidInput, match="306 characters, with the agent's name; the limit is 255"):
        await bench.start("steps", {"canary": "c" * 300})


CHILD = """
agent: child
input: {type: object, properties: {n: {type: integer}}}
state: {type: object, properties: {n: {type: integer}, text: {type: string}}}
start: call
output: {text: state.text}
nodes:
  call: {tool: {name: look, arguments: {n: state.n}}, save: {text: result.text}, next: end}
"""
EACH = """
agent: each
input: {type: object, properties: {items: {type: array, items: {type: integer}}}}
state: {type: object, properties: {items: {type: array, items: {type: integer}}, count: {type: integer}}}
start: all
output: {count: state.count}
nodes:
  all:
    map: {over: state.items, mode: distributed, concurrency: 2, do: {subgraph: {agent: child, input: {n: item}}}}
    save: {count: "size(result.items)"}
    next: end
"""


async def test_what_a_distributed_map_goes_over_is_found_out_once_and_kept(bench: Bench) -> None:
    await bench.register(CHILD)
    await bench.register(EACH)
    bench.tools.reply = lambda tool, arguments, grants: Returned(result={"text": str(arguments["n"])})
    view = await bench.run("each", {"items": [5, 6, 7, 8, 9]})
    assert view.run.output == {"count": 5}
    assert sorted(arguments["n"] for _, _, arguments in bench.tools.executed) == [5, 6, 7, 8, 9]
    entries = [entry.entry for entry in await bench.runs.journal(TENANT, view.run.run_id, 0, 100)]
    kept = [entry.items for entry in entries if isinstance(entry, ChildrenStarted)]
    assert kept[0] == (5, 6, 7, 8, 9)
    assert set(kept[1:]) == {None}


async def test_runs_whose_outputs_are_too_much_together_fail_their_step(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plimsoll_orchestrator.domain.children.STATE_CAP_BYTES", 3000)
    await bench.register(CHILD)
    await bench.register(EACH)
    bench.tools.reply = lambda tool, arguments, grants: Returned(result={"text": "x" * 1000})
    view = await bench.run("each", {"items": list(range(20))})
    assert reason(view).startswith("OUTPUTS_TOO_LARGE: the outputs of its runs have")
    assert reason(view).endswith("the limit is 3000")
    assert await bench.pool.fetchval("select count(*) from runs where finished_at is null") == 0


async def test_an_output_that_is_too_large_fails_its_run_and_names_the_limit(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plimsoll_orchestrator.domain.decide.OUTPUT_CAP_BYTES", 500)
    await bench.register(STEPS)
    view = await bench.run("steps", {"canary": "c" * 600})
    assert reason(view) == "OUTPUT_TOO_LARGE: the output has 2431 bytes; the limit is 500"


AGENT = """
agent: helper
input: {type: object, properties: {say: {type: string}}}
state: {type: object, properties: {say: {type: string}, text: {type: string}}}
start: loop
output: {text: state.text}
nodes:
  loop: {agent: {prompt: help, tools: [look], turns: 9}, save: {text: result.text}, next: end}
"""


@pytest.mark.parametrize(
    ("limit", "said", "told", "message"),
    [
        ("TURN_CAP_BYTES", 3000, 1, "TURN_TOO_LARGE: the model's turn has"),
        ("TURN_CAP_BYTES", 1, 3000, "TURN_TOO_LARGE: the answers of its tools have"),
        ("STATE_CAP_BYTES", 1, 800, "TURN_TOO_LARGE: the conversation would have"),
    ],
)
async def test_a_turn_that_is_too_large_fails_its_step(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, limit: str, said: int, told: int, message: str
) -> None:
    monkeypatch.setattr(f"plimsoll_orchestrator.steps.agent.{limit}", 2000)
    monkeypatch.setattr("plimsoll_orchestrator.steps.agent._LARGE_BYTES", 100)
    await bench.register(AGENT)
    bench.models.reply = lambda question: answer(calls=[ToolCall(call_id="c", tool="look", arguments={"of": "x" * said})])
    bench.tools.reply = lambda *_: Returned(result={"text": "x" * told})
    view = await bench.run("helper", {"say": "hi"})
    assert reason(view).startswith(message)
    assert reason(view).endswith("the limit is 2000")


ESCALATING = """
agent: escalating
input: {type: object}
state: {type: object, properties: {id: {type: string}}}
start: book
output: {}
nodes:
  book: {tool: {name: book, arguments: {}}, on_failure: {any: mend}, next: end}
  mend: {handle: [{when: "true", escalate: "'again?'", limit: 2}, {fail: true}]}
"""


async def test_people_are_asked_no_more_often_than_the_handler_says(bench: Bench) -> None:
    await bench.register(ESCALATING)
    bench.tools.reply = lambda *_: failure(Category.UPSTREAM_REJECTED)
    async with bench.working():
        run_id = await bench.start("escalating", {})
        for _ in range(2):
            view = await pending(bench, run_id)
            await bench.control.decide_approval(TENANT, view.approval.approval_id, True, "", "ann")
        assert (await bench.ended(run_id)).run.status is RunStatus.FAILED
    assert len(await bench.service.list_approvals(TENANT, None, run_id, "", 10)) == 2


@pytest.mark.parametrize("limit", [0, 101])
async def test_a_limit_of_escalations_is_a_small_number(bench: Bench, limit: int) -> None:
    with pytest.raises(Invalid, match="whole number from 1 to 100"):
        await bench.register(ESCALATING.replace("limit: 2", f"limit: {limit}"))


async def test_whoever_waits_long_passes_those_of_higher_priority(bench: Bench) -> None:
    await bench.register(STEPS)

    async def start(priority: int) -> str:
        return await bench.start("steps", {"canary": "c"}, options=RunOptions(priority=priority))

    patient, old = [await start(1) for _ in range(2)]
    urgent = [await start(9) for _ in range(3)]
    await bench.pool.execute("update runs set wake_at = wake_at - interval '5 minutes' where run_id = $1", old)
    bench.claims._contended = True
    taken = [claimed.run_id for claimed in await bench.claims.claim("w", 4, {})]
    assert set(taken) == {old, *urgent}
    assert patient not in taken


_FILL = """
insert into runs (run_id, tenant, agent, agent_digest, status, seq, node, wake_at, lane)
select 'run_' || n, 'tenant_' || n % 7, 'steps', 'd', 'queued', 1, 'a', now() - n * interval '1 millisecond', 1 + n % 9
from generate_series(1, 20000) n
"""


@pytest.mark.parametrize("statement", [sql.CLAIM, sql.CLAIM_FAIRLY])
async def test_a_claim_goes_by_the_index_however_many_runs_are_queued(bench: Bench, statement: str) -> None:
    await bench.pool.execute(_FILL)
    await bench.pool.execute("analyze runs")
    fair: tuple[object, ...] = (["tenant_1"], [5]) if statement is sql.CLAIM_FAIRLY else ()
    async with bench.pool.acquire() as connection, connection.transaction():
        plan = "\n".join(row[0] for row in await connection.fetch(f"explain (analyze, timing off) {statement}", "w", 128, *fair))
    assert "Seq Scan on runs" not in plan
    assert "rows removed by filter" not in plan.lower()


async def test_events_are_fetched_up_to_a_number_of_bytes(bench: Bench) -> None:
    await bench.register(STEPS)
    for number in range(6):
        await bench.start("steps", {"canary": f"{number}" * 1000})
    async with bench.pool.acquire() as connection:
        all_of_them = {row["position"] for row in await connection.fetch(sql.OUTBOX, 100, 10**9)}
        some = {row["position"] for row in await connection.fetch(sql.OUTBOX, 100, 2500)}
        one = {row["position"] for row in await connection.fetch(sql.OUTBOX, 100, 1)}
    assert (len(all_of_them), len(some), len(one)) == (6, 3, 1)
    assert one < some < all_of_them
