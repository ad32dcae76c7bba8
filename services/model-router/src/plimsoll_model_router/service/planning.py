"""What is to be asked of whom: the rendered question, the choice among candidates, and what it may consume."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from plimsoll_runtime.failures import Failure
from plimsoll_runtime.json_types import JsonObject, digest

from plimsoll_model_router.domain import budgets, plain, prompts, questions, schemas
from plimsoll_model_router.domain.budgets import LEAST_OUTPUT, USUAL_OUTPUT, Estimate
from plimsoll_model_router.domain.calls import Opened, OverBudget
from plimsoll_model_router.domain.choice import Aim, Choice, Standing, choose, of_route
from plimsoll_model_router.domain.difficulty import difficulty
from plimsoll_model_router.domain.features import needed
from plimsoll_model_router.domain.generation import CacheScope, Generation, Outcome, Purpose, Question
from plimsoll_model_router.domain.messages import Message, Role
from plimsoll_model_router.domain.pace import Pace
from plimsoll_model_router.domain.routes import Route
from plimsoll_model_router.domain.routing import Candidate, Model
from plimsoll_model_router.domain.schemas import CompiledSchema
from plimsoll_model_router.domain.tokens import question_tokens
from plimsoll_model_router.ports import CallLedger
from plimsoll_model_router.service.catalogue import Catalogue


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Attributes:
    choice     which candidates, in which order, with which probabilities
    cache_key  what the answer may be found by again; empty without leave
    """

    question: Question
    schema: CompiledSchema | None
    prompt_digest: str
    prompt_version: int
    aim: Aim
    choice: Choice
    route: Route | None
    kept: str
    draw: float
    cache_key: str = ""

    @property
    def hedge_after_s(self) -> float:
        return self.route.hedge_after_s if self.route is not None else 0.0

    @property
    def refusal_moves_on(self) -> bool:
        return self.route is not None and self.route.refusal_moves_on

    @property
    def asks_unpriced(self) -> bool:
        """Whether a candidate has no known price."""
        return any(one.model.price is None for one in self.choice.eligible)

    def model_digest(self, outcome: Outcome) -> str:
        """Of the model entry that was asked last; empty for a model of the configuration."""
        last = outcome.attempts[-1] if outcome.attempts else None
        asked = (one.candidate for one in self.choice.weighed)
        found = (one.model.digest for one in asked if last is not None and (one.model.provider, one.ask_for) == (last.provider, last.model))
        return next(found, "")

    def first_estimate(self) -> Estimate:
        """The most that the first attempt may consume."""
        if not self.choice.eligible:
            return Estimate()
        model = self.choice.eligible[0].model
        output = self.question.max_output_tokens or min(model.max_output_tokens or USUAL_OUTPUT, USUAL_OUTPUT)
        return budgets.estimate(self.aim.input_tokens, output, model.price)

    def smaller_estimate(self, refusal: OverBudget) -> "tuple[Plan, Estimate] | None":
        """The same with a shorter answer that still fits, where the caller left its length open; None when nothing fits."""
        if not self.choice.eligible or self.question.max_output_tokens:
            return None
        model = self.choice.eligible[0].model
        room = refusal.room_tokens if refusal.room_tokens is not None else 2**40
        output = budgets.fitting_output(self.aim.input_tokens, room, refusal.room_cost_micros, model.price)
        if not LEAST_OUTPUT <= output < USUAL_OUTPUT:
            return None
        shorter = replace(self, question=replace(self.question, max_output_tokens=output))
        return shorter, budgets.estimate(self.aim.input_tokens, output, model.price)

    def refusal(self) -> Failure:
        """Why nobody can be asked: the reason of the candidate that would have been preferred."""
        first = self.choice.refusals[0]
        assert first.excluded is not None
        where = first.candidate.full_name
        return Failure(
            category=first.excluded.category, reason=first.excluded.reason, message=f"{where} {first.excluded.what}", where=where
        )


