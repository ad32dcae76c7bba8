"""The `up`, `down`, `status` and `logs` commands of `plimsoll`."""

import asyncio
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from plimsoll_client.bundles import Applied, read_bundles
from plimsoll_client.cli.output import console, one_line, print_json, table, visible
from plimsoll_client.cli.program import here
from plimsoll_client.location import data_directory, data_option
from plimsoll_runtime import logs as runtime_logs
from plimsoll_runtime.clock import SystemClock
from rich.console import Console
from rich.table import Table

from plimsoll_devstack import chaos
from plimsoll_devstack.deployment import Addresses, renew, write_deployment
from plimsoll_devstack.errors import Busy, NoSuchPart
from plimsoll_devstack.log_files import grown, tail
from plimsoll_devstack.mesh import Mesh
from plimsoll_devstack.plan import Wanted
from plimsoll_devstack.processes import find
from plimsoll_devstack.state import MeshFiles, MeshState, PartPhase, PartState, Phase
from plimsoll_devstack.supervise import compose_mesh, until_signalled

app = typer.Typer(help="Run the whole mesh on this machine.", no_args_is_help=True)
app.add_typer(chaos.app, name="chaos")

Data = Annotated[
    Path | None,
    typer.Option(
        "--data",
        help="Data directory [default: PLIMSOLL_DATA_DIR, else ./.plimsoll if there is one, else ~/.local/share/plimsoll]",
        show_default=False,
    ),
]


@app.command()
def up(
    data: Data = None,
    agents: Annotated[Path | None, typer.Option(help="Folder of agents; their tools become available")] = None,
    foreground: Annotated[bool, typer.Option("--foreground", help="Stay in the terminal and show the supervisor's log")] = False,
    port: Annotated[int, typer.Option(help="Port of the REST interface; 0 is any free one", min=0, max=65_535)] = 0,
    workers: Annotated[int, typer.Option(help="Orchestrator workers", min=1, max=64)] = 1,
    log_level: Annotated[str, typer.Option(help="DEBUG, INFO, WARNING or ERROR")] = "INFO",
    otlp_endpoint: Annotated[str, typer.Option(help="OTLP/gRPC endpoint for traces")] = "",
    faults: Annotated[bool, typer.Option("--faults", help="Allow `plimsoll chaos` to inject faults; never where it matters")] = False,
) -> None:
    """Start the mesh and wait until it is ready."""
    if agents is not None:
        read_bundles(agents)  # a mistake in a file shows before anything starts
    wanted = Wanted(
        data=_data(data),
        agents=agents.absolute() if agents else None,
        workers=workers,
        http_port=port,
        log_level=log_level,
        otlp_endpoint=otlp_endpoint,
        faults=faults,
        environ=dict(os.environ),
    )
    mesh, out = Mesh(wanted), console()
    if (running := _already_up(mesh)) is not None:
        out.print("The mesh is already up.")
        _print_addresses(out, mesh.files, running)
        _print_next(out, mesh, _apply_agents(mesh, out))
    elif foreground:
        runtime_logs.configure("supervisor", log_level)
        asyncio.run(_stay(mesh, out))
    else:
        began = time.monotonic()
        with out.status("Starting the mesh") as spinner:
            asyncio.run(mesh.start(detached=True, progress=lambda state: spinner.update(_progress(state))))
        out.print(f"The mesh is up after {time.monotonic() - began:.1f} s.")
        _print_addresses(out, mesh.files, mesh.state())
        _print_next(out, mesh, _apply_agents(mesh, out))


@app.command()
def down(data: Data = None) -> None:
    """Stop the mesh; its data stays."""
    mesh, out = Mesh(Wanted(data=_data(data))), console()
    mesh.state()
    with out.status("Stopping the mesh"):
        asyncio.run(mesh.stop())
    out.print(f"The mesh is down. Its data stays in {mesh.files.data}.", soft_wrap=True)


@app.command()
def status(data: Data = None, as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs")] = False) -> None:
    """Show what runs, where, and what was restarted. Exits 1 unless the mesh is ready."""
    mesh = Mesh(Wanted(data=_data(data)))
    state = mesh.state()
    phase = _phase(state)
    if as_json:
        print_json(_as_json(mesh.files, state, phase))
    else:
        out = console()
        out.print(f"Mesh in {mesh.files.data}: {phase}" + (f" ({visible(state.problem)})" if state.problem else ""), soft_wrap=True)
        out.print(_table(state))
        if phase == Phase.READY:
            _print_addresses(out, mesh.files, state)
    if phase != Phase.READY:
        raise typer.Exit(1)


@app.command()
def logs(
    name: Annotated[str | None, typer.Argument(help="A part, as `status` names it, or supervisor; all when left out")] = None,
    data: Data = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on showing new lines")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", help="Lines to begin with, of each log", min=0, max=100_000)] = 50,
) -> None:
    """Show the logs of the mesh."""
    mesh = Mesh(Wanted(data=_data(data)))
    mesh.state()
    found = {log.stem: log for log in sorted(mesh.files.logs.glob("*.log"))}
    if name is not None and name not in found:
        raise NoSuchPart(f"there is no log of {name}", remedy=f"The logs are {', '.join(found)}")
    chosen = found if name is None else {name: found[name]}
    positions: dict[str, int] = {}
    for each, log in chosen.items():
        shown, positions[each] = tail(log, lines)
        _echo(each, shown, prefixed=len(chosen) > 1)
    while follow:
        time.sleep(0.2)
        for each, log in chosen.items():
            shown, positions[each] = grown(log, positions[each])
            _echo(each, shown, prefixed=len(chosen) > 1)


