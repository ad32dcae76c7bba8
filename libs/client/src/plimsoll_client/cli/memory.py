"""`plimsoll memory`: documents in, passages out."""

import asyncio
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from plimsoll_runtime.errors import FieldProblem
from plimsoll_runtime.json_types import parse_object

from plimsoll_client.cli.options import AsJson, Data
from plimsoll_client.cli.output import console, error_console, print_json, print_list, table, visible, when
from plimsoll_client.cli.session import on_mesh
from plimsoll_client.errors import BadInput
from plimsoll_client.files import document_content, media_type, refused
from plimsoll_client.knowledge import Found, Ingested

if TYPE_CHECKING:
    from plimsoll_client.mesh import Mesh

app = typer.Typer()
group = typer.Typer(help="Documents in, passages out.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(group, name="memory")

Name = Annotated[str, typer.Argument(metavar="COLLECTION", help="Its name", show_default=False)]


@group.command()
def ingest(
    collection: Name,
    paths: Annotated[list[Path], typer.Argument(metavar="FILE…", help="Files, or folders whose files are taken", show_default=False)],
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Store documents in a collection. It is made when it does not exist; the same content again changes nothing."""
    documents = _documents(paths)
    done = on_mesh(data, lambda mesh: _ingest_all(mesh, collection, documents))
    rows = (
        (each.document.source, "stored" if each.changed else "unchanged", str(each.document.version), str(each.document.chunks))
        for each in done
    )
    made = table(("document", "what happened", "version", "passages"), rows, right=("version", "passages"))
    print_list(done, made, as_json=as_json, empty="There was nothing to store.")


@group.command()
def search(
    collection: Name,
    query: Annotated[str, typer.Argument(metavar="QUERY", help="Words, or a question", show_default=False)],
    limit: Annotated[int, typer.Option("--limit", "-n", help="At most this many", min=1, max=100)] = 5,
    where: Annotated[str, typer.Option("--filter", metavar="JSON", help="An object that the metadata must hold")] = "{}",
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Find passages by words and by meaning."""
    wanted = parse_object(where, field="--filter")
    found = on_mesh(data, lambda mesh: mesh.memory.search(collection, query, limit=limit, filter=wanted))
    if as_json:
        print_json(found)
    else:
        _print_found(found)


@group.command()
def collections(data: Data = None, as_json: AsJson = False) -> None:
    """List the collections."""
    found = on_mesh(data, lambda mesh: mesh.memory.collections())
    rows = ((c.name, str(c.documents), str(c.chunks), c.embedder, when(c.created_at)) for c in found)
    made = table(("collection", "documents", "passages", "embedder", "made"), rows, right=("documents", "passages"))
    print_list(found, made, as_json=as_json, empty="There are no collections.")


def _documents(paths: list[Path]) -> list[tuple[str, Path]]:
    """The documents by source. Raises BadInput with every one that cannot be taken, before any is sent."""
    found: list[tuple[str, Path]] = []
    problems: list[FieldProblem] = []
    for source, path in chain.from_iterable(map(_files, paths)):
        try:
            document_content(path)
            found.append((source, path))
        except BadInput as error:
            problems.extend(FieldProblem(str(path), problem.problem, problem.remedy) for problem in error.problems)
    if problems:
        raise BadInput("nothing was stored", problems=problems)
    return found


def _files(path: Path) -> Iterator[tuple[str, Path]]:
    """A file is known by its name, a file of a folder by its path in there."""
    if not path.is_dir():
        yield path.name, path
        return
    inside = sorted(file for file in path.rglob("*") if file.is_file() and not file.name.startswith("."))
    if not inside:
        raise refused(str(path), "is an empty folder", "Give a folder with documents")
    yield from ((file.relative_to(path).as_posix(), file) for file in inside)


async def _ingest_all(mesh: "Mesh", collection: str, documents: list[tuple[str, Path]]) -> list[Ingested]:
    done: list[Ingested] = []
    with error_console().status("Storing") as status:
        for source, path in documents:
            status.update(f"{len(done) + 1} of {len(documents)}: {visible(source)}")
            content = await asyncio.to_thread(path.read_bytes)
            done.append(await mesh.memory.ingest(collection, source, content, media_type=media_type(path)))
    return done


def _print_found(found: Found) -> None:
    out = console()
    for index, passage in enumerate(found.passages, 1):
        headings = " › ".join(passage.headings)
        out.print(f"{index}. {visible(passage.source)}  {visible(headings)}  ({passage.score:.4f})", style="bold", soft_wrap=True)
        for line in visible(passage.text).splitlines():
            out.print(f"   {line}", soft_wrap=True)
    receipt = found.receipt
    notes = error_console()
    notes.print(
        f"{receipt.returned} of {receipt.requested} asked for; {receipt.text_candidates} candidates by words, "
        f"{receipt.vector_candidates} by meaning ({'exact' if receipt.exact else 'approximate'}, {receipt.embedder})",
        style="dim",
    )
    for reason in receipt.skipped:
        notes.print(f"left out: {visible(reason)}", style="dim")
