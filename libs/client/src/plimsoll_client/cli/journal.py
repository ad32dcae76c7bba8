"""A run's journal for people: one line per entry, and reading it up to where it is now."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from plimsoll_client.cli.output import as_json_line, one_line, seconds, visible, when
from plimsoll_client.cli.report import models_in
from plimsoll_client.events import (
    ApprovalAsked,
    ApprovalDecided,
    OtherEvent,
    RunEvent,
    RunFinished,
    RunStarted,
    StepFailed,
    StepFinished,
    StepProgressed,
    StepStarted,
)

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
        case ApprovalDecided(node=node, status=status, decided_by=by):
            return Line("!", "yellow", f"{node:<20} {status}{f' by {by}' if by else ''}")
        case _:
            return None


def history_line(event: RunEvent) -> str:
    """One entry on one line."""
    return f"{event.seq:>4}  {when(event.at)}  {event.event.type:<17} {one_line(_told(event), 140)}".rstrip()


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
    then = "tried again" if step.retried else f"goes on at {step.next}" if step.next else "no route for it"
    cause = f"{step.failure.category}: {step.failure.message or step.failure.reason}"
    mark, style = ("↻", "yellow") if step.retried else ("✗", "red" if not step.next else "yellow")
    return Line(mark, style, f"{step.node:<20} {step.kind:<9} {seconds(step.duration_s):>8}  {cause} ({then})")


def _told(entry: RunEvent) -> str:
    match entry.event:
        case RunStarted(input=given):
            return as_json_line(given)
        case StepStarted(node=node, kind=kind, attempt=attempt):
            return f"{node} {kind}{f', attempt {attempt}' if attempt > 1 else ''}"
        case StepProgressed(node=node, detail=detail):
            return f"{node} {as_json_line(detail)}"
        case StepFinished(node=node, kind=kind, duration_s=duration_s, next=following, delta=delta):
            return f"{node} {kind} {seconds(duration_s)} → {following} {as_json_line(delta)}"
        case StepFailed() as step:
            return _failed(step).text
        case ApprovalAsked(approval=approval):
            return f"{approval.node} {approval.id} {approval.summary}"
        case ApprovalDecided(node=node, approval_id=approval, status=status, decided_by=by, comment=comment):
            return f"{node} {approval} {status} by {by} {comment}"
        case RunFinished(status=status, failure=failure):
            return f"{status}{f' {failure.category} {failure.reason}: {failure.message}' if failure else ''}"
        case OtherEvent():
            return "(an entry of a newer mesh)"
