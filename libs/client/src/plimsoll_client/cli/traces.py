"""`plimsoll trace`: runs as they were, and everything that happened in one."""

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from plimsoll_client.cli.feedback import category_named
from plimsoll_client.cli.options import AsJson, Data, Limit, RunId
from plimsoll_client.cli.output import console, money, pretty, print_json, print_list, print_table, seconds, table, visible, when
from plimsoll_client.cli.session import on_mesh
from plimsoll_client.traces import Timeline, Trace, TraceEntry, TraceQuery, TraceStatus

if TYPE_CHECKING:
    from rich.table import Table

    from plimsoll_client.observations import Operation

app = typer.Typer()
group = typer.Typer(help="Runs as they were: search them, see all that happened in one.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(group, name="trace")


class Ending(StrEnum):
    """The words that --status takes."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


@group.command("list")
def list_traces(  # noqa: PLR0913, PLR0917 - one parameter per option of the command
    agent: Annotated[str, typer.Option("--agent", help="Only of this agent")] = "",
    version: Annotated[str, typer.Option("--version", help="Only of this version of it")] = "",
    status: Annotated[Ending | None, typer.Option("--status", help="How it ended", show_default=False)] = None,
    category: Annotated[str, typer.Option("--category", help="A category that anything in it bears")] = "",
    tag: Annotated[list[str] | None, typer.Option("--tag", help="That it bears; may be given several times", show_default=False)] = None,
    text: Annotated[str, typer.Option("--text", help="Words that occur in it")] = "",
    hours: Annotated[float, typer.Option("--hours", help="How far back [default: as far as it goes]", min=0.0, show_default=False)] = 0.0,
    cost: Annotated[float, typer.Option("--min-cost", metavar="DOLLARS", help="At least this dear", min=0.0)] = 0.0,
    duration: Annotated[float, typer.Option("--min-seconds", help="At least this long", min=0.0)] = 0.0,
    thread: Annotated[str, typer.Option("--thread", help="Only of this thread")] = "",
    parent: Annotated[str, typer.Option("--parent", metavar="RUN", help="Only what this run started")] = "",
    limit: Limit = 50,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """List runs, newest first, by what happened in them."""
    query = TraceQuery(
        agent=agent,
        agent_version=version,
        status=TraceStatus(status.value) if status else None,
        category=category_named(category) if category else None,
        tags=tuple(tag or ()),
        after=datetime.now(UTC) - timedelta(hours=hours) if hours else None,
        min_cost_micros=round(cost * 1e6),
        min_duration_s=duration,
        text=text,
        thread_id=thread,
        parent_run_id=parent,
    )
    found = on_mesh(data, lambda mesh: mesh.traces.list(query, limit=limit))
    print_list(found, _traces(found), as_json=as_json, empty="No run is like that.")


@group.command()
def show(run: RunId, data: Data = None, as_json: AsJson = False) -> None:
    """Show everything that happened in a run, in order of time."""
    told = on_mesh(data, lambda mesh: mesh.traces.get(run))
    if as_json:
        print_json(told)
    else:
        _print_timeline(told)


@group.command()
def body(
    run: RunId,
    operation: Annotated[str, typer.Argument(metavar="OPERATION", help="As `plimsoll trace show` shows it", show_default=False)],
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Print what went into an operation and what came out."""
    told = on_mesh(data, lambda mesh: mesh.traces.body(run, operation))
    if as_json:
        print_json(told)
        return
    for title, value in (("input", told.input), ("output", told.output)):
        console().print(title, style="bold")
        console().print(pretty(value) if value is not None else "-", markup=False, soft_wrap=True)
    if told.missing:
        console().print(visible(f"missing: {told.missing}"), style="yellow", soft_wrap=True)


@group.command("tag")
def tag_run(
    run: RunId,
    add: Annotated[list[str] | None, typer.Argument(metavar="TAG…", help="Tags to add", show_default=False)] = None,
    remove: Annotated[list[str] | None, typer.Option("--remove", metavar="TAG", help="Take this one off", show_default=False)] = None,
    comment: Annotated[str, typer.Option("--comment", help="Becomes a signal")] = "",
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Add tags to a run, or take them off."""
    told = on_mesh(data, lambda mesh: mesh.traces.annotate(run, add=add or (), remove=remove or (), comment=comment))
    if as_json:
        print_json(told)
    else:
        console().print(visible(f"{told.run_id}: {', '.join(told.tags) or 'no tags'}"), soft_wrap=True)


def _traces(found: list[Trace]) -> "Table":
    rows = (
        (
            trace.run_id,
            trace.agent,
            str(trace.status),
            when(trace.started_at),
            seconds(trace.duration_s),
            str(trace.steps),
            money(trace.usage.cost_micros),
            " ".join([*trace.categories, *(f"#{tag}" for tag in trace.tags)]),
        )
        for trace in found
    )
    return table(
        ("run", "agent", "status", "started", "took", "steps", "cost", "categories and tags"), rows, right=("took", "steps", "cost")
    )


def _print_timeline(told: Timeline) -> None:
    trace = told.trace
    words = [
        trace.run_id,
        f"{trace.agent} {trace.agent_version[:12]}",
        str(trace.status),
        when(trace.started_at),
        seconds(trace.duration_s),
    ]
    console().print(visible("  ".join([*words, money(trace.usage.cost_micros)])), style="bold", soft_wrap=True)
    if trace.reason:
        console().print(visible(f"{trace.category}: {trace.reason}"), style="red", soft_wrap=True)
    if trace.tags:
        console().print(visible("tags: " + ", ".join(trace.tags)), soft_wrap=True)
    print_table(
        table(("at", "what", "operation", "took", "tokens", "cost", "result"), map(_row, told.entries), right=("took", "tokens", "cost"))
    )
    if told.children:
        console().print("Runs that it started:", style="bold")
        print_table(_traces(list(told.children)))


def _row(entry: TraceEntry) -> tuple[str, ...]:
    done = entry.operation
    at = done.started_at.astimezone().strftime("%H:%M:%S.%f")[:-3] if done.started_at else "-"
    used = done.usage.input_tokens + done.usage.output_tokens
    what = f"{'  ' * entry.depth}{done.kind} {done.name or done.node}"
    cost = money(done.usage.cost_micros) if done.usage.cost_micros else ""
    return at, what, done.id, seconds(done.duration_s), str(used) if used else "", cost, _result(entry, done)


def _result(entry: TraceEntry, done: "Operation") -> str:
    first = f"{done.failure.category} {done.failure.reason}: {done.failure.message}" if done.failure else "ok"
    return "; ".join([first, *(f"{label.category} ({label.rule})" for label in entry.labels)])
