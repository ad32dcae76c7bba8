"""The fold of a journal, and what comes next: for every order of events that can happen."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plimsoll_graph.parse import parse_graph
from plimsoll_orchestrator.domain.actions import Done, Failed, Park, Perform, Rest, Write
from plimsoll_orchestrator.domain.decide import conclude, decide
from plimsoll_orchestrator.domain.fold import fold
from plimsoll_orchestrator.domain.journal import (
    ApprovalAsked,
    ApprovalDecided,
    ApprovalStatus,
    Entry,
    RunFinished,
    RunStarted,
    RunStatus,
    StepFailed,
    StepFinished,
    StepStarted,
    decode_entry,
    encode_entry,
)
from plimsoll_orchestrator.domain.run import Run
from plimsoll_orchestrator.errors import JournalBroken
from plimsoll_runtime.failures import Category, Failure
from plimsoll_runtime.json_types import JsonObject
from plimsoll_runtime.usage import Usage

NOW = datetime(2026, 1, 1, tzinfo=UTC)
GRAPH_SOURCE = """
agent: g
input: {type: object}
state: {type: object, properties: {n: {type: integer}, x: {type: string}}}
start: call
budget: {steps: 50}
output: {n: state.n}
nodes:
  call:
    tool: {name: t, arguments: {}}
    save: {n: result.n}
    retry: {attempts: 3, backoff: 10s, on: [timeout]}
    on_failure: {rate_limited: other, any: fail}
    next: end
  other: {set: {n: 7}, next: end}
