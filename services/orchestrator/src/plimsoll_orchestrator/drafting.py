"""Drafts: a commit of a held run as it is handed in, and where the run stands with it. Structs, because each commit makes new ones."""

import msgspec
from plimsoll_graph.graph import Graph
from plimsoll_runtime.json_types import JsonObject

from plimsoll_orchestrator.domain.actions import Action, Birth, Park
from plimsoll_orchestrator.domain.journal import OF_OTHERS, RunStatus, encode_entry
from plimsoll_orchestrator.domain.letters import StopAsked, letters_of
from plimsoll_orchestrator.domain.plan import Stretch
from plimsoll_orchestrator.domain.run import Run
from plimsoll_orchestrator.domain.snapshot import encode_run, is_due
from plimsoll_orchestrator.ports import Append, Release


class Footing(msgspec.Struct, frozen=True):
    """Where a held run stands.

    Attributes:
    written   bytes of journal since the last snapshot, which had `snapshot` bytes
    abandoned what speaks against the run, until it gets on
    """

    run: Run
    epoch: int
    written: int
    snapshot: int
    abandoned: tuple[str, ...]


class Draft(msgspec.Struct, frozen=True):
    """The commit of a stretch, and where the run stands after it."""

    stretch: Stretch
    append: Append
    onward: Footing


def draft_of(
    footing: Footing,
    graph: Graph,
    stretch: Stretch,
    *,
    mail: int,
    unread: bool = False,
    births: tuple[Birth, ...] = (),
    answered: tuple[int, ...] = (),
    stop: StopAsked | None = None,
) -> Draft:
    """The commit of `stretch` by who knows of `mail` letters and has some of them `unread`."""
    before, after = footing.run, stretch.after
    encoded = [encode_entry(entry) for entry in stretch.entries]
    written = footing.written + sum(map(len, encoded))
    snapshot = encode_run(after) if not after.is_final and is_due(written, footing.snapshot) else ""
    abandoned = footing.abandoned if all(isinstance(entry, OF_OTHERS) for entry in stretch.entries) else ()
    append = Append(
        run_id=before.run_id,
        tenant=before.tenant,
        epoch=footing.epoch,
        expected_seq=before.seq,
        entries=stretch.entries,
        encoded=encoded,
        run=after,
        release=_release(after, stretch.following, unread=unread),
        births=births,
        deliveries=letters_of(before, after),
        answered=answered,
        mail=mail,
        snapshot=snapshot,
        kept=kept_of(after, graph, stop),
        abandoned=abandoned,
    )
    since = (0, len(snapshot)) if snapshot else (written, footing.snapshot)
    return Draft(stretch, append, Footing(after, footing.epoch, *since, abandoned))


def _release(after: Run, following: Action, *, unread: bool) -> Release | None:
    """How the run is let go of with the commit; None when it is not."""
    if after.is_final:
        return Release(status=after.status, wake_at=None)
    if isinstance(following, Park) and following.status is not RunStatus.QUEUED and not unread:
        return Release(status=following.status, wake_at=following.at)
    return None


def kept_of(run: Run, graph: Graph, stop: StopAsked | None = None) -> JsonObject | None:
    """What a run leaves to its thread when it ends: nothing when it failed or is rolled back, so that the thread stays as it was."""
    if not run.is_final or not run.options.thread_id or not graph.keep:
        return None
    if not run.joined_thread:  # it ended before its turn came: what it was given is no progress of the thread
        return None
    if run.status is RunStatus.FAILED or (stop is not None and stop.rollback):
        return None
    return {name: run.state[name] for name in graph.keep if name in run.state}
