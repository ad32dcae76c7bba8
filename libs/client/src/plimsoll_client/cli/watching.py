"""Stays with one run: shows its steps as they finish, answers its questions, and tells how it ended."""

import asyncio
import os
import shlex
from contextlib import aclosing
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from plimsoll_runtime.errors import Conflict, Denied

from plimsoll_client.cli.answer import print_report
from plimsoll_client.cli.approvals import print_question
from plimsoll_client.cli.asking import Say, ask, terminal
from plimsoll_client.cli.exits import Exit
from plimsoll_client.cli.journal import progress_line
from plimsoll_client.cli.output import console, error_console, print_json, visible
from plimsoll_client.cli.program import here
from plimsoll_client.cli.report import Report, models_of
from plimsoll_client.events import ApprovalAsked, RunEvent, RunPaused, RunQuarantined, StepStarted
from plimsoll_client.models import Approval, ApprovalStatus, Run, RunStatus

if TYPE_CHECKING:
    from plimsoll_client.mesh import Mesh


class Approve(StrEnum):
    """How to answer when a run asks for approval."""

    ASK = "ask"
    YES = "yes"
    NO = "no"


class Watching:
    """One run under watch. Progress goes to standard error, the answer to standard output."""

    def __init__(self, mesh: "Mesh", run: Run, *, approve: Approve, data: Path | None, as_json: bool) -> None:
        self._mesh = mesh
        self._run = run
        self._approve = approve
        self._data = data
        self._as_json = as_json
        self._seen: list[RunEvent] = []
        self._notes = error_console()
        self._notes.quiet = as_json and not self._notes.is_terminal
        self._status = self._notes.status("")

    async def until_rest(self) -> Exit:
        """Watch until the run is final, or waits for somebody who is not here."""
        self._notes.print(f"run {self._run.id} of {self._run.agent}", style="dim")
        try:
            with self._status:
                parked = await self._follow()
        except asyncio.CancelledError:
            self._notes.print("\nNo longer watching; the run goes on. Come back, or stop it:", soft_wrap=True)
            self._commands(f"watch {self._run.id}", f"runs cancel {self._run.id}")
            raise
        if parked:
            return Exit.APPROVAL_NEEDED
        return self._show_end(await self._mesh.runs.get(self._run.id))

    async def _follow(self) -> bool:
        """True when the run is left waiting for people."""
        async with aclosing(self._mesh.runs.follow(self._run.id)) as entries:
            async for entry in entries:
                self._seen.append(entry)
                self._show(entry)
                if isinstance(entry.event, ApprovalAsked) and not await self._settle(entry.event.approval):
                    return True
                if isinstance(entry.event, RunPaused | RunQuarantined) and await self._stands_still():
                    return True
        return False

    async def _stands_still(self) -> bool:
        """Whether somebody has to resume the run; it may have been resumed before we came."""
        run = await self._mesh.runs.get(self._run.id)
        if run.status not in {RunStatus.PAUSED, RunStatus.QUARANTINED}:
            return False
        self._notes.quiet = False
        self._notes.print(
            f"The run is {run.status.value} until somebody resumes it. See why, resume it, and go on watching:", soft_wrap=True
        )
        self._commands(*(f"runs {verb} {run.id}" for verb in ("explain", "resume")), f"watch {run.id}")
        return True

    def _show(self, entry: RunEvent) -> None:
        if isinstance(entry.event, StepStarted):
            self._status.update(f"{visible(entry.event.node)} …")
        if (line := progress_line(entry)) is not None:
            line.print_to(self._notes)

    async def _settle(self, asked: Approval) -> bool:
        """Answer a question; False when it stays open. One that was decided before we came is passed over."""
        pending = await self._mesh.approvals.list(status=ApprovalStatus.PENDING, run_id=self._run.id)
        if asked.id not in {approval.id for approval in pending}:
            return True
        self._status.stop()
        try:
            return await self._decide(asked)
        finally:
            self._status.start()

    async def _decide(self, asked: Approval) -> bool:
        source = terminal() if self._approve is Approve.ASK else None
        if self._approve is Approve.ASK and source is None:
            return self._leave_open(asked)
        print_question(self._notes, asked)
        try:
            match self._approve, source:
                case Approve.YES, _:
                    return self._counted(await self._mesh.approvals.approve(asked.id, comment="plimsoll run --approve yes"))
                case Approve.NO, _:
                    await self._mesh.approvals.reject(asked.id, comment="plimsoll run --approve no")
                case _, tty if tty is not None:
                    return await self._carry_out(asked, await ask(self._notes, tty))
        except Conflict as conflict:  # somebody else was faster
            self._notes.print(visible(conflict.message))
        except Denied as denied:  # others have to decide
            self._notes.print(visible(denied.message))
            return self._leave_open(asked)
        return True

    def _counted(self, decided: Approval) -> bool:
        """Whether the run goes on after our yes."""
        return decided.status is not ApprovalStatus.PENDING or self._leave_open(decided)

    async def _carry_out(self, asked: Approval, say: Say) -> bool:
        match say:
            case Say.APPROVE:
                return self._counted(await self._mesh.approvals.approve(asked.id))
            case Say.REJECT:
                await self._mesh.approvals.reject(asked.id)
            case Say.LATER:
                return self._leave_open(asked)
        return True

    def _leave_open(self, asked: Approval) -> bool:
        self._notes.quiet = False
        self._notes.print("The run waits for a decision. See exactly for what, approve or reject it, and go on watching:", soft_wrap=True)
        self._commands(*(f"approvals {verb} {asked.id}" for verb in ("show", "approve", "reject")), f"watch {self._run.id}")
        return False

    def _commands(self, *commands: str) -> None:
        """Each on a line of its own, to be copied."""
        name = here(os.environ)
        where = f" --data {shlex.quote(str(self._data))}" if self._data is not None else ""
        for command in commands:
            self._notes.print(f"  {name} {command}{where}", soft_wrap=True)

    def _show_end(self, run: Run) -> Exit:
        report = Report(run=run, models=models_of(self._seen), duration_s=run.duration_s)
        if self._as_json:
            print_json(report)
        else:
            self._notes.print()
            print_report(console(), report, notes=self._notes)
        return Exit.DONE if run.status is RunStatus.SUCCEEDED else Exit.RUN_FAILED