"""
GRAPH = parse_graph(GRAPH_SOURCE, "g.yaml")
FAILURE = Failure(category=Category.TIMEOUT, reason="SLOW", message="too slow", retryable=True)


def folded(*entries: Entry) -> Run:
    run = Run(run_id="run_1", tenant="t", agent="g", agent_digest=GRAPH.digest)
    return fold(run, ((seq, NOW, entry) for seq, entry in enumerate(entries, 1)), GRAPH.start)


STARTED = (RunStarted(input={"a": 1}), StepStarted(node="call", node_kind="tool"))


def test_a_fresh_run_starts_with_its_input_as_state() -> None:
    run = folded(RunStarted(input={"n": 3}))
    assert run.state == {"n": 3}
    assert decide(run, GRAPH, NOW) == Write((StepStarted(node="call", node_kind="tool"),))


def test_a_started_step_is_performed_and_its_result_saved() -> None:
    run = folded(*STARTED)
    action = decide(run, GRAPH, NOW)
    assert action == Perform(GRAPH.nodes["call"])
    [entry] = conclude(run, GRAPH, GRAPH.nodes["call"], Done(result={"n": 5}), 0.1, NOW)
    assert isinstance(entry, StepFinished)
    assert entry.delta == {"n": 5}


@pytest.mark.parametrize("result", [{"n": "five"}, {}, {"n": 2.5}])
def test_a_result_that_does_not_fit_the_state_is_a_failure(result: object) -> None:
    [entry] = conclude(folded(*STARTED), GRAPH, GRAPH.nodes["call"], Done(result=result), 0.1, NOW)
    assert isinstance(entry, StepFailed)
    assert entry.failure.category is Category.CONTEXT_INVALID


def test_a_retry_waits_its_pause_and_is_bounded() -> None:
    run = folded(*STARTED)
    [first] = conclude(run, GRAPH, GRAPH.nodes["call"], Failed(failure=FAILURE), 0.1, NOW)
    assert isinstance(first, StepFailed)
    assert first.retry_at is not None
    assert NOW <= first.retry_at <= NOW + timedelta(seconds=10)
    waiting = folded(*STARTED, first)
    assert decide(waiting, GRAPH, first.retry_at - timedelta(microseconds=1)) == Park(first.retry_at, RunStatus.QUEUED)
    assert decide(waiting, GRAPH, first.retry_at) == Write((StepStarted(node="call", node_kind="tool", attempt=2),))
    entries: tuple[Entry, ...] = STARTED
    for attempt in (1, 2, 3):
        [failed] = conclude(folded(*entries), GRAPH, GRAPH.nodes["call"], Failed(failure=FAILURE), 0.1, NOW)
        assert isinstance(failed, StepFailed)
        assert (failed.retry_at is None) == (attempt == 3)
        entries = (*entries, failed, StepStarted(node="call", node_kind="tool", attempt=attempt + 1))


def test_deciding_twice_decides_the_same() -> None:
    run = folded(*STARTED)
    outcome = Failed(failure=FAILURE)
    assert conclude(run, GRAPH, GRAPH.nodes["call"], outcome, 0.1, NOW) == conclude(run, GRAPH, GRAPH.nodes["call"], outcome, 0.1, NOW)


def test_a_question_parks_the_run_until_it_expires() -> None:
    expires = NOW + timedelta(hours=1)
    asked = ApprovalAsked(approval_id="apr_1", node="call", summary="?", details={}, expires_at=expires)
    run = folded(*STARTED, asked)
    assert run.status is RunStatus.WAITING
    assert decide(run, GRAPH, NOW) == Park(expires, RunStatus.WAITING)
    assert decide(run, GRAPH, expires) == Write(
        (ApprovalDecided(approval_id="apr_1", node="call", status=ApprovalStatus.EXPIRED, seconds=3600.0),)
    )
    answered = folded(*STARTED, asked, ApprovalDecided(approval_id="apr_1", node="call", status=ApprovalStatus.APPROVED))
    assert decide(answered, GRAPH, NOW) == Perform(GRAPH.nodes["call"])


def test_a_finished_run_rests_and_its_questions_are_withdrawn() -> None:
    asked = ApprovalAsked(approval_id="apr_1", node="call", summary="?", details={}, expires_at=NOW)
    run = folded(*STARTED, asked, RunFinished(status=RunStatus.CANCELLED))
    assert decide(run, GRAPH, NOW) == Rest()
    assert run.approvals["apr_1"].status is ApprovalStatus.WITHDRAWN


@pytest.mark.parametrize("seqs", [(1, 3), (2,), (1, 1)])
def test_a_journal_with_a_gap_or_a_fork_is_refused(seqs: tuple[int, ...]) -> None:
    fresh = Run(run_id="run_1", tenant="t", agent="g", agent_digest="")
    with pytest.raises(JournalBroken):
        fold(fresh, ((seq, NOW, RunStarted(input={})) for seq in seqs), "call")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
entries = st.one_of(
    st.builds(RunStarted, input=json_values),
    st.builds(StepStarted, node=st.text(), node_kind=st.text(), attempt=st.integers(1, 99)),
    st.builds(
        StepFinished,
        node=st.text(),
        node_kind=st.text(),
        delta=st.dictionaries(st.text(), json_values, max_size=3),
        next=st.text(),
        usage=st.builds(Usage, input_tokens=st.integers(0, 2**53)),
        seconds=st.floats(0, 1e6),
    ),
    st.builds(
        StepFailed,
        node=st.text(),
        node_kind=st.text(),
        failure=st.builds(Failure, category=st.sampled_from(Category), reason=st.text(), message=st.text()),
    ),
    st.builds(RunFinished, status=st.sampled_from(RunStatus), output=json_values),
)


@given(entries)
def test_an_entry_survives_being_stored(entry: Entry) -> None:
    assert decode_entry(encode_entry(entry)) == entry


@given(st.text())
def test_what_is_no_entry_is_refused(text: str) -> None:
    with pytest.raises(JournalBroken):
        decode_entry(text)


@given(st.lists(st.booleans(), max_size=12), st.integers(0, 12))
def test_folding_in_two_parts_is_folding_at_once(outcomes: list[bool], cut: int) -> None:
    journal: list[Entry] = [RunStarted(input={})]
    for good in outcomes:
        journal.append(StepStarted(node="call", node_kind="tool"))
        if good:
            journal.append(StepFinished(node="call", node_kind="tool", delta={"n": len(journal)}, next="call"))
        else:
            journal.append(StepFailed(node="call", node_kind="tool", failure=FAILURE, next="call"))
    numbered = [(seq, NOW, entry) for seq, entry in enumerate(journal, 1)]
    fresh = Run(run_id="run_1", tenant="t", agent="g", agent_digest="")
    whole = fold(fresh, numbered, "call")
    assert fold(fold(fresh, numbered[:cut], "call"), numbered[cut:], "call") == whole
    assert whole.seq == len(journal)
    assert whole.steps == len(outcomes)


def test_what_a_set_node_has_to_ensure_is_judged_with_its_fields_set() -> None:
    source = GRAPH_SOURCE.replace("other: {set: {n: 7}, next: end}", 'other: {set: {n: 7}, ensure: ["state.n < 7"], next: end}')
    graph = parse_graph(source, "g.yaml")
    fresh = Run(run_id="r", tenant="t", agent="g", agent_digest="d")
    action = decide(fold(fresh, [(1, NOW, RunStarted(input={"n": 1}, node="other"))], graph.start), graph, NOW)
    assert isinstance(action, Write)
    [entry] = action.entries
    assert isinstance(entry, StepFailed)
    assert "state.n < 7" in entry.failure.message


def test_a_state_has_a_limit_as_a_whole_and_names_it() -> None:
    state: JsonObject = {f"f{number}": "x" * 3_500_000 for number in range(4)}
    fresh = Run(run_id="r", tenant="t", agent="g", agent_digest="d")
    run = fold(fresh, [(1, NOW, RunStarted(input={}, state=state)), (2, NOW, STARTED[1])], GRAPH.start)
    graph = parse_graph(GRAPH_SOURCE.replace("save: {n: result.n}", "save: {x: result.x}"), "g.yaml")
    [entry] = conclude(run, graph, graph.nodes["call"], Done(result={"x": "x" * 3_500_000}), 0.1, NOW)
    assert isinstance(entry, StepFailed)
    assert (entry.failure.reason, "16777216" in entry.failure.message) == ("STATE_TOO_LARGE", True)
