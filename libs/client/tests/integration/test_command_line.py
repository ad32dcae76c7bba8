"""The command line against a gateway over real gRPC: what it prints where, and how it ends."""

import asyncio
import sys
from pathlib import Path

import orjson
import pytest
from client_fakes import KEY, FakeGateway, input_of, question, step
from client_shell import Shell
from plimsoll.orchestrator.v1 import agent_pb2, run_pb2
from plimsoll_runtime.errors import FieldProblem, Invalid

TEXT = agent_pb2.FileMapping(text_field="message")
BOTH = agent_pb2.FileMapping(text_field="text", base64_field="pdf", name_field="name")


@pytest.fixture
def message(tmp_path: Path) -> str:
    path = tmp_path / "message.txt"
    path.write_text("Where is my order?")
    return str(path)


async def test_a_run_prints_its_answer_on_stdout_and_everything_else_on_stderr(gateway: FakeGateway, plimsoll: Shell, message: str) -> None:
    gateway.add_agent("support", accepts=TEXT, script=[step("classify", facts={"model": "rehearsal-1"}, tokens=12), step("answer")])
    gateway.output, gateway.rehearsal = {"answer": "It is on its way.", "sources": ["shipping.md"]}, True
    assert await plimsoll("run", "support", "--input", message) == 0
    assert plimsoll.out == "It is on its way.\n\nSources\n  1. shipping.md\n"
    assert "✓ classify" in plimsoll.err
    assert "rehearsal-1" in plimsoll.err
    assert "not a language model" in plimsoll.err
    assert input_of(gateway.runs["run_1"]) == {"message": "Where is my order?"}


async def test_json_is_alone_on_stdout(gateway: FakeGateway, plimsoll: Shell, message: str) -> None:
    gateway.add_agent("support", accepts=TEXT, script=[step("classify", facts={"model": "m"})])
    assert await plimsoll("run", "support", "--input", message, "--json") == 0
    report = plimsoll.json()
    assert isinstance(report, dict)
    assert (report["run"]["output"], report["models"], report["duration_s"]) == ({"answer": "Done."}, ["m"], 2.0)
    assert plimsoll.err == ""


async def test_a_pdf_goes_to_the_agent_that_takes_one(gateway: FakeGateway, plimsoll: Shell, tmp_path: Path) -> None:
    gateway.add_agent("documents", accepts=BOTH)
    (tmp_path / "a.pdf").write_bytes(b"%PDF-1.7")
    assert await plimsoll("run", "documents", "--input", str(tmp_path / "a.pdf"), "--detach") == 0
    assert plimsoll.out == "run_1\n"
    assert input_of(gateway.runs["run_1"]) == {"pdf": "JVBERi0xLjc=", "name": "a.pdf"}


async def test_a_failed_run_says_why_and_ends_with_six(gateway: FakeGateway, plimsoll: Shell, message: str) -> None:
    gateway.add_agent("support", accepts=TEXT)
    gateway.fails = True
    assert await plimsoll("run", "support", "--input", message) == 6
    assert plimsoll.out == ""
    assert "UPSTREAM_503" in plimsoll.err
    assert "the shop is closed" in plimsoll.err


@pytest.mark.parametrize(("answer", "status"), [("yes", run_pb2.APPROVAL_STATUS_APPROVED), ("no", run_pb2.APPROVAL_STATUS_REJECTED)])
async def test_an_approval_is_shown_and_answered_as_told(
    gateway: FakeGateway, plimsoll: Shell, message: str, answer: str, status: "run_pb2.ApprovalStatus.ValueType"
) -> None:
    gateway.add_agent("support", accepts=TEXT, script=[question("apr_1", {"amount_cents": 28900})])
    assert await plimsoll("run", "support", "--input", message, "--approve", answer) == 0
    assert "would execute issue_refund with exactly" in plimsoll.err
    assert '"amount_cents": 28900' in plimsoll.err
    assert gateway.approvals["apr_1"].status == status


async def test_one_of_two_people_does_not_let_the_run_go_on(gateway: FakeGateway, plimsoll: Shell, message: str) -> None:
    gateway.add_agent("support", accepts=TEXT, script=[question("apr_1", {"amount_cents": 128900}, quorum=2)])
    assert await plimsoll("run", "support", "--input", message, "--approve", "yes") == 7
    assert "by 0 of 2" in plimsoll.err
    assert "plimsoll approvals approve apr_1" in plimsoll.err
    assert await plimsoll("approvals", "show", "apr_1") == 0
    assert "by 1 of 2 (person 1)" in plimsoll.out
    assert await plimsoll("approvals", "approve", "apr_1") == 0
    assert "apr_1 is approved. What its run makes of it: plimsoll watch run_1" in plimsoll.out


