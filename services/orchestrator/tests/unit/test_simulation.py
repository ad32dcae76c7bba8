"""Whatever graphs, orders and faults: every run comes to an end, nothing happens twice, and what is ours to mend never shows."""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from orchestrator_history import problems
from orchestrator_simulated import CHILD, OURS, Fault
from orchestrator_simulator import Fleet
from plimsoll_orchestrator import drafting, engine
from plimsoll_runtime.json_types import JsonObject, dump_json
from plimsoll_testkit.graphs import World, graphs, inputs

_EXAMPLES = settings.default.max_examples if settings.default.max_examples > 100 else 75
_bounded = settings(max_examples=_EXAMPLES, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])

Plan = Sequence[tuple[int, Fault]]


def plans(faults: Sequence[Fault]) -> st.SearchStrategy[Plan]:
    return st.lists(st.tuples(st.integers(0, 12), st.sampled_from(faults)), max_size=8)


@pytest.fixture(autouse=True)
def _no_naps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_NAP_S", 0.0)


def orderly(graph: JsonObject) -> JsonObject:
    """A graph whose outcome does not hang on which of its own runs is quicker: a failed one stops no others, and none is given up as late."""
    nodes = graph["nodes"]
    assert isinstance(nodes, dict)
    for node in nodes.values():
        assert isinstance(node, dict)
        if {"parallel", "subgraph", "map"} & node.keys():
            node.pop("timeout", None)
        match node:
            case {"parallel": dict() as kind}:
                kind["on_branch_failure"] = "collect"
            case {"map": dict() as kind} if kind.get("mode") == "distributed":
                kind["on_item_failure"] = "collect"
    return graph


def carried_out(graph: JsonObject, values: Sequence[JsonObject], seed: int, plan: Plan) -> Fleet:
    """The history of these runs; its invariants hold."""

    async def all_of_it() -> Fleet:
        fleet = Fleet(seed, plan)
        await fleet.register(CHILD)
        await fleet.register(dump_json(graph))
        for number, value in enumerate(values):
            await fleet.start("drawn", value, thread_id=f"t{number}")
        try:
            await fleet.run()
        finally:
            note("\n".join(fleet.told))
        return fleet

    with asyncio.Runner() as runner:
        fleet = runner.run(all_of_it())
    assert problems(fleet.history()) == []
    assert fleet.broken == []
    assert fleet.tools.changed == []
    assert fleet.ledger.gates.places == {}
    assert fleet.arrivals.unheard() == []
    executed = [key for key, _, _ in fleet.tools.executed]
    assert len(executed) == len(set(executed))
    return fleet


def outcomes(fleet: Fleet) -> dict[str, object]:
    return {run_id: fleet.outcome(run_id) for run_id, row in fleet.ledger.runs.items() if not row.parent}


@_bounded
@given(graphs(World()), st.lists(inputs(), min_size=1, max_size=2), st.integers(0, 2**16), plans(tuple(Fault)))
def test_every_run_ends_with_a_whole_history_whatever_goes_wrong(
    graph: JsonObject, values: list[JsonObject], seed: int, plan: Plan
) -> None:
    carried_out(graph, values, seed, plan)


@_bounded
@given(graphs(World()).map(orderly), st.lists(inputs(), min_size=1, max_size=2), st.integers(0, 2**16), plans(OURS), st.booleans())
def test_what_is_ours_to_mend_shows_in_no_outcome(
    graph: JsonObject, values: list[JsonObject], seed: int, plan: Plan, snapshots: bool
) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(drafting, "is_due", lambda written, last: False)
        quiet = carried_out(graph, values, 0, ())
        patched.setattr(drafting, "is_due", lambda written, last: snapshots)
        hard = carried_out(graph, values, seed, plan)
    assert outcomes(hard) == outcomes(quiet)
    assert hard.tools.effects == quiet.tools.effects
