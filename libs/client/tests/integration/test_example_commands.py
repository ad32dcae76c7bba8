"""`plimsoll dataset select | disputed | examples | delete-example | export`, `eval cancel | propose-route`, `improve plan | plans`."""

from pathlib import Path

import pytest
from client_fakes import FakeGateway
from client_shell import Shell
from plimsoll.feedback.v1 import dataset_pb2, evaluation_service_pb2

PUT = ("dataset", "put", "hard", "--prompt", "answer", "--rule", "correction")


@pytest.fixture
def examples(gateway: FakeGateway) -> list[dataset_pb2.Example]:
    gateway.datasets["hard"] = dataset_pb2.Dataset(name="hard")
    gateway.examples = [
        dataset_pb2.Example(example_id=f"ex_{n}", expected={"text": f'{{"messages":[{n}]}}'}, lineage={"annotators": ["ann"]})
        for n in range(3)
    ]
    return gateway.examples


async def test_candidates_are_selected_and_what_is_disputed_is_shown(gateway: FakeGateway, plimsoll: Shell) -> None:
    await plimsoll(*PUT)
    assert await plimsoll("dataset", "select", "hard") == 0
    assert plimsoll.out.startswith("3 selected, of these 1 too much like others")
    assert await plimsoll("dataset", "disputed", "hard", "--json") == 0
    told = plimsoll.json()
    assert isinstance(told, list)
    assert told[0]["said"] == [["ann", "return"], ["bob", "refund"]]


async def test_examples_are_listed_and_deleted(gateway: FakeGateway, plimsoll: Shell, examples: list[dataset_pb2.Example]) -> None:
    assert await plimsoll("dataset", "examples", "hard", "-n", "2", "--json") == 0
    told = plimsoll.json()
    assert isinstance(told, list)
    assert [one["id"] for one in told] == ["ex_0", "ex_1"]
    assert await plimsoll("dataset", "delete-example", "hard", "ex_1") == 0
    assert plimsoll.out == "ex_1: deleted\n"
    assert await plimsoll("dataset", "delete-example", "hard", "ex_1") == 0
    assert plimsoll.out == "ex_1: there is none\n"


async def test_an_export_is_lines_for_a_trainer_with_their_lineage_beside_them(
    plimsoll: Shell, examples: list[dataset_pb2.Example], tmp_path: Path
) -> None:
    lines = "".join(f'{{"messages":[{n}]}}\n' for n in range(3))
    assert await plimsoll("dataset", "export", "hard") == 0
    assert plimsoll.out == lines
    out = tmp_path / "tune.jsonl"
    assert await plimsoll("dataset", "export", "hard", "--out", str(out), "--format", "preference") == 0
    assert (out.read_text(), (tmp_path / "tune.jsonl.lineage.json").read_text()) == (lines, '{"digest":"d"}\n')
    assert await plimsoll("dataset", "export", "hard", "--out", str(tmp_path / "none" / "x")) == 2


async def test_an_export_that_breaks_off_leaves_the_file_that_was_there(
    gateway: FakeGateway, plimsoll: Shell, examples: list[dataset_pb2.Example], tmp_path: Path
) -> None:
    out = tmp_path / "tune.jsonl"
    out.write_text("whole")
    gateway.export_breaks = True
    assert await plimsoll("dataset", "export", "hard", "--out", str(out)) != 0
    assert out.read_text() == "whole"


async def test_an_evaluation_is_cancelled_once(gateway: FakeGateway, plimsoll: Shell) -> None:
    gateway.evaluations["evl_1"] = evaluation_service_pb2.Evaluation(evaluation_id="evl_1")
    assert await plimsoll("eval", "cancel", "evl_1") == 0
    assert plimsoll.out == "evl_1: cancelled\n"
    assert await plimsoll("eval", "cancel", "evl_1") == 0
    assert plimsoll.out == "evl_1: had ended\n"
    assert await plimsoll("eval", "cancel", "evl_2") == 3


async def test_a_route_is_proposed(plimsoll: Shell, examples: list[dataset_pb2.Example]) -> None:
    assert await plimsoll("eval", "propose-route", "answering", "--dataset", "hard") == 0
    assert plimsoll.out == "cheaper, as good\nroute d9\nevaluation evl_9\n"


async def test_a_plan_says_how_and_when_a_prompt_is_improved(gateway: FakeGateway, plimsoll: Shell) -> None:
    assert await plimsoll("improve", "plan", "answer", "--dataset", "hard", "--every-hours", "2", "--on-alert") == 0
    kept = gateway.plans["answer"]
    assert (kept.dataset, kept.every.seconds, kept.on_alert) == ("hard", 7200, True)
    assert await plimsoll("improve", "plan", "other", "--dataset", "hard") == 0
    assert plimsoll.out == "other from hard, by command\n"
    assert await plimsoll("improve", "plans", "--json") == 0
    told = plimsoll.json()
    assert isinstance(told, list)
    assert [(one["prompt"], one["every_s"]) for one in told] == [("answer", 7200.0), ("other", None)]