async def test_with_nobody_to_ask_the_run_stays_parked(gateway: FakeGateway, plimsoll: Shell, message: str) -> None:
    gateway.add_agent("support", accepts=TEXT, script=[question("apr_1", {})])
    assert await plimsoll("run", "support", "--input", message) == 7
    assert "plimsoll approvals show apr_1" in plimsoll.err
    assert await plimsoll("approvals", "list") == 0
    assert plimsoll.out.splitlines()[1].split()[:4] == ["apr_1", "pending", "0/1", "run_1"]
    assert await plimsoll("approvals", "approve", "apr_1", "--comment", "fine") == 0
    assert await plimsoll("watch", "run_1") == 0
    assert "Done." in plimsoll.out


async def test_the_same_key_is_the_same_run(gateway: FakeGateway, plimsoll: Shell, message: str) -> None:
    gateway.add_agent("support", accepts=TEXT)
    for _ in range(2):
        assert await plimsoll("run", "support", "--input", message, "--key", "order-7", "--detach") == 0
        assert plimsoll.out == "run_1\n"


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("empty.txt", b"", "is empty"),
        ("photo.png", b"\x89PNG\r\n\x00", "is a PNG image"),
        ("none.txt", None, "does not exist"),
        ("x.json", b"{", "is not JSON"),
    ],
)
async def test_input_that_cannot_be_used_is_refused_and_nothing_is_started(
    gateway: FakeGateway, plimsoll: Shell, tmp_path: Path, name: str, content: bytes | None, told: str
) -> None:
    gateway.add_agent("support", accepts=TEXT)
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert await plimsoll("run", "support", "--input", str(tmp_path / name)) == 2
    assert told in plimsoll.err
    assert plimsoll.out == ""
    assert gateway.runs == {}


async def test_input_that_breaks_the_schema_is_told_by_path(gateway: FakeGateway, plimsoll: Shell, message: str) -> None:
    gateway.add_agent("support", accepts=TEXT)
    problems = (FieldProblem("input.message", "is longer than 5", "shorten it"), FieldProblem("input.sender", "is required"))
    gateway.refusals["SubmitRun"] = [Invalid(problems=problems, reason="INVALID_INPUT")]
    assert await plimsoll("run", "support", "--input", message) == 2
    assert (
        plimsoll.err
        == "plimsoll: 2 problems:\n  input.message: is longer than 5 (shorten it)\n  input.sender: is required\n[INVALID_INPUT]\n"
    )


async def test_an_unknown_agent_is_three(gateway: FakeGateway, plimsoll: Shell, message: str) -> None:
    assert await plimsoll("run", "nobody", "--input", message) == 3
    assert plimsoll.err == "plimsoll: no agent is called nobody\nSee `plimsoll agents list`\n[AGENT_NOT_FOUND]\n"


async def test_an_error_is_a_problem_in_json_for_programs_that_ask_for_json(gateway: FakeGateway, plimsoll: Shell, message: str) -> None:
    gateway.add_agent("support", accepts=TEXT)
    error = Invalid(problems=(FieldProblem("input.message", "is longer than 5", "shorten it"),), reason="INVALID_INPUT")
    error.trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    gateway.refusals["SubmitRun"] = [error]
    assert await plimsoll("run", "support", "--input", message, "--json") == 2
    assert plimsoll.json() == {
        "type": "urn:plimsoll:reason:INVALID_INPUT",
        "detail": "input.message: is longer than 5 (shorten it)",
        "reason": "INVALID_INPUT",
        "retryable": False,
        "exitCode": 2,
        "traceId": "4bf92f3577b34da6a3ce929d0e0e4736",
        "violations": [{"field": "input.message", "problem": "is longer than 5", "remedy": "shorten it"}],
    }
    assert plimsoll.err.endswith("[INVALID_INPUT] trace 4bf92f3577b34da6a3ce929d0e0e4736\n")


async def test_runs_that_are_set_aside_are_counted_beside_the_failures(gateway: FakeGateway, plimsoll: Shell, message: str) -> None:
    gateway.add_agent("support", accepts=TEXT)
    for _ in range(2):
        await plimsoll("run", "support", "--input", message, "--detach")
    for run in gateway.runs.values():
        run.message.status = run_pb2.RUN_STATUS_QUARANTINED
    assert await plimsoll("errors") == 0
    assert "2 runs are quarantined: see `plimsoll runs list --status quarantined`" in plimsoll.out
    assert await plimsoll("errors", "--json") == 0
    report = plimsoll.json()
    assert isinstance(report, dict)
    assert len(report["quarantined"]) == 2


