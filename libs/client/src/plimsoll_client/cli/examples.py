"""`plimsoll dataset select | disputed | examples | delete-example | export`: what a dataset holds, and what may leave it."""

import sys
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from plimsoll_client.cli.options import AsJson, Data, Limit
from plimsoll_client.cli.output import console, error_console, pretty, print_json, print_list, table, visible
from plimsoll_client.cli.session import on_mesh
from plimsoll_client.errors import BadInput
from plimsoll_client.learning import DisputedItem, ExportFormat

if TYPE_CHECKING:
    from plimsoll_client.mesh import Mesh

Name = Annotated[str, typer.Argument(metavar="NAME", help="The dataset's name", show_default=False)]
Version = Annotated[int, typer.Option("--version", help="[default: the present one]", min=0, show_default=False)]


def select(name: Name, data: Data = None, as_json: AsJson = False) -> None:
    """Look at what came since the last time; the mesh does the same by itself."""
    told = on_mesh(data, lambda mesh: mesh.datasets.select(name))
    if as_json:
        print_json(told)
    else:
        console().print(f"{told.selected} selected, of these {told.duplicates} too much like others and {told.lost} without a body")


def disputed(name: Name, data: Data = None, as_json: AsJson = False) -> None:
    """List the items about which annotators do not agree; `plimsoll dataset annotate` settles them."""
    found = on_mesh(data, lambda mesh: mesh.datasets.disputed(name))
    rows = ((one.item.id, "; ".join(_opinions(one)), _line(pretty(one.item.input))) for one in found)
    print_list(found, table(("item", "said", "asked"), rows), as_json=as_json, empty="Nothing is disputed.")


def _opinions(one: DisputedItem) -> Iterator[str]:
    yield from (f"{who}: {_line(pretty(what))}" for who, what in one.said)
    yield from (f"{who}: no example" for who in one.discarded_by)


def examples(name: Name, version: Version = 0, limit: Limit = 50, data: Data = None, as_json: AsJson = False) -> None:
    """List the examples of the training part, oldest first. The held-out part is asked by evaluations only."""
    found = on_mesh(data, lambda mesh: mesh.datasets.examples(name, version=version, limit=limit))
    rows = (
        (one.id, str(one.since_version), _line(pretty(one.expected)), _line(pretty(one.answer)), _line(pretty(one.input))) for one in found
    )
    made = table(("example", "since", "right", "answered", "asked"), rows, right=("since",))
    print_list(found, made, as_json=as_json, empty="There are no examples for training.")


def delete_example(
    name: Name,
    example: Annotated[str, typer.Argument(metavar="EXAMPLE", help="As `plimsoll dataset examples` shows it", show_default=False)],
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Take an example out of later versions, and remove what it says."""
    deleted = on_mesh(data, lambda mesh: mesh.datasets.delete_example(name, example))
    if as_json:
        print_json({"deleted": deleted})
    else:
        console().print(visible(f"{example}: {'deleted' if deleted else 'there is none'}"), soft_wrap=True)


def export(
    name: Name,
    out: Annotated[str, typer.Option("--out", metavar="FILE|-", help="Where the lines go; the lineage goes beside them")] = "-",
    form: Annotated[ExportFormat, typer.Option("--format", help="What the lines are for")] = ExportFormat.CHAT,
    version: Version = 0,
    data: Data = None,
) -> None:
    """Write the training part as JSON lines for fine-tuning, and its lineage to FILE.lineage.json."""
    if out == "-":
        on_mesh(data, lambda mesh: _to_stdout(mesh, name, form, version))
        return
    path = Path(out)
    try:
        lines = on_mesh(data, lambda mesh: _to_file(mesh, name, form, version, path))
    except OSError as error:
        raise BadInput(f"{path} cannot be written: {error.strerror}", remedy="Choose another --out") from error
    error_console().print(visible(f"{lines} lines in {path}, their lineage in {_beside(path)}"), soft_wrap=True)


async def _to_stdout(mesh: "Mesh", name: str, form: ExportFormat, version: int) -> None:
    async with aclosing(mesh.datasets.export(name, form, version=version)) as pieces:
        await anext(pieces)
        async for line in pieces:
            sys.stdout.write(line + "\n")


async def _to_file(mesh: "Mesh", name: str, form: ExportFormat, version: int, path: Path) -> int:
    """Beside the place first, then moved there: a file that is there is whole."""
    lines, partial = 0, path.with_name(path.name + ".partial")
    async with aclosing(mesh.datasets.export(name, form, version=version)) as pieces:
        lineage = await anext(pieces)
        with partial.open("w", encoding="utf-8", newline="\n") as file:
            async for line in pieces:
                file.write(line + "\n")
                lines += 1
    _beside(path).write_text(lineage + "\n", encoding="utf-8")
    partial.replace(path)
    return lines


def _beside(path: Path) -> Path:
    return path.with_name(path.name + ".lineage.json")


def _line(text: str) -> str:
    return " ".join(text.split())
