"""`plimsoll schedules`: runs that start by themselves at times."""

from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer
from plimsoll_runtime.json_types import JsonObject

from plimsoll_client.cli.options import AsJson, Data, Limit
from plimsoll_client.cli.output import console, error_console, pretty, print_json, print_list, table, visible, when
from plimsoll_client.cli.session import on_mesh
from plimsoll_client.cli.submitting import Limits, PolicyOption, Priority, Thread, budget_in, policy_of
from plimsoll_client.cli.telling import option_words
from plimsoll_client.files import GivenFile, read_given
from plimsoll_client.inputs import input_from_file
from plimsoll_client.options import RunOptions
from plimsoll_client.schedules import MissedPolicy, Schedule, ScheduleDraft

if TYPE_CHECKING:
    from plimsoll_client.mesh import Mesh

app = typer.Typer()
group = typer.Typer(help="Runs that start by themselves at times.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(group, name="schedules")

Name = Annotated[str, typer.Argument(metavar="NAME", help="The schedule's name", show_default=False)]


class Missed(StrEnum):
    """The words that --missed takes."""

    SKIP = "skip"
    ONCE = "once"
    ALL = "all"


@group.command()
def put(  # noqa: PLR0913, PLR0917 - one parameter per option of the command
    name: Name,
    agent: Annotated[str, typer.Option("--agent", help="Whose runs it starts", show_default=False)],
    cron: Annotated[
        str, typer.Option("--cron", metavar="'M H D M W'", help="Minute, hour, day, month, day of week: '0 3 * * 1-5'", show_default=False)
    ],
    given: Annotated[
        str, typer.Option("--input", "-i", metavar="FILE|-", help="What each run gets [default: {}]", show_default=False)
    ] = "",
    time_zone: Annotated[
        str, typer.Option("--time-zone", metavar="ZONE", help="Such as Europe/Berlin [default: UTC]", show_default=False)
    ] = "",
    missed: Annotated[
        Missed | None,
        typer.Option(
            "--missed", help="Times that passed while nothing could fire, but for those in a pause [default: once]", show_default=False
        ),
    ] = None,
    paused: Annotated[bool, typer.Option("--paused", help="Do not fire until it is resumed")] = False,
    priority: Priority = 0,
    thread: Thread = "",
    policy: PolicyOption = None,
    limits: Limits = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Create a schedule, or change the one of this name to this."""
    file = read_given(given) if given else None
    options = RunOptions(priority=priority, thread_id=thread, thread_policy=policy_of(policy), budget=budget_in(limits or []))
    draft = ScheduleDraft(
        name=name,
        agent=agent,
        cron=cron,
        time_zone=time_zone,
        missed=MissedPolicy(missed.value) if missed else None,
        paused=paused,
        options=options,
    )
    _print_saved(on_mesh(data, lambda mesh: _put(mesh, draft, file)), as_json=as_json)


@group.command("list")
def list_schedules(limit: Limit = 100, data: Data = None, as_json: AsJson = False) -> None:
    """List schedules: when they fire next, and what became of their last firing."""
    found = on_mesh(data, lambda mesh: mesh.schedules.list(limit=limit))
    rows = ((s.name, s.draft.agent, s.draft.cron, s.draft.time_zone or "UTC", _next(s), when(s.last_at), _last(s)) for s in found)
    made = table(("schedule", "agent", "cron", "time zone", "next", "last", "which came to"), rows)
    print_list(found, made, as_json=as_json, empty="There are no schedules. Make one with `plimsoll schedules put`.")


@group.command()
def show(name: Name, data: Data = None, as_json: AsJson = False) -> None:
    """Show a schedule, with the input and the options of its runs."""
    found = on_mesh(data, lambda mesh: mesh.schedules.get(name))
    if as_json:
        print_json(found)
        return
    out, draft = console(), found.draft
    out.print(f"{visible(found.name)}  {visible(draft.agent)}  {visible(draft.cron)}  {visible(draft.time_zone or 'UTC')}", style="bold")
    out.print(f"next: {_next(found)}; missed times: {draft.missed or MissedPolicy.ONCE}", soft_wrap=True)
    out.print(f"last: {when(found.last_at)} {visible(_last(found))}".rstrip(), soft_wrap=True)
    if words := option_words(draft.options):
        out.print(visible(words), soft_wrap=True)
    out.print("input:")
    out.print(pretty(draft.input), soft_wrap=True)


@group.command()
def pause(name: Name, data: Data = None, as_json: AsJson = False) -> None:
    """Do not fire until it is resumed. Runs that it started go on; times that pass meanwhile are left out for good."""
    _print_saved(on_mesh(data, lambda mesh: _set_paused(mesh, name, paused=True)), as_json=as_json)


@group.command()
def resume(name: Name, data: Data = None, as_json: AsJson = False) -> None:
    """Fire again, from the next time on; times that fell into the pause are left out, whatever --missed says."""
    _print_saved(on_mesh(data, lambda mesh: _set_paused(mesh, name, paused=False)), as_json=as_json)


@group.command()
def delete(name: Name, data: Data = None) -> None:
    """Delete a schedule; runs that it started go on."""
    on_mesh(data, lambda mesh: mesh.schedules.delete(name))
    error_console().print(f"{visible(name)} is deleted.", soft_wrap=True)


async def _put(mesh: "Mesh", draft: ScheduleDraft, file: GivenFile | None) -> Schedule:
    value: JsonObject = {} if file is None else input_from_file(file, (await mesh.agents.get(draft.agent)).accepts, draft.agent)
    return await mesh.schedules.put(replace(draft, input=value))


async def _set_paused(mesh: "Mesh", name: str, *, paused: bool) -> Schedule:
    return await mesh.schedules.put(replace((await mesh.schedules.get(name)).draft, paused=paused))


def _print_saved(saved: Schedule, *, as_json: bool) -> None:
    if as_json:
        print_json(saved)
    else:
        console().print(f"{visible(saved.name)}: next {_next(saved)}", soft_wrap=True)


def _next(schedule: Schedule) -> str:
    return "paused" if schedule.draft.paused else when(schedule.next_at)


def _last(schedule: Schedule) -> str:
    return schedule.last_problem or schedule.last_run_id
