"""A bundle into a mesh: prompts and knowledge first, the graph last, so that no run meets half an agent. Repeating changes nothing."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from plimsoll_runtime.errors import unwrap

from plimsoll_client.bundles.prompts import PromptFile
from plimsoll_client.bundles.reading import GRAPH, Bundle, KnowledgeFile
from plimsoll_client.knowledge import Ingested
from plimsoll_client.models import PromptDraft, RegisteredAgent, RegisteredPrompt

_AT_ONCE = 4
"""Calls in flight: enough to hide the way there and back, too few to crowd a small machine."""


class Agents(Protocol):
    """What applying needs of the mesh's agents."""

    async def register(self, source: str, *, source_name: str = "") -> RegisteredAgent: ...


class Prompts(Protocol):
    """What applying needs of the mesh's prompts."""

    async def register(self, draft: PromptDraft, *, labels: tuple[str, ...] = ()) -> RegisteredPrompt: ...


class Memory(Protocol):
    """What applying needs of the mesh's memory."""

    async def ingest(self, collection: str, source: str, content: bytes, *, media_type: str) -> Ingested: ...


class Target(Protocol):
    """A mesh, as far as applying needs it."""

    @property
    def agents(self) -> Agents: ...

    @property
    def prompts(self) -> Prompts: ...

    @property
    def memory(self) -> Memory: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What applying a bundle did. `created` tells whether the graph is a new version."""

    agent: str
    version: int
    digest: str
    created: bool
    prompts: int
    prompts_created: int
    documents: int
    documents_changed: int
    collections: tuple[str, ...]


async def apply(mesh: Target, bundle: Bundle, *, on_step: Callable[[str], None] = lambda _: None) -> Applied:
    """Bring `bundle` into the mesh. Raises what the mesh refuses, before the graph is registered unless it is the graph itself."""
    gate = asyncio.Semaphore(_AT_ONCE)

    async def prompt(file: PromptFile) -> RegisteredPrompt:
        async with gate:
            registered = await mesh.prompts.register(file.draft, labels=file.labels)
        on_step(f"prompt {file.draft.name}")
        return registered

    async def document(file: KnowledgeFile) -> Ingested:
        async with gate:
            ingested = await mesh.memory.ingest(file.collection, file.source, file.content, media_type=file.media_type)
        on_step(f"document {file.collection}/{file.source}")
        return ingested

    try:
        async with asyncio.TaskGroup() as group:
            prompts = [group.create_task(prompt(file)) for file in bundle.prompts]
            documents = [group.create_task(document(file)) for file in bundle.knowledge]
    except BaseExceptionGroup as errors:
        raise unwrap(errors) from errors
    registered = await mesh.agents.register(bundle.graph, source_name=str(bundle.directory / GRAPH))
    on_step(f"agent {registered.agent.name}")
    return Applied(
        agent=registered.agent.name,
        version=registered.agent.version,
        digest=registered.agent.digest,
        created=registered.created,
        prompts=len(prompts),
        prompts_created=sum(task.result().created for task in prompts),
        documents=len(documents),
        documents_changed=sum(task.result().changed for task in documents),
        collections=tuple(sorted({file.collection for file in bundle.knowledge})),
    )
