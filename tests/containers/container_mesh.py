"""The running mesh of containers: how tests reach it, change it and look behind it."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import orjson
from doors import Door
from engine import Beside, Engine
from fleets import Fleet, Wanted
from plimsoll_runtime.json_types import JsonObject

SERVICES = ("gateway", "orchestrator", "worker", "tool-dispatcher", "model-router", "memory", "feedback")
_PROBE = "import sys, urllib.request as u; sys.stdout.write(u.urlopen('http://127.0.0.1:7001/metrics', timeout=5).read().decode())"


class ContainerMesh:
    """One mesh; its gateway's ports change when the gateway is replaced, so ask `door` each time."""

    def __init__(self, fleet: Fleet, engine: Engine, wanted: Wanted, place: Path) -> None:
        self.fleet = fleet
        self.engine = engine
        self.wanted = wanted
        self.place = place
        self.door = Door("", "", "", place)

    async def up(self) -> None:
        """Start from nothing."""
        await self.fleet.down(self.wanted)
        await self.fleet.up(self.wanted)
        await self.find_door()

    async def down(self) -> None:
        await self.fleet.down(self.wanted)

    async def change(self, variables: Mapping[str, str]) -> None:
        """The same mesh with other variables, and what the providers' file says now: what they touch is replaced."""
        self.wanted = replace(self.wanted, variables={**self.wanted.variables, **variables})
        await self.fleet.up(self.wanted)
        await self.find_door()

    async def find_door(self) -> None:
        """Where the gateway is now, and its first key."""
        said = await self.engine.run("gateway", "cat", "/var/lib/plimsoll/api-key")
        assert said.code == 0, said.text
        url = f"http://127.0.0.1:{await self.engine.port('gateway', 8080)}"
        self.door = Door(url, f"127.0.0.1:{await self.engine.port('gateway', 8081)}", said.text.strip(), self.place)

    def image(self, service: str) -> str:
        """The image of a service."""
        return f"plimsoll/{service}:{self.wanted.variables['PLIMSOLL_TAG']}"

    @property
    def network(self) -> str:
        """Where the mesh's containers meet."""
        return f"{self.engine.project}_mesh"

    def another(self, service: str, settings: Mapping[str, str], *, secrets: Path | None = None, mounts: Sequence[str] = ()) -> Beside:
        """One more of a service beside the mesh, with other settings: one that is given here takes the place of its file."""
        image = {"worker": "orchestrator"}.get(service, service)
        own: list[str] = self.engine.containers(service)[0].attrs["Config"]["Env"]
        kept = [pair for pair in own if pair.startswith("PLIMSOLL_") and pair.partition("=")[0].removesuffix("_FILE") not in settings]
        return Beside(
            image=self.image(image),
            command=["python3", "-m", f"plimsoll_{image.replace('-', '_')}"],
            network=self.network,
            mounts=[f"{secrets or self.place / 'secrets'}/{image}:/run/secrets:ro", *mounts],
            environment=[*kept, *(f"{name}={value}" for name, value in settings.items())],
        )

    async def query(self, database: str, statement: str) -> list[JsonObject]:
        """The rows of a query, as the database's superuser."""
        text = f"select coalesce(json_agg(found), '[]') from ({statement}) as found"
        said = await self.engine.run("postgres", "psql", "-U", "postgres", "-d", database, "-A", "-t", "-c", text)
        assert said.code == 0, said.text
        rows: list[JsonObject] = orjson.loads(said.text)
        return rows

    async def effects(self, names: Sequence[str]) -> list[tuple[str, int]]:
        """What the steps of these runs of the agent `effects` have done to the world."""
        listed = ", ".join(f"'{name}'" for name in names)
        rows = await self.query("examples", f"select name, step from effects where name in ({listed})")
        return sorted((str(row["name"]), int(str(row["step"]))) for row in rows)

    async def metrics(self, service: str) -> list[str]:
        """The metrics of every container of a service."""
        found = []
        for container in self.engine.containers(service):
            code, out = await asyncio.to_thread(container.exec_run, ["python3", "-c", _PROBE])
            assert code == 0, out
            found.append(out.decode())
        return found
