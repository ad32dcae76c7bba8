"""`plimsoll runs`: all that can be done with runs; here, those that look at them."""

from contextlib import aclosing
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from plimsoll_client.cli import following, steering, submitting
from plimsoll_client.cli.answer import print_report
from plimsoll_client.cli.journal import journal
from plimsoll_client.cli.options import AsJson, Data, Limit, RunId
from plimsoll_client.cli.output import console, money, print_json, print_list, seconds, table, visible, when
from plimsoll_client.cli.report import Report, models_of
from plimsoll_client.cli.session import on_mesh
from plimsoll_client.cli.telling import option_words, origin_words
from plimsoll_client.models import Run, RunStatus

if TYPE_CHECKING:
    from plimsoll_client.mesh import Mesh

app = typer.Typer()
group = typer.Typer(help="Start runs, look at them, follow them, steer and stop them.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(group, name="runs")

for verbs in (submitting.app, following.app, steering.app):
    group.add_typer(verbs)


class Status(StrEnum):
    """The words that --status takes."""

    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    PAUSED = "paused"
    QUARANTINED = "quarantined"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


@group.command("list")
def list_runs(
    agent: Annotated[str, typer.Option("--agent", help="Only runs of this agent")] = "",
    status: Annotated[Status | None, typer.Option("--status", help="Only runs in this state", show_default=False)] = None,
    thread: Annotated[str, typer.Option("--thread", help="Only runs of this thread")] = "",
    parent: Annotated[str, typer.Option("--parent", metavar="RUN", help="The runs that this run started")] = "",
    limit: Limit = 20,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """List runs, newest first. Those that runs started are listed by --parent only."""
    wanted = RunStatus(status.value) if status else None
    found = on_mesh(data, lambda mesh: mesh.runs.list(agent=agent, status=wanted, thread_id=thread, parent_run_id=parent, limit=limit))
    columns = ("run", "agent", "status", "accepted", "time", "steps", "tokens", "cost")
    made = table(columns, (_row(run) for run in found), right=("time", "steps", "tokens", "cost"))
    print_list(found, made, as_json=as_json, empty="There are no such runs.")


@group.command()
def show(run: RunId, data: Data = None, as_json: AsJson = False) -> None:
    """Show a run: its answer or failure, or what it waits for, and what it cost."""
    report = on_mesh(data, lambda mesh: _report(mesh, run))
    if as_json:
        print_json(report)
    else:
        out = console()
        out.print(f"{report.run.id}  {report.run.agent}  {report.run.status}  accepted {when(report.run.created_at)}", style="bold")
        for words in filter(None, (origin_words(report.run.origin), option_words(report.run.options))):
            out.print(visible(words), soft_wrap=True)
        print_report(out, report)


def _row(run: Run) -> tuple[str, ...]:
    cost = money(run.usage.cost_micros)
    return (
        run.id,
        run.agent,
        run.status,
        when(run.created_at),
        seconds(run.duration_s),
        str(run.steps),
        str(run.usage.tokens),
        cost,
    )


async def _report(mesh: "Mesh", run_id: str) -> Report:
    run = await mesh.runs.get(run_id)
    async with aclosing(journal(mesh, run_id)) as entries:
        models = models_of([entry async for entry in entries])
    obstacles = () if run.status.is_final else tuple(await mesh.runs.explain(run_id))
    return Report(run=run, models=models, duration_s=run.duration_s, obstacles=obstacles)
