"""The command line of the demo."""

import asyncio
import os
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer()


@app.command()
def demo(
    agents: Annotated[Path, typer.Option("--agents", help="Folder of agents with samples")] = Path("deploy/agents"),
    data: Annotated[
        Path | None, typer.Option("--data", help="Data directory [default: one that is removed afterwards]", show_default=False)
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the mesh up and its data in place, to look around")] = False,
) -> None:
    """Show the whole mesh at work. Three agents on all their samples: answers, approvals, costs, accuracy, errors; then what one learns.

    Exits 0 only if everything went as promised.
    """
    from plimsoll_devstack.demo.stage import perform  # noqa: PLC0415 - it loads grpc and the servers, which `plimsoll --help` need not

    raise typer.Exit(0 if asyncio.run(perform(agents.absolute(), data, keep=keep, environ=dict(os.environ))) else 1)
