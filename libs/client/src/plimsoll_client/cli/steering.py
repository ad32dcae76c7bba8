"""`plimsoll runs pause` and the like: what can be done with a run that exists."""

from typing import TYPE_CHECKING, Annotated

import orjson
import typer
from plimsoll_runtime.errors import FieldProblem
from plimsoll_runtime.json_types import JsonValue, parse_object

from plimsoll_client.cli.options import AsJson, Data, Key, Latest, RunId
from plimsoll_client.cli.output import console, pretty, print_json, print_list, table, visible, when
from plimsoll_client.cli.session import on_mesh
from plimsoll_client.cli.submitting import print_started
from plimsoll_client.errors import BadInput
from plimsoll_client.options import Fork

if TYPE_CHECKING:
    from plimsoll_client.models import Run

app = typer.Typer()

Reason = Annotated[str, typer.Option("--reason", help="Why; kept in the journal")]


@app.command()
def cancel(run: RunId, reason: Reason = "", data: Data = None, as_json: AsJson = False) -> None:
    """Cancel a run; what it has in flight is told to stop."""
    _print_run(on_mesh(data, lambda mesh: mesh.runs.cancel(run, reason=reason)), as_json=as_json)


@app.command()
def pause(run: RunId, reason: Reason = "", data: Data = None, as_json: AsJson = False) -> None:
    """Stop a run where it is, until it is resumed."""
    _print_run(on_mesh(data, lambda mesh: mesh.runs.pause(run, reason=reason)), as_json=as_json)


@app.command()
def resume(run: RunId, data: Data = None, as_json: AsJson = False) -> None:
    """Let a paused or quarantined run go on."""
    _print_run(on_mesh(data, lambda mesh: mesh.runs.resume(run)), as_json=as_json)


@app.command()
def signal(
    run: RunId,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the run waits for, as its graph names it", show_default=False)],
    payload: Annotated[str, typer.Option("--payload", metavar="JSON", help="What it brings along")] = "null",
    key: Key = "",
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Send a run a signal; it is kept until the run waits for it. (`plimsoll signal` records how good a run was.)"""
    value = _json(payload, "--payload")
    signal_id = on_mesh(data, lambda mesh: mesh.runs.signal(run, name, value, key=key))
    if as_json:
        print_json({"signal_id": signal_id})
    else:
        console().print(f"{signal_id}: {visible(name)} was sent to {run}.", soft_wrap=True)


@app.command()
def fork(
    run: RunId,
    seq: Annotated[
        int, typer.Option("--seq", help="As it was after this entry of its journal [default: the last]", min=0, show_default=False)
    ] = 0,
    state: Annotated[str, typer.Option("--state", metavar="JSON", help="Fields of the state to change; null takes one away")] = "{}",
    node: Annotated[str, typer.Option("--node", help="Go on at this node [default: where the run was]", show_default=False)] = "",
    latest: Latest = False,
    key: Key = "",
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Start a new run from a position of this one, with another state if you like."""
    wanted = Fork(seq=seq, state=parse_object(state, field="--state"), node=node, latest=latest)
    print_started(on_mesh(data, lambda mesh: mesh.runs.fork(run, wanted, key=key)), as_json=as_json)


@app.command()
def retry(run: RunId, latest: Latest = False, key: Key = "", data: Data = None, as_json: AsJson = False) -> None:
    """Start a new run from the step at which this one failed."""
    print_started(on_mesh(data, lambda mesh: mesh.runs.retry(run, latest=latest, key=key)), as_json=as_json)


@app.command()
def explain(run: RunId, data: Data = None, as_json: AsJson = False) -> None:
    """Say what a run waits for, and what would end the waiting."""
    found = on_mesh(data, lambda mesh: mesh.runs.explain(run))
    rows = ((one.reason, one.subject or "-", when(one.until), one.message) for one in found)
    print_list(found, table(("because", "of", "until", "which means"), rows), as_json=as_json, empty="The run waits for nothing.")


@app.command()
def query(
    run: RunId,
    expression: Annotated[str, typer.Argument(metavar="CEL", help="Over state, input and run, such as run.status", show_default=False)],
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Print the value of an expression over a run as it is now."""
    found = on_mesh(data, lambda mesh: mesh.runs.query(run, expression))
    if as_json:
        print_json(found)
    else:
        console().print(pretty(found.value), soft_wrap=True)


def _print_run(run: "Run", *, as_json: bool) -> None:
    if as_json:
        print_json(run)
    else:
        console().print(f"{run.id} is {run.status}.")


def _json(text: str, field: str) -> JsonValue:
    try:
        value: JsonValue = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        remedy = "Give a JSON value; a text stands in quotation marks of its own, such as '\"yes\"'"
        raise BadInput(problems=(FieldProblem(field, f"is not JSON: {error.msg}", remedy),)) from error
    return value
