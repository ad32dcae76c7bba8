"""The verbs of the model-router."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing

from plimsoll_runtime.clock import Clock
from plimsoll_runtime.ids import Ids

from plimsoll_model_router.domain import plain, prompts, questions, routing, schemas
from plimsoll_model_router.domain.generation import Answer, CompletedCall, Generation, Outcome, Progress, Question
from plimsoll_model_router.domain.messages import Message
from plimsoll_model_router.domain.prompts import Prompt, PromptReference, Template
from plimsoll_model_router.domain.routing import Model
from plimsoll_model_router.failover import Failover, Inquiry
from plimsoll_model_router.ports import CallLedger, PromptStore


class ModelRouter:
    """Answers questions by whichever model is right for them, and keeps the prompts that they refer to."""

    def __init__(
        self,
        *,
        prompts: PromptStore,
        ledger: CallLedger,
        failover: Failover,
        models: Sequence[Model],
        routes: Mapping[str, Sequence[str]],
        clock: Clock,
        ids: Ids,
    ) -> None:
        self._prompts = prompts
        self._ledger = ledger
        self._failover = failover
        self._models = models
        self._routes = routes
        self._clock = clock
        self._ids = ids

    async def generate(self, tenant: str, generation: Generation) -> Outcome:
        """The answer, or why there is none. Raises what the errors module lists for questions that cannot be asked."""
        async with aclosing(self._answered(tenant, generation, streaming=False)) as steps:
            async for step in steps:
                if not isinstance(step, Progress):
                    return step
        raise AssertionError("a generation always ends with its outcome")

    def generate_stream(self, tenant: str, generation: Generation) -> AsyncGenerator[Progress | Outcome, None]:
        """The same, with the text while it comes; the outcome is the last event."""
        return self._answered(tenant, generation, streaming=True)

    async def register_prompt(self, tenant: str, template: Template, labels: Sequence[str]) -> tuple[Prompt, bool]:
        """The version with this content, and whether it is new. Raises InvalidPrompt."""
        return await self._prompts.register(tenant, prompts.checked(template, tuple(labels)), tuple(labels))

    async def get_prompt(self, tenant: str, reference: PromptReference) -> Prompt:
        """Raises UnknownPrompt."""
        return await self._prompts.get(tenant, reference)

    async def list_prompts(self, tenant: str, after: str, limit: int) -> Sequence[Prompt]:
        """The newest version of each prompt, by name, beginning behind the name `after`."""
        return await self._prompts.newest(tenant, after, limit)

    def list_models(self) -> Sequence[Model]:
        """The models that can answer, in the order of preference."""
        return self._models

    async def _answered(self, tenant: str, generation: Generation, *, streaming: bool) -> AsyncGenerator[Progress | Outcome, None]:
        fingerprint = plain.fingerprint(questions.checked(generation))
        if generation.request_key:
            known = await self._ledger.recall(tenant, generation.request_key, fingerprint)
            if known is not None:
                yield known
                return
        inquiry = await self._inquiry(tenant, generation, streaming=streaming)
        started_at, started = self._clock.now(), self._clock.monotonic()
        async with aclosing(self._failover.run(inquiry)) as steps:
            async for step in steps:
                if isinstance(step, Progress):
                    yield step
                    continue
                call = CompletedCall(
                    call_id=self._ids.new("call"),
                    tenant=tenant,
                    generation=generation,
                    fingerprint=fingerprint,
                    outcome=step,
                    started_at=started_at,
                    duration_s=self._clock.monotonic() - started,
                )
                yield await self._recorded(call)

    async def _recorded(self, call: CompletedCall) -> Outcome:
        """The outcome, kept; of two answers to one request key, the first one kept holds for both."""
        earlier: Answer | None = await self._ledger.record(call)
        return call.outcome if earlier is None else earlier

    async def _inquiry(self, tenant: str, generation: Generation, *, streaming: bool) -> Inquiry:
        messages: tuple[Message, ...] = ()
        prompt_digest = ""
        if generation.prompt is not None:
            prompt = await self._prompts.get(tenant, generation.prompt)
            messages, prompt_digest = prompts.render(prompt.template, generation.variables), prompt.digest
        question = Question(
            model="",
            messages=questions.asked((*messages, *generation.messages)),
            tools=generation.tools,
            tool_choice=generation.tool_choice,
            output_schema=generation.output_schema,
            max_output_tokens=generation.max_output_tokens,
        )
        return Inquiry(
            question=question,
            candidates=routing.candidates(self._models, self._routes, task=generation.task, wanted=generation.model),
            schema=schemas.compiled(generation.output_schema) if generation.output_schema is not None else None,
            prompt_digest=prompt_digest,
            max_cost_micros=generation.max_cost_micros,
            streaming=streaming,
        )
