"""A supervisor of tiny stand-ins, in the place of `plimsoll_devstack.supervise`: two servers and three services.

STANDIN_BEHAVIOUR=PART=BEHAVIOUR makes one of them misbehave.
"""

import os
import sys
from functools import partial
from pathlib import Path

from plimsoll_devstack.loopback import PortBook
from plimsoll_devstack.parts import Part
from plimsoll_devstack.plan import Plan, Wanted
from plimsoll_devstack.probe import probe_ready
from plimsoll_devstack.processes import Program
from plimsoll_devstack.state import MeshFiles
from plimsoll_devstack.supervise import run

RANKS = {"server-a": 0, "server-b": 0, "memory": 1, "orchestrator-api": 2, "gateway": 3}


def compose(wanted: Wanted, files: MeshFiles) -> Plan:
    name, _, kind = wanted.environ.get("STANDIN_BEHAVIOUR", "").partition("=")
    ports = PortBook(files.ports)
    if wanted.http_port:
        ports.fixed("gateway", wanted.http_port, option="--port")
    made = tuple(part(each, ports.port(each), files, kind if each == name else "serve") for each in RANKS)
    return Plan(parts=made, http_url=f"http://127.0.0.1:{ports.recorded('gateway')}", grpc_address="127.0.0.1:1")


def part(name: str, port: int, files: MeshFiles, behaviour: str) -> Part:
    program = Program(
        name=name,
        argv=(
            sys.executable,
            "-I",
            "-S",
            str(Path(__file__).with_name("part.py")),
            name,
            str(port),
            str(files.data / "journal"),
            behaviour,
        ),
        env={"PATH": os.defpath},
        cwd=files.data,
        log=files.log(name),
        stop_within_s=1.0,
    )
    return Part(
        name=name,
        rank=RANKS[name],
        prepare=lambda: program,
        ready=partial(probe_ready, port),
        address=f"127.0.0.1:{port}",
        ready_within_s=2.0,
        sick=partial(_sickness, files.data / f"sick-{name}"),
    )


def _sickness(note: Path, pid: int) -> str:
    """What a test wrote down about the process."""
    return "it cannot serve" if note.exists() and note.read_text() == str(pid) else ""


if __name__ == "__main__":
    sys.exit(run(compose, sys.argv[1:], dict(os.environ)))
