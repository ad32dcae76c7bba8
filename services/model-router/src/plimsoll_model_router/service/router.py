"""Answering: a question is resolved, its model chosen and its budget reserved; then it is asked, settled and told."""

import asyncio
import random
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import TypeAlias

from plimsoll_runtime.clock import Clock
from plimsoll_runtime.deadline import remaining_s
from plimsoll_runtime.errors import PlimsollError
from plimsoll_runtime.failures import Category, Failure
from plimsoll_runtime.ids import Ids
from plimsoll_runtime.usage import Usage

from plimsoll_model_router.domain import plain, questions
from plimsoll_model_router.domain.calls import Busy, CompletedCall, KeptCall, Opened, Opening, OverBudget
from plimsoll_model_router.domain.choice import Standing
from plimsoll_model_router.domain.generation import Answer, Generation, Outcome, Purpose, Tell, Unanswered, unheard
from plimsoll_model_router.domain.routing import Model
from plimsoll_model_router.errors import RequestKeyBusy
from plimsoll_model_router.failover.delivery import buffered
from plimsoll_model_router.failover.failover import Failover
from plimsoll_model_router.failover.inquiry import Course, Delivery, Inquiry
from plimsoll_model_router.ports import CallLedger
from plimsoll_model_router.service.asker import Asker
from plimsoll_model_router.service.planning import Plan, Planner
from plimsoll_model_router.service.reservation import Reservation, over_budget

Unpriced: TypeAlias = Callable[[str], None]
_BUSY_FIRST_S, _BUSY_MOST_S, _BUSY_CAP_S = 0.02, 0.5, 300.0


@dataclass(slots=True, kw_only=True)
class _Call:
    """One call on its way. `settled` once the ledger has it."""

    call_id: str
    asker: Asker
    generation: Generation
    plan: Plan
    course: Course
    settled: bool = False


