"""The embedded NATS server with JetStream: its configuration, its users and what each may do."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from plimsoll_devstack.files import private_directory, write_private
from plimsoll_devstack.names import LOOPBACK, SERVICES
from plimsoll_devstack.parts import tail
from plimsoll_devstack.processes import Program

_PING_WITHIN_S = 1.0  # short: a stranger on our port may accept and stay silent, while our process has ended

OPERATOR = "operator"
"""The one user beside the services who sees their streams, and may do anything with them."""

_READS = {"feedback": ("orchestrator", "tool_dispatcher", "model_router", "memory")}
"""Whose events a service consumes besides its own."""

_OWNS = {"orchestrator": ("PLIMSOLL_ORCHESTRATOR_HINTS",)}
"""Streams of a service besides that of its events."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NatsServer:
    """One server below `directory`, listening on `port`; the services and the operator share one account; any guest is alone in its own."""

    program: Path
    directory: Path
    port: int
    passwords: dict[str, str] = field(repr=False)
    log: Path

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"{LOOPBACK}:{self.port}"

    def url(self, user: str) -> str:
        """How `user` connects; holds its password."""
        return f"nats://{user}:{self.passwords[user]}@{LOOPBACK}:{self.port}"

    def prepare(self) -> Program:
        """Write the configuration and say how to start."""
        private_directory(self.directory)
        configuration = self.directory / "nats.json"
        write_private(configuration, json.dumps(self._configuration(), indent=2))
        return Program(
            name="nats",
            argv=(str(self.program), "-c", str(configuration)),
            env={},
            cwd=self.directory,
            log=self.log,
        )

    async def ping(self) -> None:
        """Raise OSError until the server greets a connection."""
        async with asyncio.timeout(_PING_WITHIN_S):
            reader, writer = await asyncio.open_connection(LOOPBACK, self.port)
            try:
                greeting = await reader.readline()
            finally:
                writer.close()
                await writer.wait_closed()
        if not greeting.startswith(b"INFO "):
            raise ConnectionError("what listens there is not NATS")

    def sick(self, pid: int) -> str:
        """A stream that once could not be written, for want of space, refuses everything until the server is started anew."""
        said = (line for line in tail(self.log) if line.startswith(f"[{pid}]"))
        problem = next((line for line in said if "[ERR]" in line and ("write error" in line or "no space left" in line)), "")
        return f"a stream cannot be written: {problem.rpartition(': ')[2]}" if problem else ""

    def _configuration(self) -> dict[str, object]:
        return {
            "listen": f"{LOOPBACK}:{self.port}",
            "server_name": "plimsoll-devstack",
            "max_payload": 1_048_576,
            "jetstream": {
                "store_dir": str(self.directory / "jetstream"),
                "max_memory_store": 1 << 30,
                "max_file_store": 64 << 30,  # what streams may reserve together; each has a bound of its own
                "sync_interval": "2m",
            },
            "accounts": accounts(self.passwords),
        }


def accounts(passwords: Mapping[str, str]) -> dict[str, object]:
    """The mesh's account with the services and the operator, and one for each guest."""
    guests = sorted(passwords.keys() - {*SERVICES, OPERATOR})
    return {
        "mesh": {"jetstream": "enabled", "users": [_user(name, passwords) for name in (*SERVICES, OPERATOR)]},
        **{guest: {"jetstream": "enabled", "users": [_user(guest, passwords)]} for guest in guests},
    }


def _user(name: str, passwords: Mapping[str, str]) -> dict[str, object]:
    login: dict[str, object] = {"user": name, "password": passwords[name]}
    return login | {"permissions": permissions(name)} if name in SERVICES else login


def permissions(service: str) -> dict[str, object]:
    """A service speaks in its own name only, and consumes the streams it reads; it cannot delete or purge any."""
    read = (service, *_READS.get(service, ()))
    streams = [*(f"PLIMSOLL_{name.upper()}" for name in (*read, "dead_letter")), *_OWNS.get(service, ())]
    stream_calls = [f"$JS.API.STREAM.{verb}.{stream}" for verb in ("CREATE", "UPDATE", "INFO", "MSG.GET") for stream in streams]
    consumer_verbs = ("CREATE", "DURABLE.CREATE", "INFO", "MSG.NEXT")
    consumer_calls = [f"$JS.API.CONSUMER.{verb}.{stream}.>" for verb in consumer_verbs for stream in streams]
    return {
        "publish": [
            f"plimsoll.v1.{service}.>",
            "plimsoll.v1.dead_letter.>",
            "$JS.API.INFO",
            "$JS.API.STREAM.NAMES",
            *stream_calls,
            *consumer_calls,
            *(f"$JS.ACK.{stream}.>" for stream in streams),
        ],
        "subscribe": [*(f"plimsoll.v1.{name}.>" for name in read), "_INBOX.>"],
    }
