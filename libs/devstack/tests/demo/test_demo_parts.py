"""The parts of the demo: samples are read or refused by line, accuracy is counted fairly, questions are decided both ways."""

import shlex
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from plimsoll_client.bundles import Bundle
from plimsoll_client.cli.report import Report
from plimsoll_client.errors import BadInput
from plimsoll_client.events import ApprovalAsked, RunEvent, RunFinished, StepFinished
from plimsoll_client.models import Accepts, Approval, ApprovalStatus, Run, RunStatus
from plimsoll_devstack.demo.accuracy import Tally, met, tallies
from plimsoll_devstack.demo.samples import Sample, read_samples
from plimsoll_devstack.demo.stage import next_steps
from plimsoll_devstack.demo.summary import costs_by_agent
from plimsoll_devstack.demo.work import Broken, Decided, Finished, Work
from plimsoll_runtime.errors import Unavailable
from plimsoll_runtime.json_types import JsonObject
from plimsoll_runtime.usage import Usage

AT = datetime(2026, 3, 1, tzinfo=UTC)


def _bundle(folder: Path) -> Bundle:
    (folder / "samples").mkdir()
    return Bundle(directory=folder, agent="support", graph="", prompts=(), knowledge=())


def _run(run_id: str = "run_1", *, output: "JsonObject | None" = None, state: "JsonObject | None" = None, took_s: float = 2.0) -> Run:
    return Run(
        id=run_id,
        agent="support",
        agent_digest="d",
        status=RunStatus.SUCCEEDED,
        seq=1,
        node="end",
        input={},
        state=state,
        output=output,
        failure=None,
        steps=3,
        usage=Usage(input_tokens=10, output_tokens=5, cost_micros=7),
        created_at=AT,
        started_at=AT,
        finished_at=AT + timedelta(seconds=took_s),
        rehearsal=True,
    )


def test_samples_are_lines_and_files_in_order(tmp_path: Path) -> None:
    bundle = _bundle(tmp_path)
    (tmp_path / "samples/b.jsonl").write_text(
        '{"id": "one", "input": {"message": "hi"}, "expect": {"intent": "x"}}\n\n{"id": "two", "input": {}}\n'
    )
    (tmp_path / "samples/a.md").write_text("# A")
    (tmp_path / "samples/README.rst").write_text("not a sample")
    file, one, two = read_samples(bundle)
    assert (file.name, file.input(Accepts(text_field="text"))) == ("a.md", {"text": "# A"})
    assert (one.name, one.input(Accepts()), one.expect) == ("one", {"message": "hi"}, {"intent": "x"})
    assert (two.name, two.expect) == ("two", {})


@pytest.mark.parametrize("line", ["{", "[]", '{"id": 1, "input": {}}', '{"id": "a"}', '{"id": "a", "input": {}, "expect": 3}'])
def test_a_broken_sample_is_refused_by_its_line(tmp_path: Path, line: str) -> None:
    bundle = _bundle(tmp_path)
    (tmp_path / "samples/a.jsonl").write_text('{"id": "fine", "input": {}}\n' + line)
    with pytest.raises(BadInput, match=r"a\.jsonl:2 "):
        read_samples(bundle)


def test_what_is_expected_is_looked_for_in_the_output_then_in_the_state() -> None:
    run = _run(
        output={"intent": "refund", "sources": ["b.md", "a.md"], "refund": {"amount_cents": 500}},
        state={"order_id": "ORD-1", "intent": "old"},
    )
    expect: JsonObject = {"intent": "refund", "order_id": "ORD-1", "sources": ["a.md"], "refund_cents": 500, "urgency": "high"}
    assert met(expect, run) == {"intent": True, "order_id": True, "sources": True, "refund_cents": True, "urgency": False}


def test_a_run_without_output_meets_nothing() -> None:
    assert met({"intent": "x", "sources": ["a"], "refund_cents": 1}, _run()) == {"intent": False, "sources": False, "refund_cents": False}


def test_tallies_sum_by_agent_and_field() -> None:
    found = tallies([("a", {"x": True, "y": False}), ("a", {"x": False}), ("b", {"x": True})])
    assert found == [
        Tally(agent="a", field="x", met=1, asked=2),
        Tally(agent="a", field="y", met=0, asked=1),
        Tally(agent="b", field="x", met=1, asked=1),
    ]