class ModelRouter:
    """Answers questions by whichever model is right for them. `unpriced` is told of every model billed without a known price."""

    def __init__(self, *, ledger: CallLedger, failover: Failover, planner: Planner, clock: Clock, ids: Ids, unpriced: Unpriced) -> None:
        self._ledger = ledger
        self._failover = failover
        self._planner = planner
        self._clock = clock
        self._ids = ids
        self._unpriced = unpriced

    async def generate(self, asker: Asker, generation: Generation) -> Outcome:
        """The answer, or why there is none. Raises what the errors module lists for questions that cannot be asked."""
        return await self._answered(asker, generation, Delivery.WHOLE, unheard)

    async def generate_stream(self, asker: Asker, generation: Generation, tell: Tell, delivery: Delivery = Delivery.RETRACTABLE) -> Outcome:
        """The same, with its pieces told while they come."""
        return await self._answered(asker, generation, delivery, tell)

    async def list_models(self, tenant: str) -> Sequence[tuple[Model, Standing]]:
        """The models that can answer, in the order of preference, with how they do here at present."""
        return await self._planner.models(tenant)

    async def get_call(self, tenant: str, call_id: str) -> KeptCall:
        """What is kept of a call. Raises UnknownCall."""
        return await self._ledger.get(tenant, call_id)

    async def _answered(self, asker: Asker, generation: Generation, delivery: Delivery, tell: Tell) -> Outcome:
        questions.checked(generation)
        fingerprint = plain.fingerprint(generation) if generation.request_key else ""
        try:
            plan = await self._planner.plan(asker.tenant, generation, self._draw(generation))
        except PlimsollError:
            known = await self._recalled(asker, generation, fingerprint)
            if known is None:
                raise
            return known
        call = _Call(call_id=self._ids.new("call"), asker=asker, generation=generation, plan=plan, course=Course())
        kept = await self._from_cache(call)
        if kept is not None:
            return kept
        opens = await self._opened(call, fingerprint)
        return opens if isinstance(opens, Answer) else await self._made(call, opens, fingerprint, delivery, tell)

    async def _made(
        self, call: _Call, opens: "tuple[Opening, Opened] | OverBudget", fingerprint: str, delivery: Delivery, tell: Tell
    ) -> Outcome:
        """The call itself; the ledger gets it whatever becomes of it, also when nobody waits for it any more."""
        started_at, started = self._clock.now(), self._clock.monotonic()
        outcome: Outcome | None = None

        def completed(result: Outcome) -> CompletedCall:
            return CompletedCall(
                call_id=call.call_id,
                tenant=call.asker.tenant,
                generation=call.generation,
                fingerprint=fingerprint,
                outcome=result if result.call_id == call.call_id else replace(result, call_id=call.call_id),
                started_at=started_at,
                duration_s=self._clock.monotonic() - started,
                choice=call.plan.choice,
                key=call.asker.key,
                cache_key=call.plan.cache_key,
                prompt_version=call.plan.prompt_version,
                model_digest=call.plan.model_digest(result),
            )

        try:
            outcome = await self._asked(call, opens, delivery, tell)
            for model in call.course.unpriced:
                self._unpriced(model)
            final = await self._recorded(completed(outcome))
            call.settled = True
            return final
        finally:
            if not call.settled:
                self._ledger.post(completed(outcome or _abandoned(call)))

    async def _asked(self, call: _Call, opens: "tuple[Opening, Opened] | OverBudget", delivery: Delivery, tell: Tell) -> Outcome:
        if isinstance(opens, OverBudget):
            return _unasked(call, over_budget(opens))
        opening, opened = opens
        plan = self._planner.under_caps(call.plan, opened) if opened.caps_money and call.plan.asks_unpriced else call.plan
        call.plan = plan
        if not plan.choice.eligible:
            return _unasked(call, plan.refusal())
        inquiry = Inquiry(
            call_id=call.call_id,
            question=plan.question,
            candidates=plan.choice.eligible,
            schema=plan.schema,
            prompt_digest=plan.prompt_digest,
            input_tokens=plan.aim.input_tokens,
            purse=Reservation(self._ledger, opening, opened),
            max_cost_micros=call.generation.max_cost_micros,
            delivery=delivery,
            affinity=call.generation.work.run_id,
            hedge_after_s=plan.hedge_after_s,
            refusal_moves_on=plan.refusal_moves_on,
            in_production=call.generation.purpose is Purpose.PRODUCTION,
        )
        running = partial(self._failover.run, inquiry, call.course)
        return await (buffered(running, tell) if delivery is Delivery.BUFFERED else running(tell))

    async def _opened(self, call: _Call, fingerprint: str) -> "tuple[Opening, Opened] | Answer | OverBudget":
        """The call under its request key and its budgets. Another call under the key is waited for: its answer will be this one's."""
        generation, wait_s, wanted = call.generation, _BUSY_FIRST_S, call.plan.first_estimate()
        ends_at = self._clock.monotonic() + (_BUSY_CAP_S if (left := remaining_s()) is None else left)
        while True:
            opening = Opening(
                call_id=call.call_id,
                tenant=call.asker.tenant,
                request_key=generation.request_key,
                fingerprint=fingerprint,
                agent=generation.work.agent,
                key=call.asker.key,
                wanted=wanted,
                purpose=generation.purpose,
            )
            opens = await self._ledger.open(opening)
            match opens:
                case Opened():
                    return opening, opens
                case Answer():
                    return opens
                case OverBudget():
                    smaller = call.plan.smaller_estimate(opens)
                    if smaller is None:
                        return opens
                    call.plan, wanted = smaller
                case Busy():
                    if self._clock.monotonic() + wait_s >= ends_at:
                        raise RequestKeyBusy(remedy="ask again later under the same key", retry_after_s=1.0)
                    await asyncio.sleep(wait_s)
                    wait_s = min(_BUSY_MOST_S, wait_s * 2)

    async def _recorded(self, call: CompletedCall) -> Outcome:
        """The outcome, kept; of two answers to one request key, the first one kept holds for both.

        What nobody looks up at once is kept a little later: its caller does not wait for the disk.
        """
        if not (call.generation.request_key or call.cache_key or call.generation.work.run_id):
            await self._ledger.settle(call)
            return call.outcome
        earlier = await self._ledger.record(call)
        return call.outcome if earlier is None else earlier

    async def _recalled(self, asker: Asker, generation: Generation, fingerprint: str) -> Answer | None:
        """The answer under the request key, for a question that can no longer be asked as it was."""
        if not generation.request_key:
            return None
        return await self._ledger.recall(asker.tenant, generation.request_key, fingerprint)

    async def _from_cache(self, call: _Call) -> Answer | None:
        """An earlier answer to the very same question, where the caller gave leave and one is young enough. It is told like a call."""
        policy = call.generation.cache
        if policy is None or not call.plan.cache_key:
            return None
        since = self._clock.now() - timedelta(seconds=policy.max_age_s)
        found = await self._ledger.cached(call.asker.tenant, call.plan.cache_key, since)
        if found is None:
            return None
        answer = replace(found, cached=True, recorded=False, usage=Usage(), attempts=(), call_id=call.call_id)
        now = self._clock.now()
        told = CompletedCall(
            call_id=call.call_id,
            tenant=call.asker.tenant,
            generation=replace(call.generation, request_key=""),
            fingerprint="",
            outcome=answer,
            started_at=now,
            duration_s=0.0,
            choice=call.plan.choice,
            key=call.asker.key,
            prompt_version=call.plan.prompt_version,
        )
        self._ledger.post(told)
        return answer

    def _draw(self, generation: Generation) -> float:
        """What decides where chance does: the same for all turns of a node in a run, so that a tool loop keeps its model."""
        work = generation.work
        if work.run_id:
            return zlib.crc32(f"{work.run_id}\0{work.node}".encode()) / 2**32
        return random.random()  # noqa: S311 - a share of the traffic, not a secret


def _unasked(call: _Call, failure: Failure) -> Unanswered:
    return Unanswered(failure=failure, attempts=(), prompt_digest=call.plan.prompt_digest, call_id=call.call_id)


def _abandoned(call: _Call) -> Unanswered:
    """What the ledger keeps of a call whose caller left, or that could not be kept in time."""
    failure = Failure(category=Category.INTERNAL, reason="ABANDONED", message="the caller left before the answer", where="model-router")
    return Unanswered(
        failure=failure,
        attempts=call.course.attempts,
        prompt_digest=call.plan.prompt_digest,
        call_id=call.call_id,
        priced=not call.course.unpriced,
    )
