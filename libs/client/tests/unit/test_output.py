"""What people read: safe text, honest figures, the answer before everything else."""

import io
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plimsoll_client import events
from plimsoll_client.cli.answer import answer_lines, answer_of, cost_line, print_report
from plimsoll_client.cli.approvals import call_line
from plimsoll_client.cli.asking import Say, said
from plimsoll_client.cli.feedback import chosen
from plimsoll_client.cli.following import Page
from plimsoll_client.cli.journal import history_line, progress_line
from plimsoll_client.cli.output import as_json, console, money, one_line, pretty, seconds, visible, when
from plimsoll_client.cli.report import Report, models_of
from plimsoll_client.cli.telling import option_words, origin_words
from plimsoll_client.errors import BadInput
from plimsoll_client.models import Approval, ApprovalStatus, Obstacle, Proposal, Run, RunStatus
from plimsoll_client.observations import Remark, Verdict
from plimsoll_client.options import Budget, RunOptions, RunOrigin, ThreadPolicy
from plimsoll_runtime.failures import Category, Failure
from plimsoll_runtime.json_types import JsonObject, JsonValue, parse_object
from plimsoll_runtime.usage import Usage

AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
BROKEN = Failure(category=Category.TIMEOUT, reason="TOOL_TIMEOUT", message="the shop did not answer")


def _run(*, status: RunStatus = RunStatus.SUCCEEDED) -> Run:
    return Run(
        id="run_1",
        agent="support",
        agent_digest="d",
        status=status,
        seq=9,
        node="end",
        input={"message": "hi"},
        state=None,
        output={"answer": "Hello."},
        failure=None,
        steps=4,
        usage=Usage(input_tokens=2_900, output_tokens=310, cost_micros=1_234),
        created_at=AT,
        started_at=AT,
        finished_at=AT + timedelta(seconds=1.5),
        rehearsal=True,
    )


def _entry(event: events.Happening, seq: int = 1) -> events.RunEvent:
    return events.RunEvent(run_id="run_1", seq=seq, at=AT, agent="support", agent_digest="d", epoch=1, event=event)


def _finished(*, facts: JsonObject, tokens: int = 0) -> events.StepFinished:
    usage = Usage(input_tokens=tokens)
    return events.StepFinished(
        node="classify", kind="model", delta={"intent": "refund"}, next="sort", usage=usage, duration_s=0.12, facts=facts
    )


def _approval(arguments: JsonObject) -> Approval:
    proposal = Proposal(tool="issue_refund", tool_digest="t", arguments=arguments, call_digest="c")
    return Approval(
        id="apr_1",
        run_id="run_1",
        agent="support",
        node="refund",
        summary="",
        details=None,
        proposal=proposal,
        status=ApprovalStatus.PENDING,
        asked_at=AT,
        expires_at=None,
        decided_at=None,
        decided_by="",
        comment="",
    )


@given(st.text())
def test_nothing_from_outside_can_steer_a_terminal(text: str) -> None:
    shown = visible(text)
    assert all(char >= " " or char in "\n\t" for char in shown)
    assert not set(shown) & {"\x7f", "\x9b", "\u202e", "\u2066", "\u200b"}


def test_ordinary_text_is_shown_as_it_is() -> None:
    assert visible("Grüße – 你好 👍\n\tx") == "Grüße – 你好 👍\n\tx"


def test_what_would_execute_cannot_hide_behind_escape_codes() -> None:
    assert call_line(_approval({"note": "ok\x1b[2K\u202e"})) == 'issue_refund {"note":"ok\\u001b[2K\\u202e"}'


def test_the_answer_comes_first_then_sources_once_each_then_the_rest() -> None:
    answer = answer_of(
        {
            "intent": "refund",
            "answer": "Yes.\nGladly.",
            "sources": ["a.md", {"title": "B", "source": "b.md"}, "a.md"],
            "ticket": None,
            "refund": {"cents": 5},
        }
    )
    assert list(answer_lines(answer)) == [
        "Yes.",
        "Gladly.",
        "",
        "Sources",
        "  1. a.md",
        "  2. B – b.md",
        "",
        "intent: refund",
        'refund: {"cents":5}',
    ]


