"""`plimsoll memory`: documents in, passages out."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from plimsoll_runtime.errors import FieldProblem, Invalid
from plimsoll_runtime.json_types import parse_object

from plimsoll_client.cli.memory_eval import evaluate
from plimsoll_client.cli.options import AsJson, Data
from plimsoll_client.cli.output import console, error_console, print_json, print_list, table, visible, when
from plimsoll_client.cli.session import on_mesh
from plimsoll_client.errors import BadInput
from plimsoll_client.files import STDIN, document_content, media_type, read_given, refused
from plimsoll_client.knowledge import Found, Ingested

if TYPE_CHECKING:
    from plimsoll_client.mesh import Mesh

app = typer.Typer()
group = typer.Typer(help="Documents in, passages out.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(group, name="memory")
group.command("eval")(evaluate)

Name = Annotated[str, typer.Argument(metavar="COLLECTION", help="Its name", show_default=False)]


@group.command()
def ingest(
    collection: Name,
    paths: Annotated[list[Path], typer.Argument(metavar="FILE…", help="Files, folders whose files are taken, or -", show_default=False)],
    ending: Annotated[
        str, typer.Option("--as", metavar="ENDING", help="What standard input is: .md, .txt, .html, .csv, .jsonl, .pdf")
    ] = "",
    source: Annotated[str, typer.Option("--source", help="What standard input is stored under")] = "",
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Store documents in a collection. It is made when it does not exist; the same content again changes nothing.

    What cannot be stored is named at the end; the rest is stored.
    """
    taken, problems = _documents(paths, ending, source)
    done, refused_ = on_mesh(data, lambda mesh: _ingest_all(mesh, collection, taken)) if taken else ([], [])
    rows = (
        (each.document.source, "stored" if each.changed else "unchanged", str(each.document.version), str(each.document.chunks))
        for each in done
    )
    made = table(("document", "what happened", "version", "passages"), rows, right=("version", "passages"))
    print_list(done, made, as_json=as_json, empty="There was nothing to store.")
    problems += refused_
    if problems:
        raise BadInput(f"{len(problems)} of {len(taken) + len(problems) - len(refused_)} not stored", problems=problems)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Taken:
    """A document to send; read when its turn comes."""

    source: str
    media_type: str
    read: Callable[[], bytes]


def _documents(paths: list[Path], ending: str, source: str) -> tuple[list[_Taken], list[FieldProblem]]:
    """The documents that can be sent, and what is wrong with the others."""
    found: list[_Taken] = []
    problems: list[FieldProblem] = []
    for path in paths:
        if str(path) == STDIN:
            found.append(_standard_input(ending, source))
            continue
        for name, file in _files(path):
            try:
                document_content(file)
                found.append(_Taken(source=name, media_type=media_type(file), read=file.read_bytes))
            except BadInput as error:
                problems += [FieldProblem(str(file), problem.problem, problem.remedy) for problem in error.problems]
    return found, problems


def _standard_input(ending: str, source: str) -> _Taken:
    if not ending or not source:
        raise BadInput("standard input has no name", problems=(FieldProblem("-", "has no name", "say --as .md and --source NAME"),))
    kind = media_type(Path(f"stdin{ending if ending.startswith('.') else '.' + ending}"))
    content = read_given(STDIN).content
    return _Taken(source=source, media_type=kind, read=lambda: content)


def _files(path: Path) -> Iterator[tuple[str, Path]]:
    """A file is known by its name, a file of a folder by its path in there."""
    if not path.is_dir():
        yield path.name, path
        return
    inside = sorted(file for file in path.rglob("*") if file.is_file() and not file.name.startswith("."))
    if not inside:
        raise refused(str(path), "is an empty folder", "Give a folder with documents")
    yield from ((file.relative_to(path).as_posix(), file) for file in inside)


async def _ingest_all(mesh: "Mesh", collection: str, documents: list[_Taken]) -> tuple[list[Ingested], list[FieldProblem]]:
    """What was stored, and what the mesh refused of the others; that it cannot be reached ends the whole."""
    done: list[Ingested] = []
    problems: list[FieldProblem] = []
    with error_console().status("Storing") as status:
        for at, one in enumerate(documents, 1):
            status.update(f"{at} of {len(documents)}: {visible(one.source)}")
            content = await asyncio.to_thread(one.read)
            try:
                done.append(await mesh.memory.ingest(collection, one.source, content, media_type=one.media_type))
            except Invalid as error:
                told = error.problems or (FieldProblem(one.source, error.message, error.remedy),)
                problems += [FieldProblem(one.source, f"{each.field} {each.problem}", each.remedy) for each in told]
    return done, problems


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
