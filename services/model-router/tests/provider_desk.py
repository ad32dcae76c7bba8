"""A caller before a failover whose providers are the scripted upstream: what it hears, and what the upstream saw."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count

from model_router_asks import ALL, endpoint
from model_router_conversations import LOOKUP, question
from plimsoll_model_router.adapters.providers.dialects import upstreams
from plimsoll_model_router.adapters.providers.http import HttpTransport
from plimsoll_model_router.domain.budgets import Estimate
from plimsoll_model_router.domain.endpoints import Credential, Dialect, Feature, Timers
from plimsoll_model_router.domain.generation import Answer, Began, Outcome, Progress, Question, Unanswered
from plimsoll_model_router.domain.own_timers import NO_TIMERS, OwnTimers
from plimsoll_model_router.domain.pace import Pace
from plimsoll_model_router.domain.rehearsal.fits import Fits
from plimsoll_model_router.domain.routing import Candidate, Model
from plimsoll_model_router.domain.tokens import question_tokens
from plimsoll_model_router.failover.attempts import Attempts
from plimsoll_model_router.failover.credentials import Credentials
from plimsoll_model_router.failover.delivery import buffered
from plimsoll_model_router.failover.failover import Failover
from plimsoll_model_router.failover.inquiry import Course, Delivery, Inquiry
from plimsoll_model_router.ports import Gate
from plimsoll_runtime.breaker import BreakerPolicy
from plimsoll_runtime.clock import SystemClock
from plimsoll_runtime.settings import Secret
from plimsoll_runtime.usage import Usage
from plimsoll_testkit.clock import FakeClock
from plimsoll_testkit.upstream import Outcome as Seen
from plimsoll_testkit.upstream import ScriptedUpstream
from plimsoll_testkit.waiting import eventually

HASTY = OwnTimers(first_token_s=0.15, silence_s=0.15, total_s=5.0)
PATIENT = Timers(connect_s=60.0, first_token_s=60.0, silence_s=60.0, total_s=60.0)
ENDLESS = {"silent", "slow", "slow-start", "chatter", "stall"}  # with these alone is nobody patient: a slow machine is not like one
FINE = "fine"


class Open:
    """A purse without a cap."""

    @property
    def capped(self) -> bool:
        return False

    async def cover(self, number: int, wanted: Estimate, spent: Usage) -> None:
        """Everything can be paid."""

    def free(self, number: int) -> None:
        """Nothing was held."""


@dataclass(slots=True, kw_only=True)
class Heard:
    """What the caller heard: the pieces of each attempt, and the outcome."""

    outcome: Outcome
    pieces: dict[int, str]

    @property
    def answer(self) -> Answer:
        assert isinstance(self.outcome, Answer), self.outcome
        return self.outcome

    @property
    def reason(self) -> str:
        assert isinstance(self.outcome, Unanswered), self.outcome
        return self.outcome.failure.reason


@dataclass(slots=True, kw_only=True)
class Desk:
    """A caller before a failover with a primary and a secondary provider, both the scripted upstream. Pauses pass at once."""

    failover: Failover
    served: ScriptedUpstream
    dialect: Dialect
    pauses: list[float] = field(default_factory=list)
    calls: Iterator[int] = field(default_factory=count)

    def candidate(self, provider: str, model: str, context: int) -> Candidate:
        where = endpoint(self.dialect, model, url=self.served.url)
        found = Model(
            provider=provider,
            name=model,
            dialect=self.dialect,
            base_url=where.base_url,
            context_tokens=context,
            features=ALL - {Feature.EMBEDDINGS, Feature.REASONING},
            timers=HASTY if model in ENDLESS else NO_TIMERS,
        )
        return Candidate(model=found, ask_for=model)

    async def ask(
        self,
        fault: str,
        delivery: Delivery = Delivery.RETRACTABLE,
        asked: Question | None = None,
        *,
        contexts: tuple[int, int] = (0, 0),
    ) -> Heard:
        told = asked or question(tools=(LOOKUP,))
        inquiry = Inquiry(
            call_id=f"call_{next(self.calls)}",
            question=told,
            candidates=(self.candidate("primary", fault, contexts[0]), self.candidate("secondary", FINE, contexts[1])),
            schema=None,
            prompt_digest="",
            input_tokens=question_tokens(told),
            purse=Open(),
            delivery=delivery,
        )
        running, pieces = partial(self.failover.run, inquiry, Course()), dict[int, str]()

        async def note(step: Progress) -> None:
            if isinstance(step.delta, Began):
                assert step.attempt not in pieces
                assert not pieces or step.attempt > max(pieces)
                pieces[step.attempt] = ""
            pieces[step.attempt] += step.text

        outcome = await (buffered(running, note) if delivery is Delivery.BUFFERED else running(note))
        return Heard(outcome=outcome, pieces=pieces)

    def seen(self, model: str) -> list[Seen]:
        return [outcome for name, outcome in self.served.outcomes() if name == model]

    async def settled(self) -> None:
        """Until the upstream knows how every attempt ended."""
        await eventually(lambda: Seen.OPEN not in [outcome for _, outcome in self.served.outcomes()])


def failover_over(
    gate: Gate, transport: HttpTransport, clock: FakeClock | SystemClock, pauses: list[float], keys: Sequence[str]
) -> Failover:
    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        if isinstance(clock, FakeClock):
            clock.advance(seconds)

    given = {"primary": [Credential(name=f"primary-{at}", secret=Secret(key), scope=f"org-{at}") for at, key in enumerate(keys, 1)]}
    attempts = Attempts(
        upstreams(transport, Fits()),
        gate,
        clock,
        Pace(),
        timers=PATIENT,
        breaker=BreakerPolicy(failures=5, window_s=60.0, cooldown_s=0.2),
        limits={},
    )
    return Failover(attempts, Credentials(given, clock), clock, cap_s=60, sleep=pause)