class FakeRuns:
    """Runs that each ask once; a sample named `away` cannot be submitted."""

    async def submit(self, agent: str, input: JsonObject, *, key: str) -> Run:  # noqa: A002
        if key.endswith("away"):
            raise Unavailable("away")
        return _run(key)

    async def follow(self, run_id: str) -> AsyncGenerator[RunEvent, None]:
        step = StepFinished(node="n", kind="model", delta={}, next="end", usage=Usage(), duration_s=0.1, facts={"model": "m"})
        ended = RunFinished(status=RunStatus.SUCCEEDED, output=None, failure=None, usage=Usage(), steps=1)
        for seq, event in enumerate((step, ApprovalAsked(approval=_approval(run_id)), ended), 1):
            yield RunEvent(run_id=run_id, seq=seq, at=AT, agent="support", agent_digest="d", epoch=1, event=event)

    async def get(self, run_id: str) -> Run:
        return _run(run_id)


class FakeApprovals:
    def __init__(self) -> None:
        self.said: list[str] = []

    async def approve(self, approval_id: str, *, comment: str) -> None:
        self.said.append("approve")

    async def reject(self, approval_id: str, *, comment: str) -> None:
        self.said.append("reject")


def _approval(run_id: str) -> Approval:
    return Approval(
        id=f"apr_{run_id}",
        run_id=run_id,
        agent="support",
        node="refund",
        summary="",
        details=None,
        proposal=None,
        status=ApprovalStatus.PENDING,
        asked_at=AT,
        expires_at=None,
        decided_at=None,
        decided_by="",
        comment="",
    )


async def test_every_sample_has_an_outcome_and_questions_are_decided_both_ways() -> None:
    approvals, told, ended = FakeApprovals(), list[Decided](), list[str]()
    mesh = SimpleNamespace(runs=FakeRuns(), approvals=approvals)
    work = Work(mesh, {"support": Accepts()}, key="k", on_decided=told.append, on_end=lambda sample: ended.append(sample.name))
    samples = [Sample(agent="support", name=name, given={}, expect={}) for name in ("one", "two", "away", "three")]
    outcomes = await work.run_all(samples)
    assert [type(outcome) for outcome in outcomes] == [Finished, Finished, Broken, Finished]
    assert sorted(ended) == ["away", "one", "three", "two"]
    assert approvals.said == ["approve", "reject", "approve"]
    assert [decided.approved for decided in told] == [True, False, True]


def test_next_steps_can_be_copied_line_by_line(tmp_path: Path) -> None:
    bundles = [Bundle(directory=tmp_path / "my agents" / name, agent=name, graph="", prompts=(), knowledge=()) for name in ("a", "b")]
    lines = list(next_steps(".venv/bin/plimsoll", bundles, running_at=None, cwd=tmp_path))
    commands = [shlex.split(line, comments=True) for line in lines]
    assert commands[0] == [".venv/bin/plimsoll", "up", "--agents", "my agents"]
    assert [command[1:3] for command in commands[1:3]] == [["run", "a"], ["run", "b"]]
    assert commands[-1] == [".venv/bin/plimsoll", "down"]


def test_next_steps_on_a_mesh_that_runs_lead_to_it(tmp_path: Path) -> None:
    bundle = Bundle(directory=tmp_path, agent="a", graph="", prompts=(), knowledge=())
    lines = list(next_steps("plimsoll", [bundle], running_at=" --data /d", cwd=tmp_path))
    assert [shlex.split(line, comments=True)[-2:] for line in lines] == [["--data", "/d"]] * 3


def test_costs_are_summed_by_agent() -> None:
    def finished(agent: str, took_s: float) -> Finished:
        run = _run(took_s=took_s)
        return Finished(
            sample=Sample(agent=agent, name="x", given={}, expect={}),
            report=Report(run=run, models=(), duration_s=run.duration_s),
            decided=(),
        )

    support, documents = costs_by_agent([finished("support", 1.0), finished("documents", 4.0), finished("support", 3.0)])
    assert (support.agent, support.runs, support.succeeded, support.steps, support.usage.tokens) == ("support", 2, 2, 6, 30)
    assert (support.median_s, support.longest_s, documents.median_s) == (2.0, 3.0, 4.0)
