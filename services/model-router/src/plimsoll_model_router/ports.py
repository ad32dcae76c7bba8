"""What the service needs from outside."""

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

from plimsoll_model_router.domain.generation import Answer, Chunk, CompletedCall, Question, Reply
from plimsoll_model_router.domain.prompts import Prompt, PromptReference, Template
from plimsoll_model_router.domain.routing import Model


class Provider(Protocol):
    """Somebody who answers questions. Every failed try is a ProviderError, already classified."""

    @property
    def models(self) -> Sequence[Model]:
        """The models that it serves, best first."""
        ...

    async def generate(self, question: Question) -> Reply:
        """The complete reply."""
        ...

    def stream(self, question: Question) -> AsyncGenerator[Chunk, None]:
        """The reply's text as it comes, then one Finished. An end without it is never an end: it raises."""
        ...


class PromptStore(Protocol):
    """Keeps prompt versions, which never change, and labels, which move."""

    async def register(self, tenant: str, template: Template, labels: Sequence[str]) -> tuple[Prompt, bool]:
        """The version with this content, and whether it is new; the labels point at it afterwards."""
        ...

    async def get(self, tenant: str, reference: PromptReference) -> Prompt:
        """Raises UnknownPrompt."""
        ...

    async def newest(self, tenant: str, after: str, limit: int) -> Sequence[Prompt]:
        """The newest version of each name, by name, beginning behind `after`."""
        ...


class CallLedger(Protocol):
    """Keeps every finished call, and tells of it."""

    async def recall(self, tenant: str, request_key: str, fingerprint: str) -> Answer | None:
        """The answer given under the key before. Raises RequestKeyReused when it was another question."""
        ...

    async def record(self, call: CompletedCall) -> Answer | None:
        """Keep the call and announce it, in one transaction.

        Returns the answer that was recorded under the same request key in the meantime, if there is one: then that one holds.
        """
        ...
