"""`plimsoll runs`: look at runs, read their journals, cancel them."""

import sys
from contextlib import aclosing
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from plimsoll_client.cli.answer import print_report
from plimsoll_client.cli.journal import history_line, journal
from plimsoll_client.cli.options import AsJson, Data, Limit
from plimsoll_client.cli.output import as_json_line, console, money, one_line, print_json, print_list, seconds, table, when
from plimsoll_client.cli.report import Report, models_of
from plimsoll_client.cli.session import on_mesh
from plimsoll_client.models import Run, RunStatus

if TYPE_CHECKING:
    from plimsoll_client.mesh import Mesh

app = typer.Typer()
group = typer.Typer(help="Look at runs, read their journals, cancel them.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(group, name="runs")

Id = Annotated[str, typer.Argument(metavar="RUN", help="Its id, as `plimsoll runs list` shows it", show_default=False)]


class Status(StrEnum):
    """The words that --status takes."""

    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


@group.command("list")
def list_runs(
    agent: Annotated[str, typer.Option("--agent", help="Only runs of this agent")] = "",
    status: Annotated[Status | None, typer.Option("--status", help="Only runs in this state", show_default=False)] = None,
    limit: Limit = 20,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """List runs, newest first."""
    wanted = RunStatus(status.value) if status else None
    found = on_mesh(data, lambda mesh: mesh.runs.list(agent=agent, status=wanted, limit=limit))
    columns = ("run", "agent", "status", "accepted", "time", "steps", "tokens", "cost", "failure")
    made = table(columns, (_row(run) for run in found), right=("time", "steps", "tokens", "cost"))
    print_list(found, made, as_json=as_json, empty="There are no such runs.")


@group.command()
def show(run: Id, data: Data = None, as_json: AsJson = False) -> None:
    """Show a run: its answer or failure, and what it cost."""
    report = on_mesh(data, lambda mesh: _report(mesh, run))
    if as_json:
        print_json(report)
    else:
        out = console()
        out.print(f"{report.run.id}  {report.run.agent}  {report.run.status}  accepted {when(report.run.created_at)}", style="bold")
        print_report(out, report)


@group.command()
def events(
    run: Id,
    after: Annotated[int, typer.Option("--after", help="Entries after this position", min=0)] = 0,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the last entry")] = False,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Print a run's journal; with --json one entry per line."""
    on_mesh(data, lambda mesh: _print_events(mesh, run, after, follow=follow, as_json=as_json))


@group.command()
def cancel(
    run: Id,
    reason: Annotated[str, typer.Option("--reason", help="Why; kept in the journal")] = "",
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Cancel a run; what it has in flight is told to stop."""
    cancelled = on_mesh(data, lambda mesh: mesh.runs.cancel(run, reason=reason))
    if as_json:
        print_json(cancelled)
    else:
        console().print(f"{cancelled.id} is {cancelled.status}.")


def _row(run: Run) -> tuple[str, ...]:
    cost = money(run.usage.cost_micros)
    failure = one_line(f"{run.failure.reason}: {run.failure.message}") if run.failure else ""
    return (
        run.id,
        run.agent,
        run.status,
        when(run.created_at),
        seconds(run.duration_s),
        str(run.steps),
        str(run.usage.tokens),
        cost,
        failure,
    )


async def _report(mesh: "Mesh", run_id: str) -> Report:
    run = await mesh.runs.get(run_id)
    async with aclosing(journal(mesh, run_id)) as entries:
        models = models_of([entry async for entry in entries])
    return Report(run=run, models=models, duration_s=run.duration_s)


async def _print_events(mesh: "Mesh", run_id: str, after_seq: int, *, follow: bool, as_json: bool) -> None:
    source = mesh.runs.follow(run_id, after_seq=after_seq) if follow else journal(mesh, run_id, after_seq=after_seq)
    out = console()
    async with aclosing(source) as entries:
        async for entry in entries:
            if as_json:
                sys.stdout.write(as_json_line(entry) + "\n")
                sys.stdout.flush()
            else:
                out.print(history_line(entry), soft_wrap=True)
