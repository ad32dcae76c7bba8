"""A dry run of a new version: every unfinished run that it would break, with the reason, and nothing is changed by it."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from orchestrator_fakes import PROPOSAL, TENANT, Bench, open_bench
from plimsoll.orchestrator.v1 import orchestrator_service_pb2 as pb
from plimsoll.orchestrator.v1 import run_pb2
from plimsoll_orchestrator.adapters.postgres_unfinished import PostgresUnfinishedRuns
from plimsoll_orchestrator.domain.journal import RunStatus
from plimsoll_orchestrator.ports import NeedsApproval, RunFilter
from plimsoll_orchestrator.service.dry_run import BROKEN_MOST, DryRun, Prospect
from plimsoll_orchestrator.transport.dry_run_rpcs import DryRunRpcs
from plimsoll_runtime.context import acting_for
from plimsoll_testkit.waiting import eventually

PARKS = """
agent: parks
input: {type: object, properties: {kind: {type: string}}, required: [kind], additionalProperties: false}
state: {type: object, properties: {kind: {type: string}, note: {type: string}}}
start: note
output: {kind: state.kind}
nodes:
  note: {set: {note: "state.kind + ' seen'"}, next: route}
  route:
    decide:
      branches:
        - {when: "state.kind == 'ask'", next: ask}
        - {when: "state.kind == 'wait'", next: sit}
        - {when: "state.kind == 'fan'", next: fan}
      default: end
  ask: {approve: {summary: "'go on?'", expires: 24h, on_rejected: tail, on_expired: tail}, next: tail}
  sit: {wait: {for: 24h}, next: tail}
  fan: {parallel: {branches: {left: left, right: right}}, next: tail}
  left: {wait: {for: 24h}, next: join}
  right: {set: {note: "'r'"}, next: join}
  tail: {set: {note: "'ok'"}, next: end}
"""


@dataclass
class Yard:
    """Parked runs, one of each kind, and dry runs."""

    bench: Bench
    dry_run: DryRun
    ids: dict[str, str]

    async def check(self, source: str) -> Prospect:
        return await self.dry_run.check_agent(TENANT, source, "new.yaml")

    async def broken(self, source: str) -> dict[str, str]:
        """Kind of run → why it would break; those of branches by their run's id behind that of their parent."""
        prospect = await self.check(source)
        assert prospect.mistakes == ()
        names = {run_id: kind for kind, run_id in self.ids.items()}
        return {names.get(broken.run_id, broken.run_id.rpartition(".")[2]): broken.problem for broken in prospect.broken}


@pytest.fixture
async def yard(postgres_dsn: str) -> AsyncIterator[Yard]:
    async with open_bench(postgres_dsn) as bench:
        await bench.register(PARKS)
        async with bench.working():
            ids = {kind: await bench.start("parks", {"kind": kind}) for kind in ("ask", "wait", "fan")}
            await eventually(lambda: _all_wait(bench, 4))
        yield Yard(bench, DryRun(agents=bench.agents, runs=PostgresUnfinishedRuns(bench.pool)), ids)


async def _all_wait(bench: Bench, count: int) -> bool:
    """The three, and the branch of the third that waits."""
    waiting = await bench.pool.fetchval("select count(*) from runs where status = 'waiting' and worker is null")
    unfinished = await bench.pool.fetchval("select count(*) from runs where finished_at is null")
    return bool(waiting == unfinished == count)


async def test_a_version_that_every_run_can_go_on_with_breaks_none(yard: Yard) -> None:
    same = await yard.check(PARKS)
    assert (same.broken, same.checked) == ([], 4)
    assert same.digest == (await yard.bench.service.get_agent(TENANT, "parks")).graph.digest
    better = PARKS.replace("'ok'", "'well done'").replace("'go on?'", "'shall we?'")
    prospect = await yard.check(better)
    assert (prospect.broken, prospect.checked, prospect.mistakes) == ([], 4, ())
    assert prospect.digest != same.digest


