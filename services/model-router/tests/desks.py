"""A failover over fakes, as several tests need it."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from model_router_fakes import FakeGate, FakeUpstream
from model_router_samples import INTENTS, failure, question
from plimsoll_model_router.domain.budgets import Estimate
from plimsoll_model_router.domain.endpoints import Credential, Dialect, Timers
from plimsoll_model_router.domain.generation import Outcome, Progress, Question
from plimsoll_model_router.domain.pace import Pace
from plimsoll_model_router.domain.pricing import Price
from plimsoll_model_router.domain.routing import Candidate, Model
from plimsoll_model_router.domain.schemas import compiled
from plimsoll_model_router.domain.tokens import question_tokens
from plimsoll_model_router.errors import ProviderError, Remedy
from plimsoll_model_router.failover.attempts import Attempts
from plimsoll_model_router.failover.credentials import CredentialLimits, Credentials
from plimsoll_model_router.failover.delivery import buffered
from plimsoll_model_router.failover.failover import Failover
from plimsoll_model_router.failover.inquiry import Course, Delivery, Inquiry
from plimsoll_runtime.breaker import BreakerPolicy
from plimsoll_runtime.failures import Category, Failure
from plimsoll_runtime.settings import Secret
from plimsoll_runtime.usage import Usage
from plimsoll_testkit.clock import FakeClock

PRICE = Price(input_micros=1_000_000, output_micros=2_000_000, cached_input_micros=0)


def refused(
    remedy: Remedy,
    category: Category = Category.UPSTREAM_UNAVAILABLE,
    *,
    after_s: float | None = None,
    usage: Usage | None = None,
    reason: str = "",
) -> ProviderError:
    told = failure(category, retry_after_s=after_s)
    return ProviderError(replace(told, reason=reason or told.reason), remedy, usage=usage)


class Wallet:
    """A purse with so many tokens in it."""

    def __init__(self, tokens: int = 0) -> None:
        self.tokens = tokens
        self.covered: list[tuple[int, Estimate]] = []
        self.freed: list[int] = []

    @property
    def capped(self) -> bool:
        return bool(self.tokens)

    async def cover(self, number: int, wanted: Estimate, spent: Usage) -> None:
        if wanted.tokens + spent.input_tokens + spent.output_tokens > self.tokens:
            over = Failure(category=Category.BUDGET_EXCEEDED, reason="BUDGET_USED_UP", message="no room")
            raise ProviderError(over, Remedy.NEXT_PROVIDER, sent=False)
        self.covered.append((number, wanted))

    def free(self, number: int) -> None:
        self.freed.append(number)


@dataclass(slots=True)
class Told:
    """What was told on the way to an outcome; the caller leaves once it heard `enough`."""

    steps: list[Progress] = field(default_factory=list)
    enough: Callable[[Progress], bool] = lambda _: False

    async def note(self, step: Progress) -> None:
        self.steps.append(step)
        if self.enough(step):
            raise asyncio.CancelledError  # as a write to somebody who left does


@dataclass
class Desk:
    """A failover over one fake upstream with a model for each candidate; pauses pass at once and are noted."""

    clock: FakeClock
    upstream: FakeUpstream
    names: Sequence[str]
    price: Price | None = None
    contexts: dict[str, int] = field(default_factory=dict)
    keys: Sequence[str] = ()
    limits: CredentialLimits = field(default_factory=CredentialLimits)
    pauses: list[float] = field(default_factory=list)
    wallet: Wallet = field(default_factory=Wallet)
    course: Course = field(default_factory=Course)

    def __post_init__(self) -> None:
        self.gate = FakeGate(self.clock)
        attempts = Attempts(
            dict.fromkeys(Dialect, self.upstream),
            self.gate,
            self.clock,
            Pace(),
            timers=Timers(),
            breaker=BreakerPolicy(),
            limits={"p": self.limits},
        )
        self.attempts = attempts
        keys = [Credential(name=name, secret=Secret(name)) for name in self.keys]
        self.failover = Failover(attempts, Credentials({"p": keys}, self.clock), self.clock, cap_s=60.0, sleep=self.pause)

    async def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.clock.advance(seconds)

    def candidate(self, name: str) -> Candidate:
        model = Model(provider="p", name=name, price=self.price, context_tokens=self.contexts.get(name, 0))
        return Candidate(model=model, ask_for=name)

    async def steps(
        self,
        delivery: Delivery = Delivery.WHOLE,
        *,
        schema: bool = False,
        max_cost: int = 0,
        asked: Question | None = None,
        hedge_after_s: float = 0.0,
        refusal_moves_on: bool = False,
    ) -> list[Progress | Outcome]:
        told = asked or question()
        inquiry = Inquiry(
            call_id="call_1",
            question=told,
            candidates=[self.candidate(name) for name in self.names],
            schema=compiled(INTENTS) if schema else None,
            prompt_digest="d",
            input_tokens=question_tokens(told),
            purse=self.wallet,
            max_cost_micros=max_cost,
            delivery=delivery,
            hedge_after_s=hedge_after_s,
            refusal_moves_on=refusal_moves_on,
        )
        self.course = Course()
        running, told_to_us = partial(self.failover.run, inquiry, self.course), Told()
        outcome = await (buffered(running, told_to_us.note) if delivery is Delivery.BUFFERED else running(told_to_us.note))
        return [*told_to_us.steps, outcome]

    async def outcome(
        self, *, schema: bool = False, max_cost: int = 0, asked: Question | None = None, refusal_moves_on: bool = False
    ) -> Outcome:
        [outcome] = await self.steps(schema=schema, max_cost=max_cost, asked=asked, refusal_moves_on=refusal_moves_on)
        assert not isinstance(outcome, Progress)
        return outcome


def desk(clock: FakeClock, *, keys: Sequence[str] = (), **steps: Sequence[object]) -> Desk:
    return Desk(clock, FakeUpstream(**steps), tuple(steps), keys=keys)  # type: ignore[arg-type]
