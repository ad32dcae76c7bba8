"""The `chaos` commands: faults on demand in a mesh of this machine, from a plan."""

import os
import re
import time
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from plimsoll_client.cli.output import console, print_json, table
from plimsoll_client.location import data_directory
from plimsoll_runtime.faults import FaultPlan, parse_plan
from plimsoll_runtime.names import FAULTS_TOTAL

from plimsoll_devstack.errors import FaultsDisabled, NoSuchPart, NotRunning
from plimsoll_devstack.files import write_private
from plimsoll_devstack.loopback import PortBook
from plimsoll_devstack.names import LOOPBACK
from plimsoll_devstack.state import MeshFiles

app = typer.Typer(help="Inject faults into a mesh that was started with `plimsoll up --faults`.", no_args_is_help=True)

Data = Annotated[Path | None, typer.Option("--data", help="Data directory of the mesh", show_default=False)]
_SCRAPE_CAP_S = 2.0
_LOOK_S = 0.25
_COUNTED = re.compile(rf'^{FAULTS_TOTAL}{{edge="([a-z_]+)",kind="([a-z_]+)"}} ([0-9.e+]+)$', re.MULTILINE)


@app.command()
def run(
    plan: Annotated[Path, typer.Argument(help="Fault plan: a JSON file, or the name of one on board, such as postgres-away")],
    data: Data = None,
    seconds: Annotated[float, typer.Option("--for", help="Stop after so many seconds; 0 leaves the plan in force", min=0, max=3600)] = 0.0,
) -> None:
    """Put a plan into force; the one before it ends."""
    plan = packaged_plans().get(str(plan), plan)
    files, parsed = _enabled(data), read_plan(plan)
    write_private(files.faults, plan.read_text())
    out = console()
    out.print(f"The plan {parsed.name!r} is in force: {len(parsed.rules)} rules, seed {parsed.seed}.", soft_wrap=True)
    if not seconds:
        out.print("End it with `plimsoll chaos stop`; see what it did with `plimsoll chaos status`.", soft_wrap=True)
        return
    until = time.monotonic() + seconds
    try:
        with out.status("") as spinner:
            while (left := until - time.monotonic()) > 0:
                spinner.update(f"{left:.0f} s left")
                time.sleep(min(_LOOK_S, left))
    finally:
        write_private(files.faults, "")
    _show(injected(files), as_json=False)


@app.command()
def stop(data: Data = None) -> None:
    """End the plan in force."""
    files = _enabled(data)
    was = files.faults.read_text().strip()
    write_private(files.faults, "")
    console().print("The plan has ended." if was else "No plan was in force.")


@app.command()
def status(data: Data = None, as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs")] = False) -> None:
    """How many faults were injected since the services started."""
    _show(injected(_enabled(data)), as_json=as_json)


def packaged_plans() -> dict[str, Path]:
    """The plans on board by name: one or more for each dependency."""
    return {path.stem: path for path in sorted((Path(__file__).parent / "plans").glob("*.json"))}


def read_plan(path: Path) -> FaultPlan:
    """The plan in a file. Raises NoSuchPart when there is none, InvalidPlan with every mistake."""
    try:
        return parse_plan(path.read_bytes())
    except OSError as error:
        raise NoSuchPart(
            f"the plan {path} cannot be read: {error.strerror}", remedy=f"Name a file, or one of {', '.join(packaged_plans())}"
        ) from error


def injected(files: MeshFiles) -> dict[str, Counter[tuple[str, str]]]:
    """By part of the mesh: how often each kind of fault was done at each edge. Parts that do not answer are left out."""
    ports, found = PortBook(files.ports), {}
    state = files.read()
    for part in state.parts if state else ():
        try:
            with urllib.request.urlopen(
                f"http://{LOOPBACK}:{ports.recorded(f'{part.name}-admin')}/metrics", timeout=_SCRAPE_CAP_S
            ) as answer:
                text = answer.read().decode()
        except OSError:
            continue
        found[part.name] = Counter({(edge, kind): int(float(count)) for edge, kind, count in _COUNTED.findall(text)})
    return found


def _show(found: dict[str, Counter[tuple[str, str]]], *, as_json: bool) -> None:
    rows = [(part, edge, kind, count) for part, counts in found.items() for (edge, kind), count in sorted(counts.items())]
    if as_json:
        print_json([{"part": part, "edge": edge, "kind": kind, "count": count} for part, edge, kind, count in rows])
    elif rows:
        shown = [(part, edge, kind, str(count)) for part, edge, kind, count in rows]
        console().print(table(["part", "edge", "kind", "faults"], shown, right=["faults"]))
    else:
        console().print("No fault was injected yet.")


def _enabled(data: Path | None) -> MeshFiles:
    files = MeshFiles(data_directory(data, os.environ, cwd=Path.cwd(), home=Path.home()))
    if files.read() is None:
        raise NotRunning(f"no mesh runs in {files.data}", remedy="Start one with `plimsoll up --faults`")
    if not files.faults.exists():
        raise FaultsDisabled("this mesh was started without faults", remedy="Stop it, and start it with `plimsoll up --faults`")
    return files
