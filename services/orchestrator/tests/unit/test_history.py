"""The history checker sees every invariant that does not hold: each is broken here once, in a history that is whole otherwise."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import msgspec
import pytest
from orchestrator_history import History, Row, Written, problems
from plimsoll_graph.parse import parse_graph
from plimsoll_orchestrator.domain.fold import fold
from plimsoll_orchestrator.domain.journal import (
    Child,
    ChildrenJoined,
    ChildrenStarted,
    Entry,
    Joined,
    ModelTurn,
    RunFinished,
    RunStarted,
    RunStatus,
    StepFailed,
    StepFinished,
    StepProgressed,
    StepStarted,
    ToolAnswer,
    ToolCall,
    ToolTurn,
    encode_entry,
)
from plimsoll_orchestrator.domain.options import Limits, RunOptions
from plimsoll_orchestrator.domain.run import Run
from plimsoll_runtime.failures import Category, Failure
from plimsoll_runtime.json_types import JsonObject
from plimsoll_runtime.usage import Usage

NOW = datetime(2026, 1, 1, tzinfo=UTC)
GRAPH = parse_graph(
    """
agent: g
input: {type: object}
state: {type: object, properties: {canary: {type: string}, n: {type: integer}}}
start: ask
budget: {steps: 3, tokens: 100}
output: {n: state.n}
nodes:
  ask: {agent: {prompt: "p@production", variables: {}, tools: [t], turns: 3}, next: spread}
  spread: {parallel: {branches: {left: left}, merge: {}}, next: end}
  left: {set: {n: 1}, next: join}
