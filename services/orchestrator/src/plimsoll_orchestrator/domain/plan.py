"""Plans: what a commit of some entries makes of a run, and what follows from it at once. Structs, because each commit makes new ones."""

from datetime import datetime

import msgspec
from plimsoll_graph.graph import Graph

from plimsoll_orchestrator.domain.actions import Action, Write
from plimsoll_orchestrator.domain.decide import decide
from plimsoll_orchestrator.domain.fold import fold
from plimsoll_orchestrator.domain.journal import Entry, RunFinished, StepStarted
from plimsoll_orchestrator.domain.run import Run


class Stretch(msgspec.Struct, frozen=True):
    """Entries of one commit, the run after them, and what follows then."""

    entries: tuple[Entry, ...]
    after: Run
    following: Action


class Plan(msgspec.Struct, frozen=True):
    """What becomes of `before` with `alone.entries`; `joined` has with them what follows at once, if that can go into the same commit."""

    before: Run
    alone: Stretch
    joined: Stretch | None


def plan_of(run: Run, graph: Graph, entries: tuple[Entry, ...], now: datetime) -> Plan:
    """The plan of committing the entries."""
    alone = _stretch(run, graph, entries, now)
    if not isinstance(alone.following, Write) or not _joins(alone.following):
        return Plan(run, alone, None)
    onward = _stretch(alone.after, graph, alone.following.entries, now)
    return Plan(run, alone, Stretch((*entries, *onward.entries), onward.after, onward.following))


def _stretch(run: Run, graph: Graph, entries: tuple[Entry, ...], now: datetime) -> Stretch:
    after = fold(run, ((run.seq + place, now, entry) for place, entry in enumerate(entries, 1)), graph.start)
    return Stretch(entries, after, decide(after, graph, now))


def _joins(following: Write) -> bool:
    """Whether what follows is committed together with what was before: the start of a step, or the end of the run."""
    return all(isinstance(one, StepStarted | RunFinished) for one in following.entries)
