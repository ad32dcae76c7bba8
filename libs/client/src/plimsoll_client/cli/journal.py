"""A run's journal for people: one line per entry, and reading it up to where it is now."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from plimsoll_client import events
from plimsoll_client.cli.output import one_line, seconds, visible, when
from plimsoll_client.cli.report import models_in
from plimsoll_client.cli.telling import of_step, told
from plimsoll_client.events import ApprovalAsked, ApprovalDecided, ApprovalGiven, RunEvent, StepFailed, StepFinished

if TYPE_CHECKING:
    from rich.console import Console

    from plimsoll_client.mesh import Mesh


@dataclass(frozen=True, slots=True)
class Line:
    """A mark that can be taken in at a glance, its colour, and the text."""

    mark: str
    style: str
    text: str

    def print_to(self, out: "Console") -> None:
        """The mark in its colour, then the text."""
        out.print(f"  {self.mark}", style=self.style, end=" ")
        out.print(visible(self.text), soft_wrap=True)


def progress_line(event: RunEvent) -> Line | None:
    """What is worth a line while somebody waits; None for the rest."""
    match event.event:
        case StepFinished(kind="approve"):  # the decision has had its line, and a ✓ after "rejected" would mislead
            return None
        case StepFinished():
            return _finished(event.event)
        case StepFailed():
            return _failed(event.event)
        case ApprovalAsked(approval=approval):
            return Line("?", "yellow", f"{approval.node:<20} waits for approval {approval.id}")
        case ApprovalGiven(node=node, decided_by=by):
            return Line("!", "yellow", f"{node:<20} approved by {by}, more people are asked")
        case ApprovalDecided(node=node, status=status, decided_by=by):
            return Line("!", "yellow", f"{node:<20} {status}{f' by {by}' if by else ''}")
        case _:
            return _of_run(event.event)


def history_line(event: RunEvent) -> str:
    """One entry on one line."""
    return f"{event.seq:>4}  {when(event.at)}  {event.event.type:<20} {one_line(' '.join(told(event.event)), 140).lstrip()}".rstrip()


async def journal(mesh: "Mesh", run_id: str, *, after_seq: int = 0) -> AsyncGenerator[RunEvent, None]:
    """The entries that exist now, without waiting for more."""
    last = (await mesh.runs.get(run_id)).seq
    if after_seq >= last:
        return
    async with aclosing(mesh.runs.follow(run_id, after_seq=after_seq)) as entries:
        async for entry in entries:
            yield entry
            if entry.seq >= last:
                return


def _finished(step: StepFinished) -> Line:
    notes = [*models_in(step), f"{step.usage.tokens} tokens"] if step.usage.tokens else list(models_in(step))
    return Line("✓", "green", f"{step.node:<20} {step.kind:<9} {seconds(step.duration_s):>8}  {', '.join(notes)}".rstrip())


def _failed(step: StepFailed) -> Line:
    mark, style = ("↻", "yellow") if step.retried else ("✗", "red" if not step.next else "yellow")
    return Line(mark, style, f"{step.node:<20} {of_step(step)}")


def _of_run(event: events.Happening) -> Line | None:
    """Entries about the run as a whole, its waiting and its children."""
    mark, style, label = _MARKS.get(type(event), ("", "", ""))
    if not mark:
        return None
    node, words = told(event)
    return Line(mark, style, f"{node or label:<20} {one_line(words, 140)}".rstrip())


_MARKS: Mapping[type[events.Happening], tuple[str, str, str]] = MappingProxyType(
    {
        events.WaitStarted: ("…", "yellow", ""),
        events.SignalReceived: ("!", "yellow", "signal"),
        events.InputReceived: ("!", "yellow", "input"),
        events.ChildrenStarted: ("»", "cyan", ""),
        events.ChildrenJoined: ("«", "cyan", ""),
        events.ChildrenStopped: ("✗", "yellow", ""),
        events.CompensationStarted: ("↶", "yellow", ""),
        events.RunPaused: ("‖", "yellow", "paused"),
        events.RunResumed: ("▸", "green", "resumed"),
        events.RunQuarantined: ("✗", "red", "quarantined"),
        events.VersionChanged: ("↑", "cyan", "version"),
    }
)
"""What else is worth a line while somebody waits: its mark, its colour, and its first word where no node is meant."""