def test_long_fields_beside_an_answer_are_only_counted_and_alone_are_shown_whole() -> None:
    rows: JsonValue = [{"row": number, "problem": "missing"} for number in range(9)]
    assert list(answer_lines(answer_of({"report": "Nine rows.", "rows": rows})))[-1] == "rows: 9 items (--json shows them)"
    assert list(answer_lines(answer_of({"report": "R", "csv": "a,b\n" * 20})))[-1] == "csv: 21 lines (--json shows them)"
    assert list(answer_lines(answer_of({"report": "R", "note": "a\nb"})))[-3:] == ["note:", "  a", "  b"]
    alone = list(answer_lines(answer_of({"rows": rows})))
    assert alone[:3] == ["", "rows:", "  ["]
    assert len(alone) > 9


@pytest.mark.parametrize(("output", "text"), [(None, ""), ("plain", "plain"), (7, "7"), ({"report": "R", "text": "T"}, "R")])
def test_any_output_can_be_shown(output: str, text: str) -> None:
    assert answer_of(output).text == text


def test_the_cost_names_steps_tokens_money_time_and_model() -> None:
    report = Report(run=_run(), models=("rehearsal-1",), duration_s=1.5)
    assert cost_line(report) == "4 steps · 3,210 tokens (2,900 in, 310 out) · $0.001234 · 1.50 s · rehearsal-1"


def test_a_report_is_json_for_programs() -> None:
    found = parse_object(as_json(Report(run=_run(), models=("m",), duration_s=1.5)))
    run = found["run"]
    assert isinstance(run, dict)
    assert (run["status"], run["output"], run["rehearsal"], run["created_at"]) == (
        "succeeded",
        {"answer": "Hello."},
        True,
        "2026-03-01T12:00:00+00:00",
    )
    assert found["models"] == ["m"]


def test_models_are_named_once_in_the_order_of_their_first_answer() -> None:
    entries = [_entry(_finished(facts={"model": "b"})), _entry(_finished(facts={"models": ["a", "b"]})), _entry(_finished(facts={}))]
    assert models_of(entries) == ("b", "a")


def test_a_finished_step_shows_kind_time_model_and_tokens() -> None:
    line = progress_line(_entry(_finished(facts={"model": "m-1"}, tokens=210)))
    assert line is not None
    assert line.text.split() == ["classify", "model", "0.12", "s", "m-1,", "210", "tokens"]


@pytest.mark.parametrize(
    ("retried", "next_node", "told"),
    [(True, "", "tried again"), (False, "hand_over", "goes on at hand_over"), (False, "", "no route for it")],
)
def test_a_failed_step_shows_the_cause_and_what_follows(*, retried: bool, next_node: str, told: str) -> None:
    failed = events.StepFailed(
        node="search", kind="tool", failure=BROKEN, attempt=1, next=next_node, retried=retried, duration_s=0.3, usage=Usage()
    )
    line = progress_line(_entry(failed))
    assert line is not None
    assert "timeout: the shop did not answer" in line.text
    assert told in line.text


@pytest.mark.parametrize("status", [ApprovalStatus.APPROVED, ApprovalStatus.REJECTED, ApprovalStatus.EXPIRED])
def test_a_decision_has_one_line_and_no_tick_contradicts_it(status: ApprovalStatus) -> None:
    decided = events.ApprovalDecided(node="review", approval_id="apr_1", status=status, decided_by="ann", comment="", next="end")
    finished = events.StepFinished(
        node="review", kind="approve", delta={}, next="end", usage=Usage(), duration_s=0.0, facts={"decision": status.value}
    )
    told = progress_line(_entry(decided))
    assert told is not None
    assert (told.mark, told.text) == ("!", f"{'review':<20} {status} by ann")
    assert progress_line(_entry(finished)) is None


