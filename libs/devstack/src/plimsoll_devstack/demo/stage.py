"""The demo's beginning and end: a mesh comes up for it, and afterwards nothing is left running."""

import shlex
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from plimsoll_client import connect
from plimsoll_client.bundles import Bundle, read_bundles
from plimsoll_client.cli.answer import PROVIDER
from plimsoll_client.cli.output import seconds
from plimsoll_client.cli.program import here, spelled
from plimsoll_client.location import data_directory, data_option
from plimsoll_runtime.errors import PlimsollError
from plimsoll_runtime.ids import RandomIds

from plimsoll_devstack.audit.learning import LEARNS
from plimsoll_devstack.demo.display import Display
from plimsoll_devstack.demo.story import Promise, Story
from plimsoll_devstack.mesh import Mesh
from plimsoll_devstack.plan import Wanted
from plimsoll_devstack.processes import ProcessId, find


async def perform(agents: Path, data: Path | None, *, keep: bool, environ: Mapping[str, str]) -> bool:
    """Everything from start to stop, with the agents in an absolute folder. True when every promise was kept."""
    began, display = time.monotonic(), Display()
    bundles = read_bundles(agents)
    learns = data is None and not keep  # what is learned changes a mesh, and one that stays is the user's
    with _directory(data, keep=keep, environ=environ) as place:
        mesh = Mesh(Wanted(data=place.path, agents=agents, environ={**LEARNS, **environ} if learns else environ))
        promises = await _play(mesh, bundles, display, keep=keep, learns=learns)
        place.stays = place.stays or not all(promise.kept for promise in promises)
    running_at = data_option(place.path, environ, cwd=Path.cwd(), home=Path.home()) if keep else None
    _show_promises(display, promises)
    _show_next_steps(display, next_steps(here(environ), bundles, running_at=running_at, cwd=Path.cwd()), place)
    _end(display, promises, time.monotonic() - began)
    return all(promise.kept for promise in promises)


async def _play(mesh: Mesh, bundles: Sequence[Bundle], display: Display, *, keep: bool, learns: bool) -> list[Promise]:
    async with _up(mesh, display, keep=keep) as processes, connect(address=mesh.grpc_address, api_key=mesh.api_key) as client:
        story = Story(client, bundles, display, RandomIds())
        await story.tell()
        if learns:
            await story.learn()
    if not keep:
        left = [process.pid for process in processes if find(process) is not None]
        story.promise(f"nothing is left running ({len(processes)} processes ended)", kept=not left)
    return story.promises


@asynccontextmanager
async def _up(mesh: Mesh, display: Display, *, keep: bool) -> "AsyncIterator[list[ProcessId]]":
    """The mesh while the block lasts, and after it when it is kept; yields the processes to account for."""
    display.title("The mesh: PostgreSQL, NATS, Redis and the six services start on this machine")
    began = time.monotonic()
    await mesh.start(detached=keep)
    try:
        display.line(f"Up after {seconds(time.monotonic() - began)}. REST {mesh.http_url}, gRPC {mesh.grpc_address}.")
        state = mesh.state()
        yield [process for process in (state.supervisor, *(part.process for part in state.parts)) if process is not None]
    finally:
        if not keep:
            display.line("\nStopping the mesh …", style="dim")
            await mesh.stop()


@contextmanager
def _directory(chosen: Path | None, *, keep: bool, environ: Mapping[str, str]) -> "Iterator[_Place]":
    """The chosen one; the usual one for a mesh that stays; else one that goes with the demo, unless its logs have something to tell."""
    if chosen is not None or keep:
        yield _Place(path=data_directory(chosen, environ, cwd=Path.cwd(), home=Path.home()), stays=True)
        return
    place = _Place(path=Path(tempfile.mkdtemp(prefix="plimsoll-demo-")), stays=False)
    try:
        yield place
    except PlimsollError:
        place.stays = True
        raise
    finally:
        if not place.stays:
            shutil.rmtree(place.path)


def _show_promises(display: Display, promises: Sequence[Promise]) -> None:
    display.title("Promises")
    for promise in promises:
        display.line(f"  {'✓' if promise.kept else '✗'} {promise.text}", style="green" if promise.kept else "red")


def _end(display: Display, promises: Sequence[Promise], took_s: float) -> None:
    broken = sum(not promise.kept for promise in promises)
    ending = "Everything went as promised" if not broken else f"{broken} of {len(promises)} promises were broken"
    display.line(f"\n{ending}. The demo took {seconds(took_s)}.", style="bold green" if not broken else "bold red")


def _show_next_steps(display: Display, steps: Iterable[str], place: "_Place") -> None:
    display.title("Where to go next")
    for step in steps:
        display.line(f"  {step}")
    display.line(f"  {spelled(PROVIDER)}")
    if place.stays:
        display.line(f"  Data and logs stay in {place.path}.")


def next_steps(name: str, bundles: Sequence[Bundle], *, running_at: str | None, cwd: Path) -> Iterator[str]:
    """Commands to copy, one a line: on the mesh that `running_at` leads to, or from starting one."""
    where = running_at or ""
    steps: list[tuple[str, str]] = []
    if running_at is None:
        agents = _common_folder(bundles)
        shown = agents.relative_to(cwd) if agents.is_relative_to(cwd) else agents
        steps.append((f"up --agents {shlex.quote(str(shown))}", "starts the mesh with these agents and leaves it running"))
    steps += [(f"run {bundle.agent} --input FILE{where}", "runs one on your own input; - is standard input") for bundle in bundles]
    steps += [(f"errors{where}", "counts what failed, by category"), (f"down{where}", "stops the mesh; its data stays")]
    width = max(len(command) for command, _ in steps)
    return (f"{name} {command:<{width}}  # {what}" for command, what in steps)


def _common_folder(bundles: Sequence[Bundle]) -> Path:
    """What was given as --agents: a bundle, or the folder around several."""
    first = bundles[0].directory
    return first if len(bundles) == 1 else first.parent


@dataclass(slots=True, kw_only=True)
class _Place:
    """The data directory, and whether it outlives the demo."""

    path: Path
    stays: bool
