"""Servers and worker processes of a test's own, to be ended and started again in mid-load."""

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nats
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig
from plimsoll_devstack.parts import Part, until_ready
from plimsoll_devstack.probe import probe_ready
from plimsoll_devstack.processes import Child, Program
from plimsoll_devstack.servers import configure, server_parts
from plimsoll_devstack.servers.nats import OPERATOR
from plimsoll_orchestrator.adapters.journal_outbox import SUBJECT
from plimsoll_testkit.ports import free_port

EVENTS = "PLIMSOLL_ORCHESTRATOR"
_START_WITHIN_S = 60.0


class Outages:
    """PostgreSQL, NATS and two workers."""

    def __init__(self, directory: Path) -> None:
        servers = configure(directory)  # what is accepted has to survive a crash of the server
        self.dsn = servers.postgres.dsn("orchestrator")
        self.nats_url = servers.nats.url("orchestrator")
        self.operator_url = servers.nats.url(OPERATOR)
        self._parts = {part.name: part for part in server_parts(servers) if part.name != "redis"}
        for name in ("worker-1", "worker-2"):
            self._parts[name] = self._worker(directory, name)
        self.children: dict[str, Child] = {}

    def _worker(self, directory: Path, name: str) -> Part:
        admin = free_port()
        settings = {
            "ROLE": "worker",
            "INSECURE": "true",
            "GRPC_LISTEN": "127.0.0.1:0",
            "ADMIN_LISTEN": f"127.0.0.1:{admin}",
            "POSTGRES_DSN": self.dsn,
            "NATS_URL": self.nats_url,
            **{f"{peer}_ADDRESS": "127.0.0.1:1" for peer in ("MODEL_ROUTER", "TOOL_DISPATCHER", "MEMORY")},
        }
        program = Program(
            name=name,
            argv=(sys.executable, "-m", "plimsoll_orchestrator"),
            env={"PATH": os.environ["PATH"]} | {f"PLIMSOLL_ORCHESTRATOR_{key}": value for key, value in settings.items()},
            cwd=directory,
            log=directory / "logs" / f"{name}.log",
        )
        return Part(name=name, rank=1, prepare=lambda: program, ready=lambda: probe_ready(admin), ready_within_s=_START_WITHIN_S)

    async def start(self, *names: str) -> None:
        """Returns when they serve."""
        async with asyncio.timeout(_START_WITHIN_S), asyncio.TaskGroup() as group:
            for name in names:
                self.children[name] = Child(self._parts[name].prepare())
                group.create_task(until_ready(self._parts[name], self.children[name]))

    async def end(self, name: str, number: signal.Signals) -> int:
        """Send the signal; how it ended."""
        child = self.children.pop(name)
        child.send(number)
        async with asyncio.timeout(_START_WITHIN_S):
            return await child.wait()

    async def stop(self) -> None:
        for name in reversed(list(self.children)):
            await self.children[name].stop()


@contextmanager
def running(directory: Path) -> Iterator[Outages]:
    """The two servers and two workers run inside the block."""
    with asyncio.Runner() as runner:
        outages = Outages(directory)
        try:
            runner.run(outages.start("postgres", "nats"))
            runner.run(outages.start("worker-1", "worker-2"))
            yield outages
        finally:
            runner.run(outages.stop())


class Published:
    """The ids of the events that were ever published: what a listener heard, and what a stream holds."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.ids: set[str] = set()

    async def listen(self) -> nats.NATS:
        """Hear from now on; the caller closes the connection."""
        client = await nats.connect(self._url, max_reconnect_attempts=-1, reconnect_time_wait=0.05, error_cb=_ignore)
        await client.subscribe(SUBJECT, cb=self._hear)
        await client.flush()
        return client

    async def _hear(self, message: Msg) -> None:
        self.ids.add((message.headers or {}).get("Nats-Msg-Id", ""))

    async def read_stream(self) -> None:
        """Take in what the stream holds."""
        client = await nats.connect(self._url)
        try:
            pulling = await client.jetstream().pull_subscribe(SUBJECT, stream=EVENTS, config=ConsumerConfig(ack_policy=AckPolicy.NONE))
            while (await pulling.consumer_info()).num_pending:
                for message in await pulling.fetch(1000, timeout=5):
                    await self._hear(message)
        finally:
            await client.close()

    async def delete_streams(self) -> None:
        client = await nats.connect(self._url)
        try:
            streams = client.jetstream()
            for info in await streams.streams_info():
                await streams.delete_stream(info.config.name or "")
        finally:
            await client.close()


async def _ignore(error: Exception) -> None:
    """Connections that break are what these tests are about."""
