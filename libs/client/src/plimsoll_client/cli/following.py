"""`plimsoll runs events` and `plimsoll runs follow`: a run's journal, and the text of steps under way between its entries."""

import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated

import typer

from plimsoll_client.cli.journal import history_line, journal
from plimsoll_client.cli.options import AsJson, Data, RunId
from plimsoll_client.cli.output import as_json_line, console, visible
from plimsoll_client.cli.session import on_mesh
from plimsoll_client.cli.telling import told
from plimsoll_client.events import RunEvent, TokensReceived, TokensRetracted

if TYPE_CHECKING:
    from rich.console import Console

app = typer.Typer()

After = Annotated[int, typer.Option("--after", help="Entries after this position", min=0)]


@app.command()
def events(
    run: RunId,
    after: After = 0,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the last entry")] = False,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Print a run's journal; with --json one entry per line."""
    on_mesh(
        data,
        lambda mesh: _print(mesh.runs.follow(run, after_seq=after) if follow else journal(mesh, run, after_seq=after), as_json=as_json),
    )


@app.command()
def follow(
    run: RunId,
    after: After = 0,
    tokens: Annotated[bool, typer.Option("--tokens", help="Also what models say, while they say it")] = False,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Follow a run's journal until its last entry; with --json one event per line."""
    on_mesh(data, lambda mesh: _print(mesh.runs.follow(run, after_seq=after, tokens=tokens), as_json=as_json))


async def _print(source: AsyncGenerator[RunEvent, None], *, as_json: bool) -> None:
    page = Page(console())
    async with aclosing(source) as entries:
        async for entry in entries:
            if as_json:
                sys.stdout.write(as_json_line(entry) + "\n")
                sys.stdout.flush()
            else:
                page.show(entry)


class Page:
    """Writes each entry on a line of its own, and text as it comes: behind the name of its node, on as many lines as it has."""

    def __init__(self, out: "Console") -> None:
        self._out = out
        self._speaker: tuple[str, int, int] | None = None  # whose text stands on the unfinished line

    def show(self, entry: RunEvent) -> None:
        match entry.event:
            case TokensReceived(node=node, step_seq=step_seq, attempt=attempt, text=text):
                self._speak((node, step_seq, attempt), text)
            case TokensRetracted():
                self._end_line()
                subject, words = told(entry.event)
                self._out.print(f"{_margin(subject)}{words}", style="yellow", soft_wrap=True)
            case _:
                self._end_line()
                self._out.print(history_line(entry), soft_wrap=True)

    def _speak(self, speaker: tuple[str, int, int], text: str) -> None:
        if self._speaker != speaker:
            self._end_line()
            self._out.file.write(_margin(speaker[0]))
            self._speaker = speaker
        self._out.file.write(visible(text).replace("\n", f"\n{_margin('')}"))
        self._out.file.flush()

    def _end_line(self) -> None:
        if self._speaker is not None:
            self._out.file.write("\n")
            self._speaker = None


def _margin(name: str) -> str:
    return f"{visible(name):>26} │ "
