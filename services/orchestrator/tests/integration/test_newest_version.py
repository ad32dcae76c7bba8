"""A run starts on the newest version of its agent, though the API does not look for it each time."""

from collections.abc import AsyncIterator

import pytest
from orchestrator_fakes import TENANT, Bench, open_bench
from plimsoll_graph.parse import parse_graph
from plimsoll_orchestrator.adapters.postgres_agents import PostgresAgentStore
from plimsoll_orchestrator.domain.options import USUAL, RunOptions
from plimsoll_orchestrator.errors import InvalidInput

GRAPH = """
agent: renewed
input: {{type: object, properties: {{n: {{type: {type}}}}}, required: [n], additionalProperties: false}}
state: {{type: object, properties: {{n: {{type: {type}}}}}}}
start: a
output: {{n: state.n}}
nodes:
  a: {{set: {{n: state.n}}, next: end}}
"""
FIRST, WIDER, OTHER = (GRAPH.format(type=type_) for type_ in ("integer", "number", "string"))


@pytest.fixture
async def bench(postgres_dsn: str) -> AsyncIterator[Bench]:
    """Its API has seen the first version, and remembers it."""
    async with open_bench(postgres_dsn) as bench:
        await bench.register(FIRST)
        await bench.start("renewed", {"n": 1}, "before")
        yield bench


async def elsewhere(bench: Bench, source: str) -> str:
    """Another replica registers a version; its digest."""
    graph = parse_graph(source, "agent.yaml")
    await PostgresAgentStore(bench.pool).register(TENANT, graph, source)
    return graph.digest


async def version_of(bench: Bench, run_id: str) -> str:
    return (await bench.service.get_run(TENANT, run_id)).summary.agent_digest


@pytest.mark.parametrize("options", [USUAL, RunOptions(thread_id="t"), RunOptions(concurrency_key="k")])
@pytest.mark.parametrize("key", ["", "key"])
@pytest.mark.parametrize("n", [1, 1.5])
async def test_a_run_starts_on_the_version_that_another_replica_registered(bench: Bench, options: RunOptions, key: str, n: float) -> None:
    newest = await elsewhere(bench, WIDER)
    assert await version_of(bench, await bench.start("renewed", {"n": n}, key, options)) == newest


async def test_what_fits_only_an_older_version_is_refused(bench: Bench) -> None:
    await elsewhere(bench, OTHER)
    with pytest.raises(InvalidInput):
        await bench.start("renewed", {"n": 2})
    assert len(await bench.pool.fetch("select 1 from runs")) == 1


async def test_a_repeat_is_answered_with_the_run_of_the_older_version(bench: Bench) -> None:
    await elsewhere(bench, WIDER)
    again = await bench.service.start_run(TENANT, "renewed", {"n": 1}, "before")
    assert not again.created
    assert await version_of(bench, again.view.summary.run_id) == parse_graph(FIRST, "agent.yaml").digest