@app.command()
def secrets(
    directory: Annotated[Path, typer.Argument(help="Folder to write to, such as deploy/secrets; keep it out of version control")],
    postgres: Annotated[str, typer.Option(help="Address of PostgreSQL as the services see it")] = Addresses().postgres,
    nats: Annotated[str, typer.Option(help="Address of NATS as the services see it")] = Addresses().nats,
    redis: Annotated[str, typer.Option(help="Address of Redis as the services see it")] = Addresses().redis,
    renew_certificates: Annotated[bool, typer.Option("--renew-certificates", help="New certificates for all services, now")] = False,
) -> None:
    """Make the certificates and passwords of a mesh in containers; a repeat only adds and renews."""
    if renew_certificates:
        renew(directory)
    write_deployment(directory, Addresses(postgres=postgres, nats=nats, redis=redis), SystemClock().now())
    console().print(f"Certificates and passwords are in {directory}.", soft_wrap=True)


async def _stay(mesh: Mesh, out: Console) -> None:
    """Supervise in this process until Ctrl-C or SIGTERM; a refused agent ends it."""
    ready = asyncio.Event()

    def on_ready(state: MeshState) -> None:
        _print_addresses(out, mesh.files, state)
        ready.set()

    async def apply_when_ready() -> None:
        await ready.wait()
        _print_applied(out, await mesh.apply_agents())

    async with asyncio.TaskGroup() as group:
        applying = group.create_task(apply_when_ready())
        await until_signalled(mesh.wanted, compose_mesh, on_ready)
        applying.cancel()


def _apply_agents(mesh: Mesh, out: Console) -> Sequence[Applied]:
    with out.status("Applying the agents") as spinner:
        applied = asyncio.run(mesh.apply_agents(lambda step: spinner.update(f"Applying {visible(step)}")))
    _print_applied(out, applied)
    return applied


def _print_next(out: Console, mesh: Mesh, applied: Sequence[Applied]) -> None:
    """What to do with a mesh that is up, to be copied."""
    if not applied:
        return
    where = data_option(mesh.files.data, os.environ, cwd=Path.cwd(), home=Path.home())
    out.print("Now try your own input, from a file or, with -, from standard input:")
    out.print(f"  {here(os.environ)} run {applied[-1].agent} --input FILE{where}", soft_wrap=True)


def _print_applied(out: Console, applied: Sequence[Applied]) -> None:
    for each in applied:
        out.print(f"  {'Agent':<8} {each.agent} version {each.version}, {each.documents} documents")


def _data(given: Path | None) -> Path:
    return data_directory(given, os.environ, cwd=Path.cwd(), home=Path.home())


def _already_up(mesh: Mesh) -> MeshState | None:
    state = mesh.files.read()
    if state is None or not state.supervised:
        return None
    if state.phase is not Phase.READY:
        raise Busy(f"the mesh in {mesh.files.data} is {state.phase}", remedy="Wait until `plimsoll status` shows it ready or stopped")
    agents = str(mesh.wanted.agents) if mesh.wanted.agents else ""
    if agents and agents != state.agents:
        raise Busy(
            f"the mesh in {mesh.files.data} is up with other agents ({state.agents or 'none'})",
            remedy="Run `plimsoll down` first, then `plimsoll up` with these",
        )
    return state


def _progress(state: MeshState | None) -> str:
    if state is None or not state.supervised:
        return "Starting the mesh"
    ready = sum(part.phase is PartPhase.READY for part in state.parts)
    pending = ", ".join(part.name for part in state.parts if part.phase is PartPhase.STARTING)
    return f"Starting the mesh: {ready} of {len(state.parts)} ready" + (f", waiting for {pending}" if pending else "")


def _print_addresses(out: Console, files: MeshFiles, state: MeshState) -> None:
    rows = {"REST": state.http_url, "gRPC": state.grpc_address, "API key": state.api_key_file, "Data": files.data, "Logs": files.logs}
    for label, value in rows.items():
        out.print(f"  {label:<8} {value}", soft_wrap=True)


def _phase(state: MeshState) -> str:
    """The recorded phase, unless its writer is gone: a killed supervisor could not record its own end."""
    if state.phase in {Phase.STOPPED, Phase.FAILED} or state.supervised:
        return state.phase
    return "killed"


def _table(state: MeshState) -> Table:
    return table(("part", "state", "pid", "address", "restarts", "why restarted"), map(_row, state.parts), right=("pid", "restarts"))


def _row(part: PartState) -> tuple[str, ...]:
    pid = _pid(part)
    return (part.name, part.phase if pid else "-", str(pid or "-"), part.address, str(part.restarts), one_line(part.problem))


def _pid(part: PartState) -> int | None:
    """The process of a part, when it is really there."""
    return part.process.pid if part.process is not None and find(part.process) is not None else None


def _as_json(files: MeshFiles, state: MeshState, phase: str) -> dict[str, object]:
    return {
        "data": str(files.data),
        "phase": phase,
        "problem": state.problem,
        "http_url": state.http_url,
        "grpc_address": state.grpc_address,
        "api_key_file": state.api_key_file,
        "agents": state.agents,
        "supervisor_pid": state.supervisor.pid if state.supervisor is not None and state.supervised else None,
        "parts": [
            {
                "name": part.name,
                "phase": part.phase,
                "pid": _pid(part),
                "address": part.address,
                "restarts": part.restarts,
                "problem": part.problem,
            }
            for part in state.parts
        ],
    }


def _echo(name: str, lines: list[str], *, prefixed: bool) -> None:
    for line in lines:
        typer.echo(f"{name} | {line}" if prefixed else line)
