"""`plimsoll run` and `plimsoll watch`: start a run with one's own input, or join one, and stay until it rests."""

from typing import TYPE_CHECKING, Annotated

import typer

from plimsoll_client.cli.exits import Exit
from plimsoll_client.cli.options import AsJson, Data, Key
from plimsoll_client.cli.output import console, print_json
from plimsoll_client.cli.session import on_mesh
from plimsoll_client.cli.submitting import AgentName, Given, Thread, start
from plimsoll_client.cli.watching import Approve, Watching
from plimsoll_client.files import read_given
from plimsoll_client.options import RunOptions

if TYPE_CHECKING:
    from plimsoll_client.mesh import Mesh

app = typer.Typer()

ApproveOption = Annotated[Approve, typer.Option("--approve", help="How to answer when the run asks for approval")]


@app.command()
def run(
    agent: AgentName,
    given: Given,
    approve: ApproveOption = Approve.ASK,
    key: Key = "",
    thread: Thread = "",
    detach: Annotated[bool, typer.Option("--detach", help="Print the run's id and leave")] = False,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Run an agent on your own input. Shows its answer, its sources and what it cost."""
    file = read_given(given)

    async def start_and_watch(mesh: "Mesh") -> Exit:
        started = (await start(mesh, agent, file, key, RunOptions(thread_id=thread))).run
        if detach:
            if as_json:
                print_json(started)
            else:
                console().print(started.id)
            return Exit.DONE
        return await Watching(mesh, started, approve=approve, data=data, as_json=as_json).until_rest()

    raise typer.Exit(on_mesh(data, start_and_watch))


@app.command()
def watch(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Its id", show_default=False)],
    approve: ApproveOption = Approve.ASK,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Watch a run from its beginning until it rests."""

    async def join(mesh: "Mesh") -> Exit:
        return await Watching(mesh, await mesh.runs.get(run), approve=approve, data=data, as_json=as_json).until_rest()

    raise typer.Exit(on_mesh(data, join))