def test_like_things_look_alike_whatever_the_order_of_their_keys() -> None:
    assert pretty({"row": 3, "after": None}) == pretty({"after": None, "row": 3})


def test_every_kind_of_entry_has_a_line_in_the_history() -> None:
    finished = events.RunFinished(status=RunStatus.FAILED, output=None, failure=BROKEN, usage=Usage(), steps=1)
    decided = events.ApprovalDecided(
        approval_id="apr_1", node="refund", status=ApprovalStatus.APPROVED, decided_by="ann", comment="ok", next="x"
    )
    every: list[events.Happening] = [
        events.RunStarted(input={"message": "hi"}),
        events.StepStarted(node="a", kind="tool", attempt=2),
        events.StepProgressed(node="a", detail={"turn": 1}, usage=Usage()),
        _finished(facts={}),
        events.StepFailed(node="a", kind="tool", failure=BROKEN, attempt=1, next="", retried=True, duration_s=0.3, usage=Usage()),
        events.ApprovalAsked(approval=_approval({})),
        events.ApprovalGiven(approval_id="apr_1", node="refund", decided_by="bob", comment=""),
        decided,
        events.WaitStarted(node="pay", until=AT, signal="paid"),
        events.SignalReceived(signal_id="sgn_1", name="paid", payload={"cents": 5}, sent_by="shop"),
        events.ChildrenStarted(node="each", children=(events.ChildRun(run_id="run_2", place="0", agent="row"),), total=40),
        events.ChildrenJoined(
            node="each", children=(events.JoinedChild(run_id="run_2", place="0", status=RunStatus.FAILED, failure=BROKEN, usage=Usage()),)
        ),
        events.ChildrenStopped(node="each", failure=BROKEN),
        events.InputReceived(input_id="inp_1", input={"message": "faster"}, sent_by="ann"),
        events.RunPaused(reason="look\nfirst", paused_by="ann"),
        events.RunResumed(resumed_by="ann"),
        events.RunQuarantined(reason="three workers ended", evidence=("w-1", "w-2")),
        events.VersionChanged(agent_digest="f" * 64),
        events.ThreadJoined(kept={"topic": "tents"}),
        events.CompensationStarted(node="undo", nodes=("book", "pay"), next="tell"),
        finished,
        events.TokensReceived(node="say", step_seq=3, attempt=1, offset=0, text="Hello\nthere"),
        events.TokensRetracted(node="say", step_seq=3, attempt=2),
        events.OtherEvent(),
    ]
    assert {type(event) for event in every} == set(get_args(events.Happening))
    for seq, event in enumerate(every, 1):
        line = history_line(_entry(event, seq))
        assert line.startswith(f"{seq:>4}")
        assert event.type in line
        assert "\n" not in line


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (events.RunPaused(reason="look first", paused_by="ann"), "‖ paused by ann: look first"),
        (events.RunPaused(reason="", paused_by=""), "‖ paused"),
        (events.RunResumed(resumed_by="ann"), "▸ resumed by ann"),
        (events.RunQuarantined(reason="ended 3 workers", evidence=("w-1", "w-2")), "✗ quarantined ended 3 workers; w-1; w-2"),
        (events.WaitStarted(node="pay", until=None, signal="paid"), "… pay waits for the signal paid"),
        (events.SignalReceived(signal_id="s", name="paid", payload=None, sent_by="shop"), "! signal paid from shop null"),
        (events.InputReceived(input_id="i", input={"m": 1}, sent_by=""), '! input for the run under way {"m":1}'),
        (
            events.ChildrenStarted(
                node="each", children=tuple(events.ChildRun(run_id=f"run_{n}", place=str(n), agent="row") for n in range(5)), total=40
            ),
            "» each 5 of 40 runs of its own started: run_0, run_1, run_2 and 2 more",
        ),
        (events.CompensationStarted(node="undo", nodes=("book", "pay"), next=""), "↶ undo takes back book, pay"),
        (events.VersionChanged(agent_digest="f" * 64), "↑ version goes on with ffffffffffff"),
    ],
)
def test_what_becomes_of_a_run_has_one_readable_line_for_whoever_watches(event: events.Happening, words: str) -> None:
    line = progress_line(_entry(event))
    assert line is not None
    assert " ".join(f"{line.mark} {line.text}".split()) == words


