"""The embedded Redis server: its configuration, and one user per service that sees only its own keys."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

from plimsoll_devstack.files import private_directory, write_private
from plimsoll_devstack.names import LOOPBACK, SERVICES
from plimsoll_devstack.processes import Program

_PING_WITHIN_S = 1.0  # short: a stranger on our port may accept and stay silent, while our process has ended


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisServer:
    """One server below `directory`, listening on `port`; users that are no service, the operator and guests, may do everything."""

    program: Path
    directory: Path
    port: int
    passwords: dict[str, str] = field(repr=False)
    log: Path
    durable: bool = True

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"{LOOPBACK}:{self.port}"

    def url(self, user: str, *, database: int = 0) -> str:
        """How `user` connects; holds its password."""
        return f"redis://{user}:{self.passwords[user]}@{LOOPBACK}:{self.port}/{database}"

    def prepare(self) -> Program:
        """Write the configuration and say how to start."""
        private_directory(self.directory)
        configuration = self.directory / "redis.conf"
        write_private(configuration, self._configuration())
        return Program(name="redis", argv=(str(self.program), str(configuration)), env={"LC_ALL": "C"}, cwd=self.directory, log=self.log)

    async def ping(self) -> None:
        """Raise OSError until the server answers, even if only to ask for a password."""
        async with asyncio.timeout(_PING_WITHIN_S):
            reader, writer = await asyncio.open_connection(LOOPBACK, self.port)
            try:
                writer.write(b"PING\r\n")
                answer = await reader.readline()
            finally:
                writer.close()
                await writer.wait_closed()
        if not answer.startswith((b"+PONG", b"-NOAUTH")):
            raise ConnectionError("Redis is still loading, or what listens there is not Redis")

    def _configuration(self) -> str:
        lines = [
            f"bind {LOOPBACK}",
            f"port {self.port}",
            "protected-mode yes",
            f"dir {_quoted(str(self.directory))}",
            'save ""',
            f"appendonly {'yes' if self.durable else 'no'}",
            "appendfsync everysec",
            "databases 64",
            "maxmemory 256mb",
            "maxmemory-policy volatile-ttl",
            "user default off",
            *(f"user {name} on >{password} {rights(name)}" for name, password in sorted(self.passwords.items())),
        ]
        return "\n".join(lines) + "\n"


def rights(user: str) -> str:
    """What a user may do, in the words of Redis: a service may read and write its own keys and channels only."""
    if user in SERVICES:
        return f"~plimsoll:{user}:* resetchannels &plimsoll:{user}:* +@all -@admin -@dangerous +info"
    return "~* &* +@all"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
