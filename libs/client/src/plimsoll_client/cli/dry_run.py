"""`plimsoll agents dry-run`: what registering a graph would do to the mesh, without doing it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from plimsoll_runtime.errors import FieldProblem

from plimsoll_client.cli.checking import graph_text
from plimsoll_client.cli.exits import Exit
from plimsoll_client.cli.options import AsJson, Data
from plimsoll_client.cli.output import console, error_console, print_json, print_table, table, visible
from plimsoll_client.cli.program import spelled
from plimsoll_client.cli.references import missing
from plimsoll_client.cli.session import on_mesh
from plimsoll_client.errors import BadInput

if TYPE_CHECKING:
    from plimsoll_client.mesh import Mesh
    from plimsoll_client.models import CheckedAgent


def dry_run(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A graph, or the folder of an agent, or Python that defines `agent`", show_default=False)
    ],
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Check a graph against the mesh without registering it: its mistakes, and the unfinished runs that it would break.

    A .py file is run, by you and on this machine. Ends with 0 when it could be registered and breaks nothing, 2 for mistakes, 1 when it would break runs.
    """
    path = file / "agent.yaml" if file.is_dir() else file
    source = graph_text(path)
    checked, warnings = on_mesh(data, lambda mesh: _look(mesh, source, path.name))
    for warning in warnings:
        error_console().print(visible(spelled(f"warning: {warning}")), style="yellow", soft_wrap=True)
    if as_json:
        print_json(checked)
    elif checked.mistakes:
        problems = [FieldProblem(one.place, one.problem, one.remedy) for one in checked.mistakes]
        raise BadInput(problems=problems, reason="INVALID_GRAPH")
    else:
        _print_runs(checked)
    raise typer.Exit(Exit.BAD_INPUT if checked.mistakes else Exit.OTHER if checked.broken_runs else Exit.DONE)


async def _look(mesh: "Mesh", source: str, name: str) -> "tuple[CheckedAgent, list[str]]":
    return await mesh.agents.check(source, source_name=name), await missing(mesh, [source])


def _print_runs(checked: "CheckedAgent") -> None:
    out = console()
    out.print(f"It could be registered, as {checked.digest[:12]}.")
    if not checked.broken_runs:
        out.print(f"All unfinished runs could go on under it ({checked.checked_runs} looked at).")
        return
    out.print(f"It would break {len(checked.broken_runs)} of {checked.checked_runs} unfinished runs, if they followed it:")
    print_table(table(("run", "status", "node", "problem"), ((r.run_id, r.status, r.node, r.problem) for r in checked.broken_runs)))
