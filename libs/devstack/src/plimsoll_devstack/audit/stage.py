"""Where an audit happens: in a mesh of its own that is removed afterwards, or in a tenant of its own of one that runs."""

import asyncio
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from plimsoll_client import connect
from plimsoll_client.cli.output import console, error_console, print_json
from plimsoll_client.mesh import Mesh as Client
from plimsoll_runtime.errors import Invalid
from plimsoll_runtime.json_types import JsonObject, parse_object

from plimsoll_devstack.audit.grading import Answer, Audit
from plimsoll_devstack.audit.learning import LEARNS, SORTER
from plimsoll_devstack.audit.probes import OWN_AGENT, answers
from plimsoll_devstack.audit.report import as_object, as_page, as_text
from plimsoll_devstack.audit.runs import Subject, Workshop
from plimsoll_devstack.audit.tenant import own_tenant
from plimsoll_devstack.mesh import Mesh
from plimsoll_devstack.plan import Wanted

_SEED = 1
_BUNDLES = Path(__file__).parent / "bundles"


class BadAudit(Invalid):
    """These options cannot be meant together."""

    reason = "BAD_AUDIT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the command line asked for."""

    data: Path | None
    agents: Path | None
    agent: str
    given: Path | None
    at_once: Sequence[int]
    per_fault: int
    environ: Mapping[str, str]


async def perform(asked: Asked, *, as_json: bool, html: Path | None) -> bool:
    """The whole audit. True when nothing that was measured was broken."""
    given = read_input(asked)
    if html is not None:
        await asyncio.to_thread(_writable, html)
    out = error_console()
    async with AsyncExitStack() as stack:
        with out.status("Auditing: this takes some minutes"):
            began = time.monotonic()
            mesh, key, workshop = await stack.enter_async_context(_place(asked))
            client = await stack.enter_async_context(connect(address=mesh.grpc_address, api_key=key))
            subject = Subject(
                client=client,
                agent=asked.agent or OWN_AGENT,
                input=given,
                workshop=workshop,
                faults=mesh.files if mesh.files.faults.exists() else None,
                seed=_SEED,
                at_once=asked.at_once,
                per_fault=asked.per_fault,
            )
            found = await _answered(subject)
        audit = Audit(agent=subject.agent, seed=_SEED, took_s=time.monotonic() - began, answers=found)
    _tell(audit, as_json=as_json, html=html)
    return audit.passed


async def _answered(subject: Subject) -> Sequence[Answer]:
    """The five answers. Who breaks the audit off is told why it does not end at once."""
    try:
        return await answers(subject)
    except asyncio.CancelledError:
        error_console().print("Broken off. What the audit has left is taken away; that takes some seconds.")
        raise


def _tell(audit: Audit, *, as_json: bool, html: Path | None) -> None:
    if html is not None:
        html.write_text(as_page(audit))
    if as_json:
        print_json(as_object(audit))
    else:
        console().print(as_text(audit), soft_wrap=True)


def read_input(asked: Asked) -> JsonObject | None:
    """The input of each run; None for the audit's own agent. Raises BadAudit when the options do not go together."""
    if bool(asked.agent) != (asked.given is not None):
        raise BadAudit("--agent and --input go together", remedy="Give both, or neither for the audit's own agent")
    if asked.data is not None and not asked.agent:
        raise BadAudit("a running mesh lacks the audit's own agent", remedy="Name yours with --agent and --input, or leave --data out")
    if asked.given is None:
        return None
    try:
        return parse_object(asked.given.read_text(), field="--input")
    except OSError as error:
        raise BadAudit(f"the input {asked.given} cannot be read: {error.strerror}", remedy="Name a JSON file") from error


def _writable(html: Path) -> None:
    """Raises BadAudit before the audit, not after it: what took minutes to find is not lost for want of a folder."""
    try:
        html.open("a").close()
    except OSError as error:
        raise BadAudit(f"the page {html} cannot be written: {error.strerror}", remedy="Name a file in a folder that is there") from error


@asynccontextmanager
async def _place(asked: Asked) -> AsyncIterator[tuple[Mesh, str, Workshop | None]]:
    """The mesh, a key to it, and all that may be done to it when it is one of the audit's own."""
    if asked.data is not None:
        running = Mesh(Wanted(data=asked.data.absolute()))
        async with own_tenant(running, [SORTER, _agents(asked, running)]) as key:
            yield running, key, None
        return
    root = Path(tempfile.mkdtemp(prefix="plimsoll-audit-"))
    try:
        (root / "tools").mkdir()
        shutil.copytree(_BUNDLES, root / "agents")
        if asked.agents is not None:
            shutil.copytree(asked.agents, root / "agents", dirs_exist_ok=True)
        environ = {**LEARNS, **asked.environ}
        wanted = Wanted(data=root / "data", agents=root / "agents", workers=2, faults=True, environ=environ)
        async with Mesh(wanted) as own:
            shop = Workshop(mesh=own, tools=root / "tools", agents=root / "agents", environ=environ, another=partial(_another, root))
            yield own, own.api_key, shop
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _agents(asked: Asked, running: Mesh) -> Path:
    """The folder of the agents to audit: what was named, or what the mesh was started with. Raises BadAudit, NotRunning."""
    folder = asked.agents or Path(running.state().agents)
    if folder == Path():
        raise BadAudit("this mesh was started without agents", remedy="Name the folder of yours with --agents")
    return folder


@asynccontextmanager
async def _another(root: Path, environ: Mapping[str, str]) -> AsyncIterator[Client]:
    """A second mesh with the same agents, that leaves nothing either."""
    data = Path(tempfile.mkdtemp(prefix="another-", dir=root))
    try:
        async with (
            Mesh(Wanted(data=data, agents=root / "agents", environ=environ)) as mesh,
            connect(address=mesh.grpc_address, api_key=mesh.api_key) as client,
        ):
            yield client
    finally:
        shutil.rmtree(data, ignore_errors=True)
