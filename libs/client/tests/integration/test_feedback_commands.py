"""`plimsoll trace`, `signals`, `alerts`, `monitors`: tables for people, JSON for programs, and the exit codes of all commands."""

from pathlib import Path

import pytest
from client_fakes import FakeGateway
from client_learning import trace
from client_shell import Shell
from plimsoll.feedback.v1 import monitor_pb2, trace_pb2
from plimsoll_client.mesh import Mesh


@pytest.fixture
def traced(gateway: FakeGateway) -> FakeGateway:
    gateway.traces["run_1"] = trace("run_1")
    gateway.alerts["alr_1"] = monitor_pb2.Alert(
        alert_id="alr_1",
        subject_kind="prompt",
        subject="answer",
        measure=monitor_pb2.MEASURE_DOUBT,
        status=monitor_pb2.ALERT_STATUS_OPEN,
        summary="doubt rose from 0.1 to 0.4",
    )
    gateway.monitors["mon_1"] = monitor_pb2.Monitor(
        monitor_id="mon_1",
        subject_kind="agent",
        subject="support",
        measure=monitor_pb2.MEASURE_FAILED_RUNS,
        phase=monitor_pb2.MONITOR_PHASE_WATCHING,
        baseline_size=200,
        alpha=0.001,
    )
    return gateway


async def test_a_trace_shows_steps_calls_labels_and_the_runs_that_it_started(traced: FakeGateway, plimsoll: Shell) -> None:
    assert await plimsoll("trace", "show", "run_1") == 0
    for told in ("timeout: TOO_SLOW", "tool_call name-2", "op_2", "wrong_tool (another_tool_succeeded)", "run_child", "vip", "$0.0015"):
        assert told in plimsoll.out
    assert await plimsoll("trace", "show", "run_1", "--json") == 0
    told = plimsoll.json()
    assert isinstance(told, dict)
    assert [entry["depth"] for entry in told["entries"]] == [0, 1, 2]
    assert told["trace"]["categories"] == ["timeout", "wrong_tool"]
    assert told["entries"][2]["labels"][0]["rule"] == "another_tool_succeeded"


async def test_a_long_trace_comes_whole(traced: FakeGateway, mesh: Mesh) -> None:
    traced.traces["run_2"] = trace("run_2", entries=1200)
    told = await mesh.traces.get("run_2")
    assert [entry.operation.id for entry in told.entries] == [f"op_{number}" for number in range(1203)]
    assert [child.run_id for child in told.children] == ["run_child"]
    assert traced.calls.count("GetTrace") == 3


async def test_traces_are_searched_by_all_that_can_be_said(traced: FakeGateway, plimsoll: Shell) -> None:
    asked = "--agent support --version v1 --status failed --category timeout --tag vip --tag eu --text refund --thread t --parent run_0"
    assert await plimsoll("trace", "list", *asked.split(), "--min-cost", "0.25", "--min-seconds", "1.5", "--hours", "2") == 0
    assert "run_1" in plimsoll.out
    [request] = traced.asked_traces
    assert (request.agent, request.agent_version, request.text, request.thread_id, request.parent_run_id) == (
        "support",
        "v1",
        "refund",
        "t",
        "run_0",
    )
    assert (list(request.tags), request.status, request.min_cost_micros) == (["vip", "eu"], trace_pb2.TRACE_STATUS_FAILED, 250_000)
    assert request.min_duration.ToMilliseconds() == 1500
    assert request.HasField("after_time")
    assert await plimsoll("trace", "list", "--category", "bad_luck") == 2
    traced.traces.clear()
    assert await plimsoll("trace", "list") == 0
    assert (plimsoll.out, bool(plimsoll.err)) == ("", True)


async def test_a_run_is_tagged_and_its_operations_are_read(traced: FakeGateway, plimsoll: Shell) -> None:
    assert await plimsoll("trace", "tag", "run_1", "eu", "--remove", "vip") == 0
    assert plimsoll.out == "run_1: eu\n"
    assert await plimsoll("trace", "body", "run_1", "op_2") == 0
    assert '"order": 7' in plimsoll.out
    assert "never kept" in plimsoll.out
    assert await plimsoll("trace", "body", "run_1", "op_2", "--json") == 0
    assert plimsoll.json() == {"input": {"order": 7}, "output": None, "owner": "tool-dispatcher", "missing": "the output was never kept"}


@pytest.mark.parametrize(
    "argv",
    [
        ("trace", "show", "run_x"),
        ("trace", "body", "run_x", "op"),
        ("trace", "tag", "run_x", "vip"),
        ("alerts", "acknowledge", "alr_x"),
        ("alerts", "resolve", "alr_x"),
        ("monitors", "reset", "mon_x"),
    ],
    ids=" ".join,
)
async def test_what_is_not_there_is_three_with_its_reason(traced: FakeGateway, plimsoll: Shell, argv: tuple[str, ...]) -> None:
    assert await plimsoll(*argv) == 3
    assert "NOT_FOUND" in plimsoll.err
    assert await plimsoll(*argv, "--json") == 3
    assert "NOT_FOUND" in plimsoll.out


