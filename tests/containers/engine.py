"""What a test does to containers of the mesh, whoever started them: find, kill, stop, restart, ask."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import docker
from docker.errors import DockerException
from docker.models.containers import Container
from plimsoll_testkit.waiting import eventually

PROJECT_LABEL, SERVICE_LABEL = "com.docker.compose.project", "com.docker.compose.service"  # as compose has them
_HEALTHY_WITHIN_S = 240.0
_ONCE_WITHIN_S = 90.0


def answers() -> bool:
    """Whether a Docker engine answers here."""
    try:
        client = docker.from_env(timeout=5)
        client.ping()
        client.close()
    except (DockerException, OSError):
        return False
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a command in a container said, and its exit code."""

    code: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a container ended, and after how many seconds."""

    code: int
    after_s: float


class Engine:
    """The containers of one project."""

    def __init__(self, project: str) -> None:
        self.project = project
        self.client = docker.from_env(timeout=180)

    def close(self) -> None:
        self.client.close()

    def containers(self, service: str = "", *, gone_too: bool = False) -> list[Container]:
        """Those of a service, or all."""
        labels = [f"{PROJECT_LABEL}={self.project}", *([f"{SERVICE_LABEL}={service}"] if service else [])]
        found = self.client.containers.list(all=gone_too, filters={"label": labels}, ignore_removed=True)
        return sorted(found, key=lambda one: str(one.name))

    async def port(self, service: str, inside: int) -> int:
        """Where a port of the service is on this machine."""
        container = self.containers(service)[0]
        await asyncio.to_thread(container.reload)
        return int(container.ports[f"{inside}/tcp"][0]["HostPort"])

    async def run(self, service: str, *command: str) -> Said:
        """Run a command in the first container of a service."""
        code, out = await asyncio.to_thread(self.containers(service)[0].exec_run, list(command))
        return Said(code=code, text=out.decode(errors="replace"))

    async def kill(self, service: str, number: int = 0) -> None:
        """SIGKILL, and bring it back."""
        container = self.containers(service)[number]
        await asyncio.to_thread(container.kill)
        await asyncio.to_thread(container.start)

    async def stop(self, service: str, *, grace_s: int) -> Ended:
        """`docker stop` of the first container of a service."""
        container = self.containers(service)[0]
        began = time.monotonic()
        await asyncio.to_thread(container.stop, timeout=grace_s)
        after_s = time.monotonic() - began
        await asyncio.to_thread(container.reload)
        return Ended(code=int(container.attrs["State"]["ExitCode"]), after_s=after_s)

    async def start(self, service: str) -> None:
        """Start what was stopped."""
        for container in self.containers(service, gone_too=True):
            await asyncio.to_thread(container.start)

    async def restart(self, service: str) -> None:
        """Stop and start all of a service."""
        for container in self.containers(service):
            await asyncio.to_thread(container.restart, timeout=30)

    async def healthy(self, *services: str) -> None:
        """Wait until every container of the services, or of all that have a health check, is healthy."""
        for service in services or sorted({str(one.labels[SERVICE_LABEL]) for one in self.containers()}):
            try:
                await eventually(lambda service=service: self._all_healthy(service), within_s=_HEALTHY_WITHIN_S)
            except AssertionError as error:
                raise AssertionError(f"{service} is not healthy: {self.logs(service)[-1500:]}") from error

    async def _all_healthy(self, service: str) -> bool:
        states = [one.attrs["State"] for one in await asyncio.to_thread(self.containers, service)]
        return bool(states) and all(state.get("Health", {}).get("Status", "healthy") == "healthy" for state in states)

    def logs(self, service: str) -> str:
        """Everything the containers of a service have written."""
        return "".join(said(one) for one in self.containers(service, gone_too=True))

    async def once(self, beside: "Beside", enough: Callable[[str], bool] = lambda _: False) -> Said:
        """Run a container that belongs to nobody, to its end or until it has said enough."""
        async with self.running(beside) as container:

            async def ended_or_enough() -> bool:
                await asyncio.to_thread(container.reload)
                return container.status == "exited" or enough(said(container))

            await eventually(ended_or_enough, within_s=_ONCE_WITHIN_S)
            return Said(code=int(container.attrs["State"]["ExitCode"]), text=said(container))

    @asynccontextmanager
    async def running(self, beside: "Beside") -> AsyncIterator[Container]:
        """A container that is no part of the mesh, while it is needed; one that a killed run left goes first."""
        for left in self.client.containers.list(all=True, filters={"name": f"^/{self.project}-{beside.name}$"}) if beside.name else ():
            left.remove(force=True)
        container = await asyncio.to_thread(
            lambda: self.client.containers.create(
                beside.image,
                list(beside.command[1:]),
                entrypoint=beside.command[0],
                name=f"{self.project}-{beside.name}" if beside.name else None,
                network=beside.network,
                environment=list(beside.environment),
                volumes=list(beside.mounts),
                tmpfs=dict(beside.tmpfs),
                **beside.options,
            )
        )
        try:
            await asyncio.to_thread(container.start)
            yield container
        finally:
            await asyncio.to_thread(lambda: container.remove(force=True))


def said(container: Container) -> str:
    """Everything that a container has written."""
    return container.logs().decode(errors="replace")


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """A container beside the mesh: what it runs, and what it is given. With a name it can be reached as `<project>-<name>`.

    options  more that the engine takes, by its client's names
    """

    image: str
    command: Sequence[str]
    name: str = ""
    network: str = "none"
    mounts: Sequence[str] = ()
    environment: Sequence[str] = ()
    tmpfs: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, object] = field(default_factory=dict)
