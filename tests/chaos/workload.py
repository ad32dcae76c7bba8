"""The workload: runs of all agents, submitted under keys until they are accepted, whatever happens to the mesh meanwhile."""

import asyncio
import json
import random
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from plimsoll_client import connect
from plimsoll_client.mesh import Mesh as Client
from plimsoll_devstack.mesh import Mesh
from plimsoll_runtime.errors import PlimsollError
from plimsoll_runtime.json_types import JsonObject

ROOT = Path(__file__).resolve().parents[2]
OWNER, NEIGHBOUR = "default", "neighbour"
AT_ONCE = 16
_AGAIN_S = 0.3

Tenants: TypeAlias = Mapping[str, str]
"""The key of each tenant: the owner, who has all agents, and the neighbour, who has the one whose effects are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A run that the mesh said it has taken."""

    run_id: str
    tenant: str
    agent: str
    key: str
    input: JsonObject


@dataclass(slots=True)
class Workload:
    """Runs of two tenants in a steady stream; what an outage held up is made up for afterwards, as fast as it goes.

    Attributes:
    every_s  seconds from one run to the next
    refused  how often a submission was refused, by reason; it was made again
    """

    mesh: Mesh
    keys: Tenants
    seed: int
    every_s: float
    accepted: list[Accepted] = field(default_factory=list)
    refused: dict[str, int] = field(default_factory=dict)
    _number: int = 0

    async def run(self, stop: asyncio.Event, most: int) -> None:
        """Submit until `stop`, or until so many runs were accepted."""
        inputs, began = Inputs(self.seed), time.monotonic()
        async with AsyncExitStack() as stack:
            clients = {
                tenant: await stack.enter_async_context(connect(address=self.mesh.grpc_address, api_key=key))
                for tenant, key in self.keys.items()
            }
            async with asyncio.TaskGroup() as group:
                for _ in range(AT_ONCE):
                    group.create_task(self._submit_on(clients, inputs, stop, most, began))

    async def _submit_on(self, clients: Mapping[str, Client], inputs: "Inputs", stop: asyncio.Event, most: int, began: float) -> None:
        while not stop.is_set() and self._number < most:
            number = self._number = self._number + 1
            tenant, agent, value = inputs.next(number)
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, began + number * self.every_s - time.monotonic())):
                    await stop.wait()
            if not stop.is_set():
                key = f"chaos-{self.seed}-{number}"
                run_id = await self._submit(clients[tenant], agent, value, key)
                self.accepted.append(Accepted(run_id=run_id, tenant=tenant, agent=agent, key=key, input=value))

    async def _submit(self, client: Client, agent: str, value: JsonObject, key: str) -> str:
        """Until it is accepted: the key makes repeats one run."""
        while True:
            try:
                return (await client.runs.submit(agent, value, key=key)).id
            except PlimsollError as error:
                self.refused[error.reason] = self.refused.get(error.reason, 0) + 1
                await asyncio.sleep(_AGAIN_S)


class Inputs:
    """The samples of the example agents in turn, and names to count, a third of them the neighbour's."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._samples = {name: _samples(ROOT / "deploy" / "agents" / name / "samples") for name in ("support", "documents", "pipeline")}

    def next(self, number: int) -> tuple[str, str, JsonObject]:
        """Whose run it is, its agent and its input."""
        kind = self._random.choices(["outside", *self._samples], [6, 2, 1, 1])[0]
        if kind == "outside":
            whose = self._random.choices([OWNER, NEIGHBOUR], [2, 1])[0]
            return whose, kind, {"name": f"name-{number}", "canary": f"canary-{number}"}
        return OWNER, kind, self._random.choice(self._samples[kind])


def _samples(folder: Path) -> Sequence[JsonObject]:
    """The inputs that the samples of an example agent stand for; no binary ones."""
    messages = folder / "messages.jsonl"
    if messages.exists():
        return [json.loads(line)["input"] for line in messages.read_text().splitlines() if line.strip()]
    tables = [{"name": path.name, "csv": path.read_text()} for path in sorted(folder.glob("*.csv"))]
    return tables or [{"name": path.name, "text": path.read_text()} for path in sorted(folder.iterdir()) if path.suffix in {".md", ".txt"}]
