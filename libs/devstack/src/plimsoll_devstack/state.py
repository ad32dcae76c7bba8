"""What a data directory records about its mesh: the phase, the addresses, and every process by id and start time.

`mesh.json` is written by the supervisor alone and read by everybody; `mesh.lock` is held by the supervisor while it lives.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path

import orjson

from plimsoll_devstack.errors import Busy, OtherVersion
from plimsoll_devstack.files import private_directory, write_private
from plimsoll_devstack.processes import ProcessId, find
from plimsoll_devstack.servers.postgres import MAJOR

FORMAT = 1


class Phase(StrEnum):
    """Where a mesh is in its life."""

    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"


class PartPhase(StrEnum):
    """Where one process of the mesh is in its life."""

    STARTING = "starting"
    READY = "ready"
    WAITING = "waiting"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class PartState:
    """One process of the mesh. `process` is None while none runs; `problem` says why it was last restarted."""

    name: str
    rank: int
    phase: PartPhase
    address: str = ""
    process: ProcessId | None = None
    stop_signal: int = 15
    since: float = 0.0
    restarts: int = 0
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshState:
    """The whole mesh as last recorded."""

    format: int = FORMAT
    postgres: str = MAJOR
    phase: Phase
    problem: str = ""
    agents: str = ""
    supervisor: ProcessId | None = None
    http_url: str = ""
    grpc_address: str = ""
    api_key_file: str = ""
    parts: tuple[PartState, ...] = ()

    def part(self, name: str) -> PartState | None:
        """The part of that name."""
        return next((part for part in self.parts if part.name == name), None)

    def with_part(self, changed: PartState) -> "MeshState":
        """The same mesh with one part replaced."""
        return replace(self, parts=tuple(changed if part.name == changed.name else part for part in self.parts))

    @property
    def supervised(self) -> bool:
        """Whether the supervisor that wrote this still lives."""
        return self.supervisor is not None and find(self.supervisor) is not None


class MeshFiles:
    """The files of one data directory."""

    def __init__(self, data: Path) -> None:
        self.data = data.expanduser().absolute()
        self.state = self.data / "mesh.json"
        self.lock = self.data / "mesh.lock"
        self.logs = self.data / "logs"
        self.tls = self.data / "tls"
        self.tool_credentials = self.data / "tool-credentials"
        self.workspaces = self.data / "workspaces"
        self.ports = self.data / "ports.json"
        self.api_key = self.data / "api-key"
        self.faults = self.data / "faults.json"

    def log(self, part: str) -> Path:
        """The log of one part."""
        return self.logs / f"{part}.log"

    def read(self) -> MeshState | None:
        """What was last recorded, None when there was never a mesh. Raises OtherVersion for a directory we must not touch."""
        try:
            text = self.state.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            stored = orjson.loads(text)
            found = (stored["format"], stored["postgres"])
            state = _state(stored) if found == (FORMAT, MAJOR) else None
        except (orjson.JSONDecodeError, LookupError, TypeError, ValueError) as error:
            raise OtherVersion(
                f"{self.state} is damaged", remedy="End the mesh's processes if any still run, then remove that file; the data is kept"
            ) from error
        if state is None:
            raise OtherVersion(
                f"data directory {self.data} has format {found[0]} with PostgreSQL {found[1]}; this version has format {FORMAT} with {MAJOR}",
                remedy="Use the Plimsoll version that made it, or another --data directory",
            )
        return state

    def write(self, state: MeshState) -> None:
        """Record `state` in one step."""
        write_private(self.state, orjson.dumps(asdict(state), option=orjson.OPT_INDENT_2).decode())

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the directory; the kernel lets go when this process ends, however it ends. Raises Busy when another holds it."""
        private_directory(self.data)
        descriptor = os.open(self.lock, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise Busy(
                    f"another `plimsoll up` holds data directory {self.data}",
                    remedy="See `plimsoll status`; wait for it, stop it with `plimsoll down`, or choose another --data",
                ) from error
            yield
        finally:
            os.close(descriptor)


def _state(stored: dict[str, object]) -> MeshState:
    parts = stored["parts"]
    if not isinstance(parts, list):
        raise TypeError("parts is no list")
    return MeshState(
        phase=Phase(str(stored["phase"])),
        problem=str(stored["problem"]),
        agents=str(stored["agents"]),
        supervisor=_process(stored["supervisor"]),
        http_url=str(stored["http_url"]),
        grpc_address=str(stored["grpc_address"]),
        api_key_file=str(stored["api_key_file"]),
        parts=tuple(
            PartState(
                name=part["name"],
                rank=part["rank"],
                phase=PartPhase(part["phase"]),
                address=part["address"],
                process=_process(part["process"]),
                stop_signal=part["stop_signal"],
                since=part["since"],
                restarts=part["restarts"],
                problem=part["problem"],
            )
            for part in parts
        ),
    )


def _process(stored: object) -> ProcessId | None:
    return ProcessId(pid=stored["pid"], started_at=stored["started_at"]) if isinstance(stored, dict) else None