def test_what_is_unusual_about_a_run_is_told_and_what_is_usual_is_not() -> None:
    options = RunOptions(
        priority=9,
        deadline=AT,
        thread_id="t-1",
        thread_policy=ThreadPolicy.STEER,
        concurrency_key="account-7",
        budget=Budget(steps=5, cost_micros=50_000, seconds=90),
        follow_latest=True,
    )
    assert option_words(RunOptions()) == origin_words(None) == ""
    assert option_words(options) == (
        f"thread t-1 (steer), priority 9, deadline {when(AT)}, key account-7, at most 5 steps, $0.05, 1 min 30 s, follows the newest version"
    )
    assert origin_words(RunOrigin(parent_run_id="run_0", parent_seq=4, place="2")) == "started by run_0 at 4 (2)"
    assert origin_words(RunOrigin(forked_run_id="run_0", forked_seq=4)) == "forked from run_0 at 4"
    assert origin_words(RunOrigin(schedule="nightly")) == "started by schedule nightly"


@pytest.mark.parametrize("status", [RunStatus.PAUSED, RunStatus.QUARANTINED, RunStatus.WAITING])
def test_a_run_at_rest_says_what_it_waits_for(status: RunStatus, capsys: pytest.CaptureFixture[str]) -> None:
    obstacle = Obstacle(reason=status.value.upper(), message="resume it with `plimsoll runs resume`", until=None, subject="ann")
    print_report(console(), Report(run=replace(_run(status=status), node="pay"), models=(), duration_s=None, obstacles=(obstacle,)))
    assert f"The run is {status} at node pay.\n  {status.value.upper()}: resume it with" in capsys.readouterr().out


@given(pieces=st.lists(st.tuples(st.sampled_from(["say", "plan"]), st.text(max_size=8)), max_size=8))
def test_text_as_it_comes_never_runs_into_an_entry(pieces: list[tuple[str, str]]) -> None:
    out = io.StringIO()
    page = Page(console(out))
    for node, text in pieces:
        page.show(_entry(events.TokensReceived(node=node, step_seq=3, attempt=1, offset=0, text=text)))
    page.show(_entry(events.RunResumed(resumed_by="ann"), 7))
    *told, entry, rest = out.getvalue().split("\n")
    assert (entry[:4], rest) == ("   7", "")
    assert all(line[26:].startswith(" │ ") for line in told)


@pytest.mark.parametrize(
    ("line", "meant"),
    [("a\n", Say.APPROVE), ("YES", Say.APPROVE), ("no", Say.REJECT), ("reject", Say.REJECT), ("l", Say.LATER), ("", None), ("maybe", None)],
)
def test_a_person_is_understood_or_asked_again(line: str, meant: Say | None) -> None:
    assert said(line) is meant


def test_exactly_one_signal_is_given() -> None:
    assert chosen([Verdict(good=True)], "") == Verdict(good=True)
    assert chosen([], "just saying") == Remark()
    for named in ([], [Verdict(good=True), Remark()]):
        with pytest.raises(BadInput):
            chosen(named, "")


def test_figures_are_short_and_true() -> None:
    assert [money(micros) for micros in (0, 12, 9_999, 1_250_000)] == ["$0", "$0.000012", "$0.009999", "$1.25"]
    assert [seconds(value) for value in (None, 0.051, 12.34, 61.0)] == ["-", "0.05 s", "12.3 s", "1 min 1 s"]
    assert one_line("a\n  b " + "x" * 200, 10) == "a b xxxxx…"
