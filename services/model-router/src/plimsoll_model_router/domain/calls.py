"""A call as the ledger knows it: opened with a reservation, closed with what it consumed."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias

from plimsoll_runtime.failures import Failure
from plimsoll_runtime.json_types import JsonObject
from plimsoll_runtime.usage import Usage
from plimsoll_runtime.work import WorkContext

from plimsoll_model_router.domain.budgets import Estimate
from plimsoll_model_router.domain.choice import Choice
from plimsoll_model_router.domain.generation import Answer, Attempt, Generation, Outcome, Purpose

NO_CHOICE = Choice()


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """A call that is about to be made. `key` is the API key that it is made with, `wanted` the most that it may consume for now."""

    call_id: str
    tenant: str
    request_key: str
    fingerprint: str
    agent: str
    key: str
    wanted: Estimate
    purpose: Purpose = Purpose.PRODUCTION


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """The call may be made. What budgets cap, has been reserved in them."""

    caps_tokens: bool = False
    caps_money: bool = False

    @property
    def capped(self) -> bool:
        return self.caps_tokens or self.caps_money


@dataclass(frozen=True, slots=True, kw_only=True)
class Busy:
    """Another call under the same request key is under way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OverBudget:
    """A budget has no room for the call. Rooms are what the tightest ones leave; None where nothing is capped."""

    budget: str
    room_tokens: int | None
    room_cost_micros: int | None
    renews_at: datetime | None = None


Opens: TypeAlias = Opened | Answer | Busy | OverBudget


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletedCall:
    """One finished call as the ledger keeps it and as the event tells it.

    Attributes:
    key             the API key that it was made with
    cache_key       what the answer may be found by again; empty when it is not to be
    prompt_version  0 without a prompt, and for one that is not registered
    model_digest    of the model entry that answered; empty for models of the configuration
    """

    call_id: str
    tenant: str
    generation: Generation
    fingerprint: str
    outcome: Outcome
    started_at: datetime
    duration_s: float
    choice: Choice = NO_CHOICE
    key: str = ""
    cache_key: str = ""
    prompt_version: int = 0
    model_digest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """What was asked and answered, as it crosses the wire; both empty when nothing of it is to be kept."""

    question: bytes
    answer: bytes


NO_BODY = Body(question=b"", answer=b"")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptBody:
    """What was asked and answered, as it crossed the wire. `answer` is empty when there was none."""

    question: bytes
    answer: bytes
    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptCall:
    """What the ledger still knows of a call. `choice` is as it was recorded; `body` is None once it is forgotten."""

    call_id: str
    task: str
    provider: str
    model: str
    prompt_name: str
    prompt_digest: str
    usage: Usage
    priced: bool
    started_at: datetime
    duration_s: float
    work: WorkContext
    failure: Failure | None = None
    attempts: tuple[Attempt, ...] = ()
    choice: JsonObject = field(default_factory=dict)
    purpose: Purpose = Purpose.PRODUCTION
    prompt_version: int = 0
    model_digest: str = ""
    confidence: float | None = None
    rehearsal: bool = False
    cached: bool = False
    body: KeptBody | None = None
