"""The command line of the audit."""

import asyncio
import os
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer()


@app.command()
def audit(
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            help="Audit the mesh that runs here, in a tenant made for it and removed afterwards [default: a mesh of its own]",
            show_default=False,
        ),
    ] = None,
    agents: Annotated[
        Path | None,
        typer.Option("--agents", help="Folder of your agents [default: with --data, what that mesh was started with]", show_default=False),
    ] = None,
    agent: Annotated[str, typer.Option("--agent", help="Your agent; its own one when left out")] = "",
    given: Annotated[
        Path | None,
        typer.Option("--input", help="JSON file with the input of each run of your agent; {{mark}} in it is a text of each run's own"),
    ] = None,
    at_once: Annotated[
        list[int] | None,
        typer.Option(
            "--at-once", help="Runs at the same moment; give it again for more [default: 100, 1000]", min=1, max=10_000, show_default=False
        ),
    ] = None,
    per_fault: Annotated[int, typer.Option("--per-fault", help="Runs under each fault plan", min=1, max=1_000)] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs")] = False,
    html: Annotated[Path | None, typer.Option("--html", help="Write the report as a page, too")] = None,
) -> None:
    """Put the five questions to a mesh: does it scale, come apart, learn, survive and change providers? Grades with evidence.

    Exits 0 only if nothing that was measured was broken.
    """
    from plimsoll_devstack.audit.stage import Asked, perform  # noqa: PLC0415 - it loads grpc and the servers, which --help need not

    asked = Asked(
        data=data,
        agents=agents,
        agent=agent,
        given=given,
        at_once=tuple(at_once or (100, 1_000)),
        per_fault=per_fault,
        environ=dict(os.environ),
    )
    raise typer.Exit(0 if asyncio.run(perform(asked, as_json=as_json, html=html)) else 1)
