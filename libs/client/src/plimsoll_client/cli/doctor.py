"""`plimsoll doctor`: what is wrong with the mesh, and what to do about it."""

from typing import Final

import typer

from plimsoll_client.cli.exits import Exit
from plimsoll_client.cli.options import AsJson, Data
from plimsoll_client.cli.output import console, print_json, visible
from plimsoll_client.cli.program import spelled
from plimsoll_client.cli.session import on_mesh
from plimsoll_client.diagnosis import Finding, Verdict, diagnose

app = typer.Typer()

_LOOKS: Final = {Verdict.GOOD: ("✓", "green"), Verdict.WORTH_A_LOOK: ("!", "yellow"), Verdict.BROKEN: ("✗", "red")}


@app.command()
def doctor(data: Data = None, as_json: AsJson = False) -> None:
    """Look at the mesh through its gateway: each service, your key, providers, and what lies about. Ends with 1 when something is broken."""
    found = on_mesh(data, diagnose)
    if as_json:
        print_json(found)
    else:
        for one in found:
            _print_finding(one)
    if any(one.verdict is Verdict.BROKEN for one in found):
        raise typer.Exit(Exit.OTHER)


def _print_finding(one: Finding) -> None:
    sign, colour = _LOOKS[one.verdict]
    known = f" [{one.reason}]" if one.reason else ""
    console().print(visible(f"{sign} {one.subject:<16} {one.found}{known}"), style=colour, soft_wrap=True)
    if one.remedy:
        console().print(visible(f"  {'':<16} {spelled(one.remedy)}"), style="dim", soft_wrap=True)
