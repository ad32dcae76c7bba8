"""`plimsoll threads`: conversations made of runs."""

from typing import TYPE_CHECKING, Annotated

import typer

from plimsoll_client.cli.options import AsJson, Data, Limit
from plimsoll_client.cli.output import console, pretty, print_json, print_list, print_table, table, visible, when
from plimsoll_client.cli.session import on_mesh
from plimsoll_client.models import Run, Thread

if TYPE_CHECKING:
    from plimsoll_client.mesh import Mesh

app = typer.Typer()
group = typer.Typer(help="Conversations made of runs.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(group, name="threads")

_SHOWN = 20  # runs of a thread


@group.command("list")
def list_threads(limit: Limit = 20, data: Data = None, as_json: AsJson = False) -> None:
    """List threads, the last used first."""
    found = on_mesh(data, lambda mesh: mesh.threads.list(limit=limit))
    rows = ((t.id, t.active_run_id or "-", str(t.queued_runs), t.last_run_id or "-", when(t.updated_at)) for t in found)
    made = table(("thread", "under way", "waiting", "last run", "used"), rows, right=("waiting",))
    print_list(found, made, as_json=as_json, empty="There are no threads. `plimsoll run AGENT --thread NAME` begins one.")


@group.command()
def show(
    thread: Annotated[str, typer.Argument(metavar="THREAD", help="Its name, as `plimsoll threads list` shows it", show_default=False)],
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Show a thread: its runs, and what it carries from one to the next."""
    found, runs = on_mesh(data, lambda mesh: _look(mesh, thread))
    if as_json:
        print_json({"thread": found, "runs": runs})
        return
    out = console()
    out.print(f"{visible(found.id)}  begun {when(found.created_at)}, used {when(found.updated_at)}", style="bold")
    out.print(f"under way: {found.active_run_id or 'nothing'}; waiting for their turn: {found.queued_runs}", soft_wrap=True)
    if found.kept:
        out.print("carries:")
        out.print(pretty(found.kept), soft_wrap=True)
    print_table(table(("run", "agent", "status", "accepted"), ((r.id, r.agent, r.status, when(r.created_at)) for r in runs)))


async def _look(mesh: "Mesh", thread_id: str) -> tuple[Thread, list[Run]]:
    found = await mesh.threads.get(thread_id)
    return found, await mesh.runs.list(thread_id=thread_id, limit=_SHOWN)
