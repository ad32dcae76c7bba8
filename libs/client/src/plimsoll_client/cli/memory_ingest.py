"""`plimsoll memory ingest`: files, folders and standard input of any size into a collection."""

import asyncio
import hashlib
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from plimsoll_runtime.errors import FieldProblem, Invalid, PlimsollError, Unavailable
from plimsoll_runtime.json_types import JsonObject, parse_object

from plimsoll_client.cli.options import AsJson, Data
from plimsoll_client.cli.output import error_console, print_list, table, visible
from plimsoll_client.cli.session import on_mesh
from plimsoll_client.errors import BadInput
from plimsoll_client.files import MAX_BYTES, STDIN, document_content, media_type, refused, sniffed

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from plimsoll_client.mesh import Mesh

_AT_ONCE = 3


def ingest(
    collection: Annotated[str, typer.Argument(metavar="COLLECTION", help="Its name", show_default=False)],
    paths: Annotated[list[Path], typer.Argument(metavar="FILE…", help="Files, folders whose files are taken, or -", show_default=False)],
    ending: Annotated[
        str, typer.Option("--as", metavar="ENDING", help="What standard input is: .md, .txt, .html, .csv, .jsonl, .pdf")
    ] = "",
    source: Annotated[str, typer.Option("--source", help="What standard input is stored under")] = "",
    metadata: Annotated[str, typer.Option("--metadata", metavar="JSON", help="An object that searches can filter by")] = "{}",
    label: Annotated[list[str] | None, typer.Option("--label", help="What is known about their origin; may come often")] = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Store documents in a collection. It is made when it does not exist; the same content again changes nothing.

    Files of any size: large ones go in pieces, and go on where they ended when the same command is given again. What cannot be stored is
    named at the end; the rest is stored.
    """
    wanted = _Wanted(collection=collection, metadata=parse_object(metadata, field="--metadata"), labels=tuple(label or ()))
    with ExitStack() as stack:
        taken, problems = _documents(paths, ending, source, stack)
        done, refused_ = on_mesh(data, lambda mesh: _Ingesting(mesh, wanted).all(taken)) if taken else ([], [])
    rows = ((one.source, "stored" if one.changed else "unchanged", str(one.documents), str(one.passages)) for one in done)
    made = table(("document", "what happened", "parts", "passages"), rows, right=("parts", "passages"))
    print_list(done, made, as_json=as_json, empty="There was nothing to store.")
    problems += refused_
    if problems:
        raise BadInput(f"{len(taken) + len(problems) - len(refused_) - len(done)} not stored", problems=problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """Where documents go, and what all of them get."""

    collection: str
    metadata: JsonObject
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Taken:
    """A document to send; opened when its turn comes."""

    source: str
    media_type: str
    path: Path
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Done:
    """What became of a document."""

    source: str
    changed: bool
    documents: int
    passages: int


class _Ingesting:
    """Sends documents, a few at once, and shows how far it is."""

    def __init__(self, mesh: "Mesh", wanted: _Wanted) -> None:
        self._mesh = mesh
        self._wanted = wanted
        self._done: dict[str, _Done] = {}
        self._problems: list[FieldProblem] = []

    async def all(self, documents: Sequence[_Taken]) -> tuple[list[_Done], list[FieldProblem]]:
        """What was stored, and what the mesh refused of the others; that it cannot be reached ends the whole."""
        waiting = iter(documents)
        with _progress() as progress:
            bar = progress.add_task("Storing", total=sum(one.size for one in documents) or 1)

            async def work() -> None:
                for one in waiting:
                    await self._one(one, progress, bar)

            async with asyncio.TaskGroup() as group:
                for _ in range(_AT_ONCE):
                    group.create_task(work())
        return [self._done[one.source] for one in documents if one.source in self._done], self._problems

    async def _one(self, one: _Taken, progress: "Progress", bar: "TaskID") -> None:
        progress.update(bar, description=visible(one.source)[-40:])
        try:
            if one.size > MAX_BYTES:
                self._done[one.source] = await self._upload(one, progress, bar)
                return
            content = await asyncio.to_thread(one.path.read_bytes)
            wanted = self._wanted
            ingested = await self._mesh.memory.ingest(
                wanted.collection, one.source, content, media_type=one.media_type, metadata=wanted.metadata, labels=wanted.labels
            )
            self._done[one.source] = _Done(source=one.source, changed=ingested.changed, documents=1, passages=ingested.document.chunks)
            progress.update(bar, advance=one.size)
        except Invalid as error:
            told = error.problems or (FieldProblem("", error.message, error.remedy),)
            self._problems += [FieldProblem(one.source, f"{each.field} {each.problem}".strip(), each.remedy) for each in told]
        except Unavailable:
            raise
        except PlimsollError as error:
            self._problems.append(FieldProblem(one.source, error.message, error.remedy))
        except OSError as error:
            self._problems.append(FieldProblem(one.source, f"cannot be read: {error.strerror}", "Check its permissions"))

    async def _upload(self, one: _Taken, progress: "Progress", bar: "TaskID") -> _Done:
        """In pieces; the digest of all of it is the key, so that the same file goes on where it ended."""
        wanted, before = self._wanted, 0
        with one.path.open("rb") as file:
            key = await asyncio.to_thread(_digest, file)
            sending = self._mesh.memory.upload(
                wanted.collection, one.source, file, media_type=one.media_type, key=key, metadata=wanted.metadata, labels=wanted.labels
            )
            async for state in sending:
                progress.update(bar, advance=state.offset - before)
                before = state.offset
        return _Done(source=one.source, changed=state.changed > 0, documents=state.documents, passages=state.chunks)


def _documents(paths: list[Path], ending: str, source: str, stack: ExitStack) -> tuple[list[_Taken], list[FieldProblem]]:
    """The documents that can be sent, and what is wrong with the others."""
    found: list[_Taken] = []
    problems: list[FieldProblem] = []
    for path in paths:
        if str(path) == STDIN:
            found.append(_standard_input(ending, source, stack))
            continue
        for name, file in _files(path):
            try:
                found.append(_taken(name, file, media_type(file)))
            except BadInput as error:
                problems += [FieldProblem(str(file), problem.problem, problem.remedy) for problem in error.problems]
    return found, problems


def _taken(name: str, file: Path, kind: str) -> _Taken:
    """Raises BadInput for one that is missing, empty, unreadable or not what its name says."""
    size = sniffed(file, kind)
    if size <= MAX_BYTES:
        document_content(file, kind)
    return _Taken(source=name, media_type=kind, path=file, size=size)


def _standard_input(ending: str, source: str, stack: ExitStack) -> _Taken:
    """Kept in a file of its own while it is sent, because the mesh may ask for a piece again."""
    if not ending or not source:
        raise BadInput("standard input has no name", problems=(FieldProblem("-", "has no name", "say --as .md and --source NAME"),))
    kind = media_type(Path(f"stdin{ending if ending.startswith('.') else '.' + ending}"))
    file = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="plimsoll-"))) / "stdin"
    with file.open("wb") as kept:
        shutil.copyfileobj(sys.stdin.buffer, kept)
    try:
        return _taken(source, file, kind)
    except BadInput as error:
        raise refused(STDIN, error.problems[0].problem, error.problems[0].remedy) from error


def _files(path: Path) -> Iterator[tuple[str, Path]]:
    """A file is known by its name, a file of a folder by its path in there."""
    if not path.is_dir():
        yield path.name, path
        return
    inside = sorted(file for file in path.rglob("*") if file.is_file() and not file.name.startswith("."))
    if not inside:
        raise refused(str(path), "is an empty folder", "Give a folder with documents")
    yield from ((file.relative_to(path).as_posix(), file) for file in inside)


def _digest(file: BufferedReader) -> str:
    return hashlib.file_digest(file, "sha256").hexdigest()


def _progress() -> "Progress":
    """A bar on a terminal, nothing elsewhere."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415 - rich is slow to load

    out = error_console()
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    return Progress(*columns, console=out, transient=True, disable=not out.is_terminal)