""",
    "g.yaml",
)
FAILURE = Failure(category=Category.TIMEOUT, reason="SLOW", message="too slow")
CALL = ToolCall(call_id="c1", tool="t", arguments={})
ANSWER = ToolAnswer(call_id="c1", tool="t", content={})
JOURNAL: Sequence[Entry] = (
    RunStarted(input={"canary": "mine"}),
    StepStarted(node="ask", node_kind="agent"),
    StepProgressed(node="ask", turn=ModelTurn(message="?", calls=(CALL,)), usage=Usage(input_tokens=3)),
    StepProgressed(node="ask", turn=ToolTurn(answers=(ANSWER,))),
    StepFinished(node="ask", node_kind="agent", delta={"n": 1}, next="spread"),
    StepStarted(node="spread", node_kind="parallel"),
    ChildrenStarted(node="spread", children=(Child(run_id="run_1.5.left", place="left", agent="g"),), total=1),
    ChildrenJoined(node="spread", children=(Joined(run_id="run_1.5.left", place="left", status=RunStatus.SUCCEEDED),)),
    StepFinished(node="spread", node_kind="parallel", delta={}, next="end"),
    RunFinished(status=RunStatus.SUCCEEDED, output={"n": 1}),
)
CHILD: Sequence[Entry] = (RunStarted(input={"canary": "mine"}), RunFinished(status=RunStatus.SUCCEEDED))
OTHER: Sequence[Entry] = (RunStarted(input={"canary": "yours"}), RunFinished(status=RunStatus.SUCCEEDED))


@dataclass
class Past:
    """Three runs, one of them the child of another; a test changes what it likes before it is looked at."""

    journals: dict[str, list[Entry]] = field(default_factory=lambda: {"run_1": [*JOURNAL], "run_1.5.left": [*CHILD], "run_2": [*OTHER]})
    epochs: dict[str, list[int]] = field(default_factory=dict)
    seqs: dict[str, list[int]] = field(default_factory=dict)
    rows: dict[str, Mapping[str, object]] = field(default_factory=dict)
    snapshot: JsonObject | None = None
    outbox: Sequence[tuple[str, int, int]] = (("run_1", 1, 6), ("run_1", 7, 10))
    without_rows: frozenset[str] = frozenset()

    def told(self) -> list[str]:
        return problems(self._history(), ("mine", "yours"))

    def _history(self) -> History:
        known = [run_id for run_id in self.journals if run_id not in self.without_rows]
        journals = {run_id: self._written(run_id) for run_id in self.journals}
        run = _folded("run_1", self.journals["run_1"][:5])
        snapshots = {} if self.snapshot is None else {"run_1": msgspec.structs.replace(run, state=self.snapshot)}
        return History(
            rows=[self._row(run_id) for run_id in known],
            journals=journals,
            texts={run_id: "".join(map(encode_entry, entries)) for run_id, entries in self.journals.items()},
            snapshots=snapshots,
            graphs={("g", GRAPH.digest): GRAPH},
            outbox=self.outbox,
        )

    def _written(self, run_id: str) -> list[Written]:
        entries = self.journals[run_id]
        seqs = self.seqs.get(run_id, list(range(1, len(entries) + 1)))
        epochs = self.epochs.get(run_id, [1] * len(entries))
        return [Written(seq, epoch, NOW, entry) for seq, epoch, entry in zip(seqs, epochs, entries, strict=True)]

    def _row(self, run_id: str) -> Row:
        entries = self.journals[run_id]
        ended = [entry for entry in entries if isinstance(entry, RunFinished)]
        row = Row(
            run_id=run_id,
            tenant="t",
            agent="g",
            agent_digest=GRAPH.digest,
            status=ended[0].status.value if ended else "running",
            epoch=1,
            seq=self.seqs.get(run_id, [len(entries)])[-1],
            steps=sum(isinstance(entry, StepFinished | StepFailed) for entry in entries),
            tokens=sum(entry.usage.tokens for entry in entries if isinstance(entry, StepProgressed | StepFinished | StepFailed)),
            wakes=not ended,
            held=False,
            finished=bool(ended),
        )
        return replace(row, **self.rows.get(run_id, {}))  # type: ignore[arg-type]


def _folded(run_id: str, entries: Sequence[Entry]) -> Run:
    fresh = Run(run_id=run_id, tenant="t", agent="g", agent_digest=GRAPH.digest)
    return fold(fresh, ((seq, NOW, entry) for seq, entry in enumerate(entries, 1)), GRAPH.start)


def test_a_whole_history_has_no_problems() -> None:
    assert Past(snapshot={"canary": "mine", "n": 1}).told() == []


def put(at: int, *entries: Entry, instead: int = 1) -> Callable[[Past], None]:
    """Entries in the place of `instead` others of the journal; what waits to be published follows."""

    def change(past: Past) -> None:
        past.journals["run_1"][at : at + instead] = entries
        past.outbox = (("run_1", 1, len(past.journals["run_1"])),)

    return change


def row(**fields: object) -> Callable[[Past], None]:
    return lambda past: past.rows.update({"run_1": fields})


def having(name: str, value: object) -> Callable[[Past], None]:
    return lambda past: setattr(past, name, value)


def lost_child(past: Past) -> None:
    del past.journals["run_1.5.left"]


FINISHED, STARTED = JOURNAL[4], JOURNAL[1]
STUCK = StepFailed(node="ask", node_kind="agent", failure=FAILURE)
FAILED = RunFinished(status=RunStatus.FAILED, failure=FAILURE)
SPENT = StepProgressed(node="ask", turn=ToolTurn(answers=(ANSWER,)), usage=Usage(output_tokens=97))
FRUGAL = RunStarted(input={"canary": "mine"}, options=RunOptions(budget=Limits(steps=1)))
STRANGER = RunStarted(input={"canary": "mine", "note": ["yours"]})
BROKEN: Mapping[str, tuple[Callable[[Past], None], str]] = {
    "a journal that lost its run": (having("without_rows", frozenset({"run_2"})), "run_2: a journal without a run"),
    "a gap": (having("seqs", {"run_1": [1, 2, 3, 4, 6, 7, 8, 9, 10, 11]}), "the journal has a gap"),
    "a fork": (having("seqs", {"run_1": [1, 2, 3, 3, 4, 5, 6, 7, 8, 9]}), "the journal has a gap"),
    "a write of a stale epoch": (having("epochs", {"run_1": [1, 1, 2, 2, 1, 2, 2, 2, 2, 2]}), "epochs fall"),
    "an epoch that the row does not know": (having("epochs", {"run_1": [1] * 9 + [2]}), "its row's epoch is below that of an entry"),
    "a row that is behind": (row(seq=9), "its row says 9, its journal ends with 10"),
    "a journal without a beginning": (put(0, instead=1), "it does not begin with its start"),
    "a step that begins twice": (put(2, STARTED, instead=0), "starts ask while ask is under way"),
    "a step that ends as another": (put(4, StepFinished(node="spread", node_kind="agent", delta={}, next="end")), "ends spread while ask"),
    "a call without an answer": (put(3, instead=1), "ends what left ['c1'] without an answer"),
    "a model that speaks before the answer": (put(3, JOURNAL[2]), "the model speaks while ['c1'] are not answered"),
    "an answer that comes twice": (put(4, JOURNAL[3], instead=0), "does not answer []"),
    "a failure that leads nowhere": (put(4, STUCK), "goes on after the failure of entry 5, which leads nowhere"),
    "a failure that is passed over": (put(4, STUCK, RunFinished(status=RunStatus.SUCCEEDED), instead=6), "it succeeded with a failure"),
    "a failure that nobody is told": (put(9, RunFinished(status=RunStatus.FAILED)), "it did not succeed, and its end does not say why"),
    "an end that comes twice": (put(10, JOURNAL[9], instead=0), "it goes on after its end: [10, 11]"),
    "a run that goes on after its end": (put(9, JOURNAL[9], FINISHED), "it goes on after its end"),
    "a row that does not know of the end": (row(finished=False), "its row and its journal differ about its end"),
    "a finished run that somebody holds": (row(held=True), "it is finished and somebody holds it"),
    "a finished run that would be woken": (row(wakes=True), "it is finished and somebody holds it, or it would be woken"),
    "another end in the row": (row(status="failed"), "its row says failed, its journal succeeded"),
    "another use in the row": (row(tokens=4), "its row and its journal differ about what it used"),
    "a step that its graph's budget does not allow": (put(3, SPENT), "entry 6 is a step beyond its budget of 100 tokens"),
    "a step that its own budget does not allow": (put(0, FRUGAL), "entry 6 is a step beyond its budget of 1 steps"),
    "a snapshot of something else": (having("snapshot", {"n": 2}), "its snapshot is not the fold of its journal"),
    "a child that was lost": (lost_child, "its child run_1.5.left does not exist"),
    "a child that came back twice": (put(8, JOURNAL[7], JOURNAL[8]), "a child was started or joined twice"),
    "a child that nobody started": (put(6, instead=1), "a child was started or joined twice"),
    "a value of another run": (put(0, STRANGER), "it has read the canary yours of another run"),
    "an entry that nobody publishes": (having("outbox", (("run_1", 1, 9),)), "the outbox has [1, 2, 3, 4, 5, 6, 7, 8, 9] of 10 entries"),
    "an entry that is published twice": (having("outbox", (("run_1", 1, 10), ("run_1", 10, 10))), "of 10 entries"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_does_not_hold_is_named(what: str) -> None:
    past = Past()
    change, says = BROKEN[what]
    change(past)
    assert any(says in problem for problem in past.told()), past.told()


def test_a_failure_that_is_tried_again_routed_or_told_is_none() -> None:
    again = StepFailed(node="ask", node_kind="agent", failure=FAILURE, retry_at=NOW)
    for entries in ((again, STARTED, FINISHED), (msgspec.structs.replace(STUCK, next="spread"),)):
        past = Past()
        put(4, *entries)(past)
        past.rows["run_1"] = {"tokens": 3}
        assert past.told() == []
    ended = Past()
    put(4, STUCK, FAILED, instead=6)(ended)
    assert ended.told() == []