async def test_a_node_that_is_gone_breaks_the_runs_that_are_there(yard: Yard) -> None:
    source = PARKS.replace("ask: {approve", "ask_again: {approve").replace("next: ask}", "next: ask_again}")
    assert await yard.broken(source) == {"ask": "it is at node 'ask', which the new version does not have"}


async def test_a_node_of_another_kind_breaks_the_runs_in_the_middle_of_it(yard: Yard) -> None:
    source = PARKS.replace("sit: {wait: {for: 24h}, next: tail}", "sit: {wait: {signal: poke, expires: 24h}, next: tail}")
    assert await yard.broken(source) == {"wait": "it waits at node 'sit', which is a wait for a time and becomes a wait for a signal"}
    source = PARKS.replace(
        "ask: {approve: {summary: \"'go on?'\", expires: 24h, on_rejected: tail, on_expired: tail}", "ask: {set: {note: \"'x'\"}"
    )
    assert await yard.broken(source) == {"ask": "it asks a question at node 'ask', which is an approve node and becomes a set node"}


async def test_a_branch_that_is_gone_breaks_the_run_and_its_branch(yard: Yard) -> None:
    source = PARKS.replace("{left: left, right: right}", "{other: other, right: right}").replace("  left: {wait", "  other: {wait")
    problems = await yard.broken(source)
    assert problems["fan"] == "it is in the branches of node 'fan', and the new version has no branch 'left'"
    assert problems["0"] == "it is at node 'left', which the new version does not have"
    assert len(problems) == 2


async def test_a_branch_before_those_under_way_breaks_the_run(yard: Yard) -> None:
    source = PARKS.replace("{left: left, right: right}", "{more: more, left: left, right: right}")
    source = source.replace("  left: {wait", "  more: {set: {kind: \"'x'\"}, next: join}\n  left: {wait")
    assert await yard.broken(source) == {"fan": "it is in the branches of node 'fan', and the new version has others before them"}


async def test_a_state_that_the_new_schema_refuses_breaks_the_run_and_its_values_are_not_told(yard: Yard) -> None:
    source = PARKS.replace("note: {type: string}}}", "note: {type: string, maxLength: 3}}}")
    problems = await yard.broken(source)
    assert set(problems) == {"ask", "wait", "fan", "0"}
    assert problems["ask"].startswith("its state does not fit the new schema: note ")
    assert "seen" not in problems["ask"]


async def test_a_graph_with_mistakes_is_told_with_all_of_them_and_no_run_is_looked_at(yard: Yard) -> None:
    prospect = await yard.check(PARKS.replace("start: note", "start: nowhere").replace("next: route}", "next: lost}"))
    assert [(one.field.split(": ")[-1], bool(one.problem), bool(one.remedy)) for one in prospect.mistakes][:2] == [
        ("start", True, True),
        ("nodes.note.next", True, True),
    ]
    assert (prospect.digest, prospect.checked) == ("", 0)


async def test_a_subgraph_is_pinned_as_it_would_be_and_an_unknown_one_is_a_mistake(yard: Yard) -> None:
    parent = """
agent: parent
input: {type: object}
state: {type: object, properties: {kind: {type: string}}}
start: a
output: {}
nodes:
  a: {subgraph: {agent: parks, input: {kind: "'ask'"}}, next: end}
"""
    prospect = await yard.check(parent)
    version, _ = await yard.bench.service.register_agent(TENANT, parent, "parent.yaml")
    assert prospect.digest == version.graph.digest
    [mistake] = (await yard.check(parent.replace("agent: parks", "agent: nobody"))).mistakes
    assert "nobody" in mistake.problem


async def test_nothing_is_registered_and_no_run_is_changed_by_it(yard: Yard) -> None:
    before = await yard.bench.service.list_runs(TENANT, RunFilter(), "", 10)
    await yard.check(PARKS.replace("'ok'", "'other'"))
    assert await yard.bench.service.list_runs(TENANT, RunFilter(), "", 10) == before
    assert (await yard.bench.service.get_agent(TENANT, "parks")).version == 1


