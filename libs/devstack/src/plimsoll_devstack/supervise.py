"""The supervising process of one mesh: `python -m plimsoll_devstack.supervise OPTIONS REPORT_FD`.

It holds the data directory's lock while it lives, ends what an earlier supervisor left, and reports once, through the
file descriptor it was given, whether the mesh became ready or why not.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import orjson
import psutil
from plimsoll_runtime import logs
from plimsoll_runtime.errors import unwrap

from plimsoll_devstack.authority import ensure_certificates
from plimsoll_devstack.errors import DevstackError
from plimsoll_devstack.files import private_directory, write_private
from plimsoll_devstack.leftovers import end_leftovers
from plimsoll_devstack.log_files import keep_bounded
from plimsoll_devstack.plan import Plan, Wanted, certificate_names, plan_mesh
from plimsoll_devstack.processes import ProcessId
from plimsoll_devstack.servers import Servers, configure, server_parts
from plimsoll_devstack.servers.provision import EXAMPLES, READER
from plimsoll_devstack.state import MeshFiles, MeshState, Phase
from plimsoll_devstack.supervisor import Supervisor

Compose = Callable[[Wanted, MeshFiles], Plan]
"""Decides what runs; tests supervise small stand-ins."""


async def supervise(wanted: Wanted, compose: Compose, stopping: asyncio.Event, on_ready: Callable[[MeshState], None]) -> None:
    """Run a mesh in `wanted.data` until `stopping`. Raises what prevented the start."""
    files, log = MeshFiles(wanted.data), logs.get("supervisor")
    with files.locked():
        if (previous := files.read()) is not None and (ended := await end_leftovers(previous)):
            log.warning("mesh.leftovers_ended", {"parts": ", ".join(ended)})
        private_directory(files.logs)
        plan = compose(wanted, files)
        state = MeshState(
            phase=Phase.STARTING,
            agents=str(wanted.agents.absolute()) if wanted.agents else "",
            supervisor=ProcessId(pid=os.getpid(), started_at=psutil.Process().create_time()),
            http_url=plan.http_url,
            grpc_address=plan.grpc_address,
            api_key_file=str(files.api_key),
        )
        supervisor = Supervisor(files, state, plan.parts, log)
        try:
            async with asyncio.TaskGroup() as group:
                keeper = group.create_task(keep_bounded(files.logs))
                await supervisor.run(stopping, on_ready)
                keeper.cancel()
        except BaseExceptionGroup as errors:
            raise unwrap(errors) from errors


def compose_mesh(wanted: Wanted, files: MeshFiles) -> Plan:
    """The whole mesh: certificates, embedded servers, six services."""
    ensure_certificates(files.tls, certificate_names(), datetime.now(UTC))
    servers = configure(files.data)
    _equip_tools(files, servers)
    return plan_mesh(wanted, files, servers, server_parts(servers))


def _equip_tools(files: MeshFiles, servers: Servers) -> None:
    """What the tools on board need: a database to read and to write, a folder for files, and leave to fetch public pages by https.

    Which pages is for the user to narrow: a file that is there stays. E-mail has no server until the user names one.
    """
    private_directory(files.tool_credentials)
    private_directory(files.workspaces)
    given = {
        "examples_database": servers.postgres.dsn(EXAMPLES, database=EXAMPLES),
        "sql_write_database": servers.postgres.dsn(EXAMPLES, database=EXAMPLES),
        "sql_read_database": servers.postgres.dsn(READER, database=EXAMPLES),
        "workspace_directory": str(files.workspaces),
    }
    for name, value in given.items():
        write_private(files.tool_credentials / name, value)
    if not (files.tool_credentials / "web_origins").exists():
        write_private(files.tool_credentials / "web_origins", "allow: *")


async def until_signalled(wanted: Wanted, compose: Compose, on_ready: Callable[[MeshState], None]) -> None:
    """Supervise until SIGTERM or SIGINT."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    await supervise(wanted, compose, stopping, on_ready)


def wanted_to_text(wanted: Wanted) -> str:
    """The options on the command line; the environment travels as the environment."""
    options = {
        "data": str(wanted.data),
        "agents": str(wanted.agents) if wanted.agents else None,
        "workers": wanted.workers,
        "http_port": wanted.http_port,
        "log_level": wanted.log_level,
        "otlp_endpoint": wanted.otlp_endpoint,
        "faults": wanted.faults,
    }
    return orjson.dumps(options).decode()


def run(compose: Compose, arguments: list[str], environ: dict[str, str]) -> int:
    """Supervise as a process of its own, and report through the descriptor."""
    options, report_to = orjson.loads(arguments[0]), int(arguments[1])
    wanted = Wanted(
        data=Path(options["data"]),
        agents=Path(options["agents"]) if options["agents"] else None,
        workers=options["workers"],
        http_port=options["http_port"],
        log_level=options["log_level"],
        otlp_endpoint=options["otlp_endpoint"],
        faults=options["faults"],
        environ=environ,
    )
    logs.configure("supervisor", wanted.log_level)
    report = Report(report_to)
    try:
        asyncio.run(until_signalled(wanted, compose, lambda _: report.send("", "")))
    except DevstackError as error:
        report.send(error.message, error.remedy)
        return 1
    return 0


class Report:
    """The one message to whoever started this process: empty when ready, else what prevented it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    def send(self, problem: str, remedy: str) -> None:
        """Send once and close; nobody may be listening any more, and later calls do nothing."""
        if self._descriptor is None:
            return
        try:
            os.write(self._descriptor, orjson.dumps({"problem": problem, "remedy": remedy}))
        except BrokenPipeError:
            logs.get("supervisor").info("mesh.nobody_waits")
        os.close(self._descriptor)
        self._descriptor = None


if __name__ == "__main__":
    sys.exit(run(compose_mesh, sys.argv[1:], dict(os.environ)))
