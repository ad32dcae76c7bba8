"""Fault plans: what makes no sense is refused with every mistake, and the dice fall the same way every time."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plimsoll_runtime.faults import Edge, FaultKind, FaultPlan, FaultRule, InvalidPlan, parse_plan
from plimsoll_runtime.faults.plan import Dice


def plan(*rules: FaultRule, seed: int = 7) -> FaultPlan:
    return FaultPlan(name="test", seed=seed, rules=rules)


def hits(
    dice: Dice, times: int, edge: Edge = Edge.POSTGRES, operation: str = "select", tenant: str = "acme", at: float = 0.0
) -> list[bool]:
    return [dice.throw(edge, operation, tenant, at) is not None for _ in range(times)]


def test_every_mistake_of_a_plan_is_said_with_its_place():
    rules = [
        {"edge": "postgres", "kind": "malformed"},
        {"edge": "rpc_client", "kind": "error", "share": 0},
        {"edge": "rpc_client", "kind": "latency", "seconds": 1e9, "count": -1},
    ]
    with pytest.raises(InvalidPlan) as caught:
        parse_plan(json.dumps({"name": "wrong", "rules": rules}))
    assert [problem.field for problem in caught.value.problems] == ["rules[0].kind", "rules[1].share", "rules[2].count", "rules[2].seconds"]
    assert all(problem.remedy for problem in caught.value.problems)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"name": "x"}',
        '{"name": "x", "rules": []}',
        '{"name": "x", "rules": [{"edge": "moon", "kind": "error"}]}',
        '{"name": "x", "rules": [{"edge": "redis", "kind": "error", "oftener": 1}]}',
        '{"name": "x", "rules": [{"edge": "redis", "kind": "error", "share": NaN}]}',
        json.dumps({"name": "x", "rules": [{"edge": "redis", "kind": "error"}] * 101}),
    ],
)
def test_what_is_no_plan_is_refused(text: str):
    with pytest.raises(InvalidPlan):
        parse_plan(text)


def test_a_rule_holds_for_its_edge_service_operation_tenant_and_time_only():
    rule = FaultRule(edge=Edge.POSTGRES, kind=FaultKind.ERROR, service="mem*", operation="insert", tenant="acme", after_s=10, for_s=5)
    dice = Dice(plan(rule), "memory")
    assert hits(dice, 1, operation="insert", at=12.0) == [True]
    assert hits(dice, 1, operation="insert", at=9.9) == hits(dice, 1, operation="insert", at=15.0) == [False]
    assert hits(dice, 1, operation="select", at=12.0) == hits(dice, 1, operation="insert", tenant="other", at=12.0) == [False]
    assert hits(dice, 1, edge=Edge.REDIS, operation="insert", at=12.0) == [False]
    assert hits(Dice(plan(rule), "gateway"), 1, operation="insert", at=12.0) == [False]


def test_a_rule_hits_no_more_often_than_its_count():
    dice = Dice(plan(FaultRule(edge=Edge.POSTGRES, kind=FaultKind.CUT, count=3)), "memory")
    assert hits(dice, 10) == [True] * 3 + [False] * 7


@given(st.integers(0, 2**32), st.floats(0.05, 1.0), st.lists(st.sampled_from(["select", "insert"]), max_size=200))
def test_the_same_seed_and_passages_meet_the_same_faults(seed: int, share: float, operations: list[str]):
    def met() -> list[object]:
        rules = (
            FaultRule(edge=Edge.POSTGRES, kind=FaultKind.ERROR, operation="insert", share=share),
            FaultRule(edge=Edge.POSTGRES, kind=FaultKind.LATENCY, share=share / 2),
        )
        dice = Dice(plan(*rules, seed=seed), "memory")
        return [dice.throw(Edge.POSTGRES, operation, "acme", 0.0) for operation in operations]

    assert met() == met()


def test_a_share_is_the_share_that_it_says():
    dice = Dice(plan(FaultRule(edge=Edge.POSTGRES, kind=FaultKind.ERROR, share=0.2)), "memory")
    assert 0.17 < sum(hits(dice, 5000)) / 5000 < 0.23