async def test_a_wrong_key_is_four(gateway: FakeGateway, plimsoll: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLIMSOLL_API_KEY", "wrong")
    assert await plimsoll("agents", "list") == 4
    assert KEY not in plimsoll.err


async def test_no_mesh_is_five(plimsoll: Shell, tmp_path: Path) -> None:
    assert await plimsoll("agents", "list", "--data", str(tmp_path)) == 5
    assert "plimsoll up" in plimsoll.err


async def test_runs_are_listed_shown_read_and_cancelled(gateway: FakeGateway, plimsoll: Shell, message: str) -> None:
    gateway.add_agent("support", accepts=TEXT, script=[step("classify", facts={"model": "m"})])
    await plimsoll("run", "support", "--input", message, "--detach")
    assert await plimsoll("runs", "list") == 0
    assert plimsoll.out.split()[:2] == ["run", "agent"]
    assert "run_1" in plimsoll.out
    assert await plimsoll("runs", "show", "run_1") == 0
    assert "Done." in plimsoll.out
    assert await plimsoll("runs", "events", "run_1", "--json") == 0
    entries = [orjson.loads(line) for line in plimsoll.out.splitlines()]
    assert [(entry["seq"], entry["event"]["type"]) for entry in entries] == [(1, "run_started"), (2, "step_finished"), (3, "run_finished")]
    assert await plimsoll("runs", "cancel", "run_1") == 0
    assert await plimsoll("runs", "show", "run_9") == 3


async def test_agents_are_applied_from_a_folder(gateway: FakeGateway, plimsoll: Shell, tmp_path: Path) -> None:
    (tmp_path / "agent.yaml").write_text("agent: helper\n")
    assert await plimsoll("agents", "apply", str(tmp_path), "--json") == 0
    [applied] = plimsoll.json() or []
    assert (applied["agent"], applied["created"]) == ("helper", True)
    assert await plimsoll("agents", "show", "helper") == 0
    assert await plimsoll("agents", "list") == 0
    assert "helper" in plimsoll.out


async def test_a_folder_with_mistakes_is_refused_with_all_of_them(gateway: FakeGateway, plimsoll: Shell, tmp_path: Path) -> None:
    (tmp_path / "agent.yaml").write_text("a: [\n")
    (tmp_path / "knowledge").mkdir()
    (tmp_path / "knowledge/loose.md").write_text("x")
    assert await plimsoll("agents", "apply", str(tmp_path)) == 2
    assert plimsoll.err.startswith("plimsoll: 2 mistakes, nothing was applied:\n")
    assert "agent.yaml:2" in plimsoll.err
    assert gateway.calls == []


async def test_documents_are_stored_searched_and_counted(gateway: FakeGateway, plimsoll: Shell, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/a.md").write_text("Returns take 30 days.")
    assert await plimsoll("memory", "ingest", "help", str(tmp_path / "docs")) == 0
    assert await plimsoll("memory", "search", "help", "returns", "--json") == 0
    found = plimsoll.json()
    assert isinstance(found, dict)
    assert [passage["text"] for passage in found["passages"]] == ["Returns take 30 days."]
    assert await plimsoll("memory", "collections") == 0
    assert "help" in plimsoll.out
    (tmp_path / "docs/b.md").write_bytes(b"\0")
    assert await plimsoll("memory", "ingest", "help", str(tmp_path / "docs")) == 2
    assert await plimsoll("memory", "search", "help", "x", "--filter", "[]") == 2


async def test_a_signal_is_recorded_and_two_at_once_are_refused(gateway: FakeGateway, plimsoll: Shell) -> None:
    assert await plimsoll("signal", "run_1", "--bad", "--comment", "wrong order") == 0
    assert "sig_1" in plimsoll.out
    assert await plimsoll("signal", "run_1", "--bad", "--score", "0.5") == 2
    assert await plimsoll("signal", "run_1", "--category", "bad_luck") == 2
    assert "tool_error" in plimsoll.err
    assert len(gateway.signals) == 1


@pytest.mark.parametrize(
    "argv", [("tools", "list"), ("prompts", "list"), ("models", "list"), ("approvals", "list"), ("errors",), ("runs", "list")]
)
async def test_an_empty_list_is_a_sentence_for_people_and_empty_for_programs(
    gateway: FakeGateway, plimsoll: Shell, argv: tuple[str, ...]
) -> None:
    assert await plimsoll(*argv) == 0
    assert plimsoll.out == ""
    assert plimsoll.err.strip()
    assert await plimsoll(*argv, "--json") == 0
    assert plimsoll.json() in ([], {"counts": [], "operations": 7, "quarantined": []})


@pytest.mark.parametrize("argv", [("nonsense",), ("runs", "nonsense"), ("run", "support"), ("runs", "list", "--limit", "many")])
async def test_a_wrong_command_line_is_two(plimsoll: Shell, argv: tuple[str, ...]) -> None:
    assert await plimsoll(*argv) == 2
    assert "Error:" in plimsoll.err


async def test_ctrl_c_leaves_the_run_going_and_ends_clean(gateway: FakeGateway, message: str) -> None:
    gateway.add_agent("support", accepts=TEXT, script=[step("classify"), question("apr_1", {})])
    program = "import sys; from plimsoll_client.cli.main import main; main()"
    argv = [sys.executable, "-c", program, "runs", "events", "run_1", "--follow"]
    submitted = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, "run", "support", "--input", message, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(60):
        assert await submitted.wait() == 7
        following = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
        assert following.stdout is not None
        assert following.stderr is not None
        for _ in range(3):
            await following.stdout.readline()
        following.send_signal(2)
        assert await following.wait() == 130
        assert await following.stderr.read() == b""
    assert gateway.runs["run_1"].message.status == run_pb2.RUN_STATUS_RUNNING