async def test_alerts_are_listed_acknowledged_and_resolved(traced: FakeGateway, plimsoll: Shell) -> None:
    assert await plimsoll("alerts", "list", "--status", "open") == 0
    assert "doubt rose" in plimsoll.out
    assert await plimsoll("alerts", "acknowledge", "alr_1", "--comment", "looking") == 0
    assert plimsoll.out == "alr_1: acknowledged by ann\n"
    assert await plimsoll("alerts", "resolve", "alr_1", "--json") == 0
    told = plimsoll.json()
    assert isinstance(told, dict)
    assert (told["status"], told["measure"]) == ("resolved", "doubt")
    assert await plimsoll("alerts", "list", "--status", "open", "--json") == 0
    assert plimsoll.json() == []


async def test_monitors_are_listed_and_begin_anew(traced: FakeGateway, plimsoll: Shell) -> None:
    assert await plimsoll("monitors", "list") == 0
    assert "agent support" in plimsoll.out
    assert await plimsoll("monitors", "reset", "mon_1") == 0
    assert plimsoll.out == "mon_1: learning\n"


async def test_many_signals_are_recorded_each_by_itself(traced: FakeGateway, plimsoll: Shell, tmp_path: Path) -> None:
    file = tmp_path / "signals.jsonl"
    lines = [
        '{"run": "run_1", "outcome": false, "key": "a", "source": "shop"}',
        "",
        '{"run": "run_x", "good": true}',
        '{"tag": "order-7", "correct": {"amount": 5}, "operation": ""}',
        '{"run": "run_1", "score": 1}',
        '{"run": "run_1", "category": "timeout"}',
        '{"run": "run_1", "comment": "odd"}',
    ]
    file.write_text("\n".join(lines))
    assert await plimsoll("signals", "record", str(file)) == 1
    assert "5 of 6 signals are recorded" in plimsoll.err
    assert "signal 2: no run has this id [RUN_NOT_FOUND]" in plimsoll.err
    first, second = traced.recorded[:2]
    assert (first.signal.source, first.idempotency_key, first.signal.WhichOneof("value")) == ("shop", "a", "outcome")
    assert (second.signal.tag, second.signal.demonstration.text) == ("order-7", '{"amount":5}')
    assert [entry.signal.WhichOneof("value") for entry in traced.recorded[2:]] == ["score", "category", "remark"]


async def test_more_signals_than_one_call_takes_go_in_several(traced: FakeGateway, plimsoll: Shell, tmp_path: Path) -> None:
    file = tmp_path / "signals.jsonl"
    file.write_text('{"run": "run_1", "outcome": true}\n' * 1001)
    assert await plimsoll("signals", "record", str(file), "--json") == 0
    told = plimsoll.json()
    assert isinstance(told, list)
    assert (len(told), traced.calls.count("RecordSignals")) == (1001, 3)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("nonsense", "is not JSON"),
        ("[]", "is not an object"),
        ('{"good": true}', "names no run"),
        ('{"run": "a", "tag": "b", "good": true}', "names it twice"),
        ('{"run": "a"}', "has no value"),
        ('{"run": "a", "good": true, "score": 1}', "several values"),
        ('{"run": "a", "good": "yes"}', "good is not true or false"),
        ('{"run": "a", "score": 2}', "score is not from 0 to 1"),
        ('{"run": "a", "score": true}', "score is not from 0 to 1"),
        ('{"run": "a", "category": "bad_luck"}', "is none"),
        ('{"run": 7, "good": true}', "run is not a text"),
        ('{"run": "a", "god": true}', "unknown field 'god'"),
        ("", "is empty"),
    ],
)
async def test_signals_that_are_wrong_are_refused_before_any_is_sent(
    traced: FakeGateway, plimsoll: Shell, tmp_path: Path, line: str, told: str
) -> None:
    file = tmp_path / "signals.jsonl"
    good = '{"run": "run_1", "good": true}\n' if line else "\n"
    file.write_text(good + line)
    assert await plimsoll("signals", "record", str(file)) == 2
    assert told in plimsoll.err
    assert traced.recorded == []


async def test_the_signals_of_a_run_are_listed_with_what_they_say(traced: FakeGateway, plimsoll: Shell) -> None:
    assert await plimsoll("signal", "run_1", "--score", "0.25", "--comment", "meh") == 0
    assert await plimsoll("signals", "list", "run_1") == 0
    assert "score 0.25" in plimsoll.out
    assert "meh" in plimsoll.out
