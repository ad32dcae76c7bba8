"""In-memory forms of the ports."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TypeAlias

from plimsoll_model_router.domain.generation import Answer, Chunk, CompletedCall, Finished, Question, Reply, TextDelta
from plimsoll_model_router.domain.prompts import ByDigest, ByLabel, ByVersion, Prompt, PromptReference, Template
from plimsoll_model_router.domain.rehearsal.model import pieces
from plimsoll_model_router.domain.routing import Model
from plimsoll_model_router.errors import ProviderError, RequestKeyReused, UnknownPrompt
from plimsoll_runtime.clock import Clock

Step: TypeAlias = Reply | ProviderError


class FakeProvider:
    """Answers what it was told to, step by step; the last step is repeated. Keeps what it was asked."""

    def __init__(self, *steps: Step, model: Model | None = None) -> None:
        self._steps = list(steps)
        self._model = model or Model(provider="fake", name="m-1")
        self.asked: list[Question] = []

    @property
    def models(self) -> Sequence[Model]:
        return (self._model,)

    async def generate(self, question: Question) -> Reply:
        step = self._next(question)
        if isinstance(step, ProviderError):
            raise step
        return step

    async def stream(self, question: Question) -> AsyncGenerator[Chunk, None]:
        step = self._next(question)
        if isinstance(step, ProviderError):
            yield TextDelta(text="half an ans")
            raise step
        for piece in pieces(step.message.text, 1):
            yield TextDelta(text=piece)
        yield Finished(reply=step)

    def _next(self, question: Question) -> Step:
        self.asked.append(question)
        return self._steps.pop(0) if len(self._steps) > 1 else self._steps[0]


class FakePromptStore:
    def __init__(self) -> None:
        self._versions: dict[tuple[str, str], list[Prompt]] = {}
        self._labels: dict[tuple[str, str, str], int] = {}

    async def register(self, tenant: str, template: Template, labels: Sequence[str]) -> tuple[Prompt, bool]:
        versions = self._versions.setdefault((tenant, template.name), [])
        known = next((prompt for prompt in versions if prompt.digest == template.digest), None)
        created = known is None
        if known is None:
            known = Prompt(
                template=template, version=len(versions) + 1, created_at=datetime(2026, 1, 1, tzinfo=UTC), digest=template.digest
            )
            versions.append(known)
        for label in labels:
            self._labels[tenant, template.name, label] = known.version
        return self._labelled(tenant, known), created

    async def get(self, tenant: str, reference: PromptReference) -> Prompt:
        versions = self._versions.get((tenant, reference.name), [])
        match reference.selector:
            case ByLabel(label=label):
                wanted = self._labels.get((tenant, reference.name, label))
                found = next((prompt for prompt in versions if prompt.version == wanted), None)
            case ByVersion(version=version):
                found = next((prompt for prompt in versions if prompt.version == version), None)
            case ByDigest(digest=digest):
                found = next((prompt for prompt in versions if prompt.digest == digest), None)
        if found is None:
            raise UnknownPrompt(f"{reference} does not exist")
        return self._labelled(tenant, found)

    async def newest(self, tenant: str, after: str, limit: int) -> Sequence[Prompt]:
        names = sorted(name for owner, name in self._versions if owner == tenant and name > after)[:limit]
        return [self._labelled(tenant, self._versions[tenant, name][-1]) for name in names]

    def _labelled(self, tenant: str, prompt: Prompt) -> Prompt:
        name = prompt.template.name
        mine = {key[2] for key, version in self._labels.items() if key[:2] == (tenant, name) and version == prompt.version}
        return replace(prompt, labels=tuple(sorted(mine)))


class FakeCallLedger:
    """`calls` are all that were recorded; answers are remembered for `remember_s`."""

    def __init__(self, clock: Clock, remember_s: float = 3600.0) -> None:
        self._clock = clock
        self._remember_s = remember_s
        self._answers: dict[tuple[str, str], tuple[str, Answer, float]] = {}
        self.calls: list[CompletedCall] = []

    async def recall(self, tenant: str, request_key: str, fingerprint: str) -> Answer | None:
        known = self._answers.get((tenant, request_key))
        if known is None:
            return None
        if known[0] != fingerprint:
            raise RequestKeyReused
        return replace(known[1], recorded=True)

    async def record(self, call: CompletedCall) -> Answer | None:
        key = call.generation.request_key
        self.calls.append(call)
        if not key or not isinstance(call.outcome, Answer):
            return None
        earlier = await self.recall(call.tenant, key, call.fingerprint)
        if earlier is None:
            self._answers[call.tenant, key] = (call.fingerprint, call.outcome, self._clock.monotonic() + self._remember_s)
        return earlier

    async def forget(self) -> int:
        over = [key for key, (_, _, until) in self._answers.items() if until < self._clock.monotonic()]
        for key in over:
            del self._answers[key]
        return len(over)