class Planner:
    """`is_open` tells whether a model's breaker is, as far as this replica knows."""

    def __init__(self, catalogue: Catalogue, ledger: CallLedger, pace: Pace, is_open: Callable[[str], bool]) -> None:
        self._catalogue = catalogue
        self._ledger = ledger
        self._pace = pace
        self._is_open = is_open

    async def plan(self, tenant: str, generation: Generation, draw: float) -> Plan:
        """Raises UnknownPrompt, InvalidPrompt, InvalidVariables, InvalidGeneration, UnknownModel or UnknownEntry."""
        messages: tuple[Message, ...] = ()
        prompt_digest, prompt_version = "", 0
        if generation.candidate is not None:
            template = prompts.checked(generation.candidate)
            messages, prompt_digest = prompts.render(template, generation.variables), template.digest
        elif generation.prompt is not None:
            prompt = await self._catalogue.prompt(tenant, generation.prompt)
            messages = prompts.render(prompt.template, generation.variables)
            prompt_digest, prompt_version = prompt.digest, prompt.version
        question = _question(generation, questions.asked((*messages, *generation.messages)))
        aim = Aim(
            needs=needed(question),
            input_tokens=question_tokens(question),
            output_tokens=question.max_output_tokens,
            difficulty=difficulty(question, generation.task),
            max_cost_micros=generation.max_cost_micros,
        )
        routed = None if generation.model else await self._catalogue.route(tenant, generation.task)
        route = routed.route if routed is not None else None
        candidates = await self._catalogue.candidates(tenant, generation, routed)
        kept = await self._kept(tenant, generation, candidates)
        choice = choose(candidates, route, aim, self._standings(candidates), kept=kept, draw=draw)
        if routed is not None:
            choice = of_route(choice, routed.route.name, routed.version, routed.digest)
        return Plan(
            question=question,
            schema=schemas.compiled(generation.output_schema) if generation.output_schema is not None else None,
            prompt_digest=prompt_digest,
            prompt_version=prompt_version,
            aim=aim,
            choice=choice,
            route=route,
            kept=kept,
            draw=draw,
            cache_key=_cache_key(generation, question, choice),
        )

    async def models(self, tenant: str) -> Sequence[tuple[Model, Standing]]:
        """The models that can answer, in the order of preference, with how they do here at present."""
        found = await self._catalogue.models(tenant)
        return [(model, self._standing(model.full_name)) for model in found]

    def under_caps(self, plan: Plan, opened: Opened) -> Plan:
        """The same plan where a budget in money holds: a model without a price cannot be reserved for."""
        aim = replace(plan.aim, money_capped=opened.caps_money)
        candidates = [one.candidate for one in plan.choice.weighed]
        again = choose(candidates, plan.route, aim, self._standings(candidates), kept=plan.kept, draw=plan.draw)
        first = plan.choice.eligible[0] if plan.choice.eligible else None
        if first is not None and first in again.eligible:  # what was reserved for stays first
            return replace(
                plan, aim=aim, choice=replace(again, weighed=tuple(sorted(again.weighed, key=lambda one: one.candidate != first)))
            )
        return replace(plan, aim=aim, choice=replace(again, route=plan.choice.route, route_digest=plan.choice.route_digest))

    def _standings(self, candidates: Sequence[Candidate]) -> dict[str, Standing]:
        return {one.full_name: self._standing(one.full_name) for one in candidates}

    def _standing(self, name: str) -> Standing:
        return Standing(latency_s=self._pace.latency_s(name), is_open=self._is_open(name))

    async def _kept(self, tenant: str, generation: Generation, candidates: tuple[Candidate, ...]) -> str:
        """The model that this tool loop began with; a conversation without tool results is not in one."""
        work = generation.work
        in_loop = any(message.role is Role.TOOL for message in generation.messages)
        if not in_loop or not work.run_id or len(candidates) < 2 or generation.purpose is not Purpose.PRODUCTION:
            return ""
        return await self._ledger.last_model(tenant, work.run_id, work.node)


def _question(generation: Generation, messages: tuple[Message, ...]) -> Question:
    """Tools come before the conversation on the wire: always in one order, so that providers find the beginning in their caches."""
    return Question(
        messages=messages,
        tools=tuple(sorted(generation.tools, key=lambda tool: tool.name)),
        tool_choice=generation.tool_choice,
        tool_name=generation.tool_name,
        single_call=generation.single_call,
        output_schema=generation.output_schema,
        max_output_tokens=generation.max_output_tokens,
        sampling=generation.sampling,
        effort=generation.effort,
        cache_prefix=generation.cache_prefix,
    )


def _cache_key(generation: Generation, question: Question, choice: Choice) -> str:
    """Who may share an answer, who may give it, and all that was asked; a route that changes asks anew."""
    if generation.cache is None:
        return ""
    scopes = {CacheScope.TENANT: "", CacheScope.AGENT: generation.work.agent, CacheScope.RUN: generation.work.run_id}
    candidates = sorted(one.candidate.full_name for one in choice.weighed)
    asked: JsonObject = {
        "scope": [generation.cache.scope.value, scopes[generation.cache.scope]],
        "candidates": [*candidates],
        "asked": plain.fingerprint(replace(generation, prompt=None, candidate=None, variables={}, messages=question.messages)),
    }
    return digest(asked)
