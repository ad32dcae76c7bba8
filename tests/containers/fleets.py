"""The mesh of deploy/compose.yaml, started in one of two ways: by compose, or by testcontainers from the same file.

The second needs nothing but an engine. It reads as much of the compose file as that file uses and refuses the rest, so that
what the tests prove is what the file says.
"""

import asyncio
import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import yaml
from docker.models.networks import Network
from engine import PROJECT_LABEL, SERVICE_LABEL, Engine
from plimsoll_runtime.json_types import JsonObject, JsonValue
from plimsoll_testkit.waiting import eventually
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = ROOT / "deploy" / "compose.yaml"
_FOR_TESTS = ROOT / "deploy" / "compose.test.yaml"
_VARIABLE = re.compile(r"\$\{([A-Z0-9_]+)(?::-([^}]*))?\}")
_AS_IT_IS = frozenset({"entrypoint", "init", "read_only", "cap_drop", "security_opt", "mem_limit", "shm_size"})
_TRANSLATED = frozenset({"command", "environment", "env_file", "healthcheck", "image", "networks", "ports", "restart", "tmpfs", "volumes"})
_KNOWN = _AS_IT_IS | _TRANSLATED | {"depends_on", "stop_grace_period"}
_PROVISIONED_WITHIN_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the tests want of a mesh: the variables of the compose file, and how many containers of a service."""

    project: str
    variables: Mapping[str, str]
    scale: Mapping[str, int] = field(default_factory=dict)


class Fleet(Protocol):
    """A way to start the mesh."""

    async def up(self, wanted: Wanted) -> None:
        """Start what is not there, and replace what is there with other settings or another image; wait until all is ready."""

    async def down(self, wanted: Wanted) -> None:
        """Remove everything, volumes too; also what a run that was killed left."""


class ComposeFleet:
    """`docker compose`, as client teams use it."""

    async def up(self, wanted: Wanted) -> None:
        scale = [word for service, number in wanted.scale.items() for word in ("--scale", f"{service}={number}")]
        await self._compose(wanted, "up", "--detach", "--wait", "--wait-timeout", "180", *scale)

    async def down(self, wanted: Wanted) -> None:
        await self._compose(wanted, "down", "--volumes", "--timeout", "30")

    async def _compose(self, wanted: Wanted, *command: str) -> None:
        words = ["docker", "compose", "--project-name", wanted.project, "--file", str(COMPOSE), "--file", str(_FOR_TESTS), *command]
        environment = {**os.environ, **wanted.variables}
        done = await asyncio.to_thread(subprocess.run, words, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]


class TestcontainersFleet:
    """The engine alone, by way of testcontainers."""

    __test__ = False  # its name begins like that of a test

    def __init__(self) -> None:
        testcontainers_config.ryuk_disabled = True  # an image that a host without a registry cannot have; `down` removes by label
        self._running: dict[str, JsonObject] = {}

    async def up(self, wanted: Wanted) -> None:
        engine = Engine(wanted.project)
        try:
            services = read_services(wanted.variables)
            networks = {name: await asyncio.to_thread(_network, engine, name, internal=name == "mesh") for name in ("mesh", "outside")}
            for service in sorted(services, key=lambda name: len(_conditions(services[name]))):  # servers before what depends on them
                if self._running.get(service) != services[service]:
                    await self._replace(engine, service, services[service], networks, wanted.scale.get(service, 1))
            await engine.healthy()
        finally:
            engine.close()

    async def down(self, wanted: Wanted) -> None:
        engine = Engine(wanted.project)
        try:
            await asyncio.to_thread(_remove_all, engine)
        finally:
            engine.close()
        self._running.clear()

    async def _replace(self, engine: Engine, service: str, wanted: JsonObject, networks: Mapping[str, Network], number: int) -> None:
        await _depended_on(engine, wanted)
        old = await asyncio.to_thread(engine.containers, service, gone_too=True)
        for container in old:
            await asyncio.to_thread(container.stop, timeout=30)
            await asyncio.to_thread(container.remove)
        for _ in range(number):
            await asyncio.to_thread(_start, engine, service, wanted, networks)
        self._running[service] = wanted
        if old:  # one after the other
            await engine.healthy(service)


def _start(engine: Engine, service: str, wanted: JsonObject, networks: Mapping[str, Network]) -> None:
    first, *others = reversed(_words(wanted["networks"]))  # what is published is on the way outside
    container = DockerContainer(
        str(wanted["image"]),
        env={name: str(value) for name, value in _object(wanted["environment"]).items()},
        volumes=[_mounted(engine.project, volume) for volume in _words(wanted.get("volumes", []))],
        network=networks[first],  # type: ignore[arg-type] # has the name, which is all that is read
        network_aliases=[service],
        labels={PROJECT_LABEL: engine.project, SERVICE_LABEL: service},
        **_options(wanted),
    )
    if "command" in wanted:
        container.with_command(_words(wanted["command"]))
    for place in _words(wanted.get("tmpfs", [])):
        container.with_tmpfs_mount(place)
    for port in _words(wanted.get("ports", [])):
        container.ports[port.split(":")[-1]] = ("127.0.0.1", None)  # type: ignore[assignment] # narrower than what the engine takes
    container.start()
    for name in others:
        networks[name].connect(container.get_wrapped_container(), aliases=[service])


def read_services(variables: Mapping[str, str]) -> dict[str, JsonObject]:
    """The services of the compose file, with the variables put in. Refuses what `_start` does not understand."""
    text = _VARIABLE.sub(lambda found: variables.get(found[1]) or found[2] or "", COMPOSE.read_text()).replace("$$", "$")
    services: dict[str, JsonObject] = yaml.safe_load(text)["services"]
    for name, service in services.items():
        assert set(service) <= _KNOWN, f"{name} uses {sorted(set(service) - _KNOWN)}: teach TestcontainersFleet to read it"
        service["environment"] = {**_from_files(service.pop("env_file", [])), **_object(service.get("environment", {}))}
    return services


def _from_files(files: JsonValue) -> JsonObject:
    """The lines of the files that are there."""
    assert isinstance(files, list)
    paths = [COMPOSE.parent / str(_object(one)["path"]) for one in files]
    lines = [line for path in paths if path.exists() for line in path.read_text().splitlines()]
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def _conditions(service: JsonObject) -> dict[str, str]:
    return {name: str(_object(how)["condition"]) for name, how in _object(service.get("depends_on", {})).items()}


async def _depended_on(engine: Engine, service: JsonObject) -> None:
    for name, condition in _conditions(service).items():
        match condition:
            case "service_healthy":
                await engine.healthy(name)
            case "service_completed_successfully":
                await eventually(lambda name=name: _completed(engine, name), within_s=_PROVISIONED_WITHIN_S)
            case _:
                raise AssertionError(f"unknown condition {condition}")


async def _completed(engine: Engine, service: str) -> bool:
    found = await asyncio.to_thread(engine.containers, service, gone_too=True)
    return all(one.status == "exited" and one.attrs["State"]["ExitCode"] == 0 for one in found)


def _options(wanted: JsonObject) -> dict[str, object]:
    """What testcontainers hands to the engine's client as it is."""
    translated: dict[str, object] = {name: wanted[name] for name in _AS_IT_IS if name in wanted}
    if "healthcheck" in wanted:
        check = _object(wanted["healthcheck"])
        times = {name: int(str(check[name]).removesuffix("s")) * 1_000_000_000 for name in ("interval", "timeout")}
        translated["healthcheck"] = {"test": check["test"], "retries": check["retries"], **times}
    if wanted.get("restart") == "unless-stopped":
        translated["restart_policy"] = {"Name": "unless-stopped"}
    return translated


def _mounted(project: str, volume: str) -> tuple[str, str, str]:
    """Where it comes from, where it goes, and how."""
    source, place, *how = volume.split(":")
    outside = str((COMPOSE.parent / source).resolve()) if source.startswith((".", "/")) else f"{project}_{source}"
    return outside, place, how[0] if how else "rw"


def _object(value: JsonValue) -> JsonObject:
    assert isinstance(value, dict)
    return value


def _words(value: JsonValue) -> list[str]:
    assert isinstance(value, list)
    return [str(word) for word in value]


def _network(engine: Engine, name: str, *, internal: bool) -> Network:
    whole = f"{engine.project}_{name}"
    found = engine.client.networks.list(names=[f"^{whole}$"])
    return found[0] if found else engine.client.networks.create(whole, internal=internal, labels={PROJECT_LABEL: engine.project})


def _remove_all(engine: Engine) -> None:
    for container in engine.containers(gone_too=True):
        container.remove(force=True)
    for network in engine.client.networks.list(filters={"label": f"{PROJECT_LABEL}={engine.project}"}):
        network.remove()
    for volume in engine.client.volumes.list():
        if str(volume.name).startswith(f"{engine.project}_"):
            volume.remove()