async def test_runs_of_other_tenants_and_agents_are_not_looked_at(yard: Yard) -> None:
    assert (await yard.dry_run.check_agent("other", PARKS, "")).checked == 0
    assert (await yard.check(PARKS.replace("agent: parks", "agent: parks-too"))).checked == 0


async def test_every_run_is_counted_and_a_thousand_are_listed_at_most(yard: Yard) -> None:
    await yard.bench.pool.execute(
        "insert into runs (run_id, tenant, agent, agent_digest, status, seq, node, wake_at)"
        " select 'run_x' || n, tenant, agent, agent_digest, status, seq, node, null from runs, generate_series(1, 1100) n where run_id = $1",
        yard.ids["wait"],
    )
    await yard.bench.pool.execute(
        "insert into journal (run_id, seq, tenant, epoch, at, entry)"
        " select 'run_x' || n, seq, tenant, epoch, at, entry from journal, generate_series(1, 1100) n where run_id = $1",
        yard.ids["wait"],
    )
    prospect = await yard.check(PARKS.replace("sit: {wait", "rest: {wait").replace("next: sit}", "next: rest}"))
    assert (len(prospect.broken), prospect.checked) == (BROKEN_MOST, 1104)


async def test_a_run_whose_journal_cannot_be_read_is_listed_and_holds_up_no_other(yard: Yard) -> None:
    await yard.bench.pool.execute("delete from journal where run_id = $1 and seq = 1", yard.ids["ask"])
    problems = await yard.broken(PARKS.replace("sit: {wait", "rest: {wait").replace("next: sit}", "next: rest}"))
    assert problems["ask"].startswith("its journal cannot be read")
    assert "'sit'" in problems["wait"]


async def test_a_paused_run_that_waits_for_leave_for_a_call_is_looked_at_as_well(postgres_dsn: str) -> None:
    source = """
agent: calls
input: {type: object}
state: {type: object, properties: {n: {type: integer}}}
start: a
output: {}
nodes:
  a: {tool: {name: refund, arguments: {}}, next: end}
"""
    async with open_bench(postgres_dsn) as bench:
        await bench.register(source)
        bench.tools.reply = lambda *_: NeedsApproval(proposal=PROPOSAL)
        async with bench.working():
            run_id = await bench.start("calls", {})
            await eventually(lambda: _all_wait(bench, 1))
        await bench.control.pause_run(TENANT, run_id, "", "")
        dry_run = DryRun(agents=bench.agents, runs=PostgresUnfinishedRuns(bench.pool))
        prospect = await dry_run.check_agent(TENANT, source.replace("tool: {name: refund, arguments: {}}", "set: {n: 1}"), "")
        [broken] = prospect.broken
        assert (broken.run_id, broken.status, broken.node) == (run_id, RunStatus.PAUSED, "a")
        assert broken.problem == "it asks a question at node 'a', which is a tool node and becomes a set node"


class _Rpcs(DryRunRpcs):
    def __init__(self, dry_run: DryRun) -> None:
        self._dry_run = dry_run


async def test_over_grpc_broken_runs_and_mistakes_are_told(yard: Yard) -> None:
    rpcs = _Rpcs(yard.dry_run)
    with acting_for(TENANT):
        source = PARKS.replace("sit: {wait", "rest: {wait").replace("next: sit}", "next: rest}")
        answer = await rpcs.CheckAgent(pb.CheckAgentRequest(source=source, source_name="new.yaml"), None)
        assert [(one.run_id, one.status, one.node) for one in answer.broken_runs] == [(yard.ids["wait"], run_pb2.RUN_STATUS_WAITING, "sit")]
        assert answer.checked_runs == 4
        [mistake] = (await rpcs.CheckAgent(pb.CheckAgentRequest(source="agent: [", source_name="new.yaml"), None)).mistakes
        assert mistake.place.startswith("new.yaml:1")
