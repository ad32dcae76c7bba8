"""The examination after chaos finds what is broken: each promise is broken here once."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from plimsoll.orchestrator.v1 import run_events_pb2
from promises import Run, accepted_runs, effects, set_aside, stream, tenants, unknown_outcomes
from workload import Accepted

ONE = Accepted(run_id="run_1", tenant="t", agent="outside", key="k1", input={"name": "n1"})
TWO = Accepted(run_id="run_2", tenant="u", agent="support", key="k2", input={"message": "hello"})
THERE = (Run(run_id="run_1", tenant="t", key="k1", status="succeeded"), Run(run_id="run_2", tenant="u", key="k2", status="failed"))
DEATHS = ("host:17 at 10:00:01", "host:18 at 10:00:31", "host:19 at 10:01:02")


@pytest.mark.parametrize(
    ("runs", "says"),
    [
        (THERE, []),
        (THERE[1:], ["run_1: accepted, and lost"]),
        ((*THERE, replace(THERE[0], run_id="run_3")), ["k1: 2 runs under one key"]),
        ((*THERE, replace(THERE[0], run_id="run_3", tenant="u")), []),
        ((THERE[0], replace(THERE[1], tenant="t")), ["run_2: submitted by u, and of t"]),
    ],
)
def test_a_run_that_is_lost_doubled_or_somebody_elses_is_found(runs: Sequence[Run], says: list[str]) -> None:
    assert accepted_runs([ONE, TWO], runs) == says


@pytest.mark.parametrize(
    ("status", "counted", "struck", "says"),
    [
        ("succeeded", {"n1": 1}, {"n1": 1}, []),
        ("waiting", {"n1": 1}, {}, []),
        ("waiting", {"n1": 2}, {"n1": 1}, ["run_1: n1 was counted 2 times"]),
        ("failed", {}, {"n1": 2}, ["run_1: n1 was struck 2 times"]),
        ("succeeded", {"n1": 1}, {}, ["run_1: n1 was struck 0 times"]),
        ("succeeded", {"n1": 1, "n9": 1}, {"n1": 1}, ["n9: an effect of no accepted run"]),
    ],
)
def test_an_effect_that_is_missing_doubled_or_nobodys_is_found(
    status: str, counted: dict[str, int], struck: dict[str, int], says: list[str]
) -> None:
    assert effects([ONE, TWO], {"run_1": status, "run_2": "succeeded"}, counted, struck) == says


def test_an_unknown_outcome_that_nobody_was_told_is_found() -> None:
    assert unknown_outcomes(["run_1", "run_2"], {"run_1", "run_2", "run_3"}) == []
    assert unknown_outcomes(["run_1", "run_2"], {"run_1"}) == ["run_2: the outcome of a call is unknown, and its run does not say so"]


def test_what_was_done_for_a_run_in_another_tenants_name_is_found() -> None:
    runs = {"run_1": "t", "run_2": "u"}
    assert tenants("a call", [("t", "run_1"), ("u", "run_2"), ("u", "")], runs) == []
    assert tenants("a call", [("u", "run_1"), ("t", "run_9")], runs) == [
        "run_9: a call of t, and it is no run",
        "run_1: a call of u, and it is of t",
    ]


def test_a_run_that_was_set_aside_for_nothing_is_found() -> None:
    assert set_aside({"run_1"}, {"run_1": DEATHS}) == []
    assert set_aside({"run_1"}, {}) == ["run_1: set aside, and its journal does not say why"]
    assert set_aside(set(), {"run_1": DEATHS[:2]})
    assert set_aside(set(), {"run_1": (*DEATHS[:2], "KeyError: 'x'")})


def test_a_stream_that_is_not_the_journal_is_found() -> None:
    journal = [run_events_pb2.RunEvent(run_id="run_1", seq=seq, epoch=1) for seq in (1, 2, 3)]
    assert stream("run_1", [*journal], journal) == []
    assert stream("run_1", journal[:2], journal) == ["run_1: 2 entries are streamed, and its journal has 3"]
    assert stream("run_1", [*journal, journal[2]], journal) == ["run_1: 4 entries are streamed, and its journal has 3"]
    assert stream("run_1", [journal[0], journal[2], journal[1]], journal) == [
        "run_1: entry 2 is streamed as another than it is",
        "run_1: entry 3 is streamed as another than it is",
    ]
    changed = run_events_pb2.RunEvent(run_id="run_1", seq=3, epoch=2)
    assert stream("run_1", [*journal[:2], changed], journal) == ["run_1: entry 3 is streamed as another than it is"]
