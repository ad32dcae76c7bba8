"""What an audit does to a mesh, and runs of the audited agent, each to its end."""

import asyncio
import random
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

from plimsoll_client.mesh import Mesh as Client
from plimsoll_client.models import Run
from plimsoll_runtime.errors import PlimsollError
from plimsoll_runtime.json_types import JsonObject, JsonValue, dump_json, parse_object

from plimsoll_devstack.mesh import Mesh
from plimsoll_devstack.state import MeshFiles

MARK = "{{mark}}"
"""Stands, in the input of a user's agent, where each run gets a mark of its own."""
POLL_S = 0.2
WAIT_S = 20.0
_RUN_CAP_S = 60.0
_A_MARK = re.compile(r"canary-[0-9a-f]{15}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop:
    """A mesh of the audit's own, which may be harmed, and more of the kind.

    Attributes:
    mesh     the mesh itself
    tools    the folder that new tools may be put into
    agents   the folder of the agents, the audit's own among them
    environ  what the meshes are started with
    another  a second mesh beside it, with the same agents and other configuration
    """

    mesh: Mesh
    tools: Path
    agents: Path
    environ: Mapping[str, str]
    another: Callable[[Mapping[str, str]], AbstractAsyncContextManager[Client]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is audited, and what the audit may do to it.

    Attributes:
    input      of each run; None for the audit's own agent, whose every run has a mark of its own
    workshop   the audit's own mesh; None where it audits one that runs
    faults     the files of the mesh, one of which takes fault plans; None where faults are not allowed
    at_once    how many runs are submitted side by side, one go after the other
    per_fault  runs under each fault plan
    """

    client: Client
    agent: str
    input: JsonObject | None
    workshop: Workshop | None
    faults: MeshFiles | None
    seed: int
    at_once: Sequence[int]
    per_fault: int


def marks(subject: Subject, count: int) -> Sequence[JsonObject]:
    """An input for each of so many runs."""
    return with_marks({"canary": MARK} if subject.input is None else subject.input, count)


def with_marks(given: JsonObject, count: int) -> Sequence[JsonObject]:
    """So many of an input, each with a mark of its own where there is a place for one."""
    text = dump_json(given)
    dice = random.Random()  # noqa: S311 - marks differ from audit to audit; the seed is that of the faults
    return [parse_object(text.replace(MARK, f"canary-{dice.getrandbits(60):015x}")) for _ in range(count)]


def marked(value: JsonValue) -> set[str]:
    """The marks in an input or an output."""
    return set(_A_MARK.findall(dump_json(value)))


async def every(subject: Subject, inputs: Sequence[JsonObject], *, cap_s: float = _RUN_CAP_S) -> list[Run | None]:
    """A run for each input, all at the same moment, each to its end."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(subject.client, subject.agent, each, cap_s=cap_s)) for each in inputs]
    return [task.result() for task in tasks]


async def one(client: Client, agent: str, given: JsonObject, *, cap_s: float = _RUN_CAP_S) -> Run | None:
    """A run to its end; None when it was refused for good, or has not ended in time. The key makes repeats one run."""
    key = f"audit-{random.getrandbits(80):x}"
    until = time.monotonic() + cap_s
    while (left := until - time.monotonic()) > 0:
        try:
            run = await client.runs.submit(agent, given, key=key)
            return await client.runs.wait(run.id, timeout_s=left)
        except PlimsollError as error:
            if not error.retryable:
                return None
            await asyncio.sleep(POLL_S)
    return None


async def becomes(true: Callable[[], Awaitable[bool]], *, within_s: float = WAIT_S) -> bool:
    """Whether something becomes true in time; an error that passes is waited out."""
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        try:
            if await true():
                return True
        except PlimsollError as error:
            if not error.retryable:
                raise
        await asyncio.sleep(POLL_S)
    return False
