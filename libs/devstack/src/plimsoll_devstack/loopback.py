"""Which loopback ports are free, and which one a data directory uses for what."""

import errno
import random
import socket
from collections.abc import Collection
from pathlib import Path

import orjson

from plimsoll_devstack.errors import PortTaken
from plimsoll_devstack.files import write_private
from plimsoll_devstack.names import LOOPBACK

_LOWEST, _HIGHEST = 20_000, 32_000
"""Below the range from which Linux and macOS take ports for outgoing connections, so none of those can take ours."""
_ATTEMPTS = 200


def is_free(port: int) -> bool:
    """Whether a server could listen on `port` now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise
    return True


def unused_port(rng: random.Random, taken: Collection[int] = ()) -> int:
    """A port where nobody listens and that is not among the `taken`. Raises PortTaken when none is found."""
    for _ in range(_ATTEMPTS):
        port = rng.randrange(_LOWEST, _HIGHEST)
        if port not in taken and is_free(port):
            return port
    raise PortTaken(
        f"no free port found between {_LOWEST} and {_HIGHEST} on {LOOPBACK}", remedy="Stop servers you no longer need, then try again"
    )


class PortBook:
    """The ports of one data directory by name, kept in a file so that addresses stay the same between starts."""

    def __init__(self, path: Path, *, rng: random.Random | None = None) -> None:
        self._path = path
        self._rng = rng or random.SystemRandom()
        self._ports = _read(path)

    def port(self, name: str) -> int:
        """The remembered port of `name` when it is free, else a new one that is remembered instead."""
        remembered = self._ports.get(name)
        if remembered is not None and is_free(remembered):
            return remembered
        return self._remember(name, unused_port(self._rng, self._ports.values()))

    def recorded(self, name: str) -> int:
        """The remembered port of `name`, whoever listens there; 0 when there is none."""
        return self._ports.get(name, 0)

    def fixed(self, name: str, port: int, *, option: str) -> int:
        """Give `name` the port that somebody asked for by `option`; refuse when it is in use."""
        if not is_free(port):
            raise PortTaken(f"port {port} is in use", remedy=f"Stop what listens there, or choose another with {option}")
        return self._remember(name, port)

    def _remember(self, name: str, port: int) -> int:
        self._ports[name] = port
        write_private(self._path, orjson.dumps(self._ports, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS).decode())
        return port


def _read(path: Path) -> dict[str, int]:
    try:
        stored = orjson.loads(path.read_bytes())
    except (FileNotFoundError, orjson.JSONDecodeError):
        return {}  # only remembered for convenience: a lost or broken book is rewritten
    if not isinstance(stored, dict):
        return {}
    return {str(name): port for name, port in stored.items() if isinstance(port, int) and 0 < port < 65_536}
