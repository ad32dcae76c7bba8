"""One question with everything that is needed to have it answered, and how that goes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from plimsoll_runtime.failures import Category, Failure
from plimsoll_runtime.usage import Usage

from plimsoll_model_router.domain import pricing
from plimsoll_model_router.domain.budgets import Estimate
from plimsoll_model_router.domain.conversion import Conversion
from plimsoll_model_router.domain.generation import Attempt, Question
from plimsoll_model_router.domain.routing import Candidate
from plimsoll_model_router.domain.schemas import CompiledSchema
from plimsoll_model_router.errors import ProviderError, Remedy

NOTHING = Usage()


class Delivery(StrEnum):
    """How the text of an attempt that may still fail reaches the caller."""

    WHOLE = "whole"  # not at all: only the outcome
    RETRACTABLE = "retractable"  # at once; a later attempt may void it
    BUFFERED = "buffered"  # after the verified end of its attempt
    STRICT = "strict"  # at once; what breaks after its first piece is a failure


class Purse(Protocol):
    """What the attempts of a call are paid from."""

    @property
    def capped(self) -> bool:
        """Whether there is a cap at all: then every answer needs a limit of its length."""
        ...

    async def cover(self, number: int, wanted: Estimate, spent: Usage) -> None:
        """Make sure that attempt `number` can be paid beside what was spent, and those under way. Raises ProviderError when it cannot."""
        ...

    def free(self, number: int) -> None:
        """The attempt has ended: what it owes is among what was spent."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Inquiry:
    """Attributes:
    candidates        in the order in which they are tried
    schema            compiled, when an output is asked for
    input_tokens      what the question counts for
    max_cost_micros   of all attempts together; 0 means no limit
    affinity          calls of one conversation have the same: they keep to one credential
    hedge_after_s     0 means never
    refusal_moves_on  a refusal is taken to the next candidate
    in_production     how long it takes counts for the choice of models
    """

    call_id: str
    question: Question
    candidates: Sequence[Candidate]
    schema: CompiledSchema | None
    prompt_digest: str
    input_tokens: int
    purse: Purse
    max_cost_micros: int = 0
    delivery: Delivery = Delivery.WHOLE
    affinity: str = ""
    hedge_after_s: float = 0.0
    refusal_moves_on: bool = False
    in_production: bool = True


@dataclass(slots=True, kw_only=True)
class Course:
    """How an inquiry goes.

    Attributes:
    too_small  the largest context that was not enough
    hopeless   nothing that is left could help
    spoken     a piece of some attempt has left
    unpriced   models without a known price that are to be billed
    hedged     candidates that were asked beside another one, by name
    spent      by all attempts that have ended
    """

    ends_at: float = 0.0
    too_small: int = -1
    hopeless: bool = False
    spoken: bool = False
    unpriced: set[str] = field(default_factory=set)
    last: Failure | None = None
    hedged: set[str] = field(default_factory=set)
    spent: Usage = NOTHING
    _begun: int = 0
    _ended: dict[int, Attempt] = field(default_factory=dict)

    def begin(self) -> int:
        """The number of the next attempt."""
        self._begun += 1
        return self._begun

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """Those that have ended, in the order of their numbers."""
        return tuple(attempt for _, attempt in sorted(self._ended.items()))

    def end(self, number: int, attempt: Attempt, candidate: Candidate) -> None:
        """An attempt ended."""
        self._ended[number] = attempt
        self.spent = self.spent + attempt.usage if self.spent is not NOTHING else attempt.usage
        if candidate.model.price is None and attempt.usage.input_tokens + attempt.usage.output_tokens:
            self.unpriced.add(candidate.full_name)

    def note(self, error: ProviderError, candidate: Candidate, *, refusal_moves_on: bool) -> None:
        """What a failure means for the candidates that are left."""
        self.last = error.failure
        refused = error.failure.category is Category.MODEL_REFUSED
        self.hopeless = error.remedy is Remedy.NEVER and not (refused and refusal_moves_on)
        if error.remedy is Remedy.LARGER_CONTEXT:
            self.too_small = max(self.too_small, candidate.model.context_tokens)


def attempt_of(
    candidate: Candidate,
    credential: str,
    duration_s: float,
    usage: Usage,
    failure: Failure | None = None,
    report: tuple[Conversion, ...] = (),
) -> Attempt:
    """The attempt; its usage gets the price of its model."""
    return Attempt(
        provider=candidate.model.provider,
        model=candidate.ask_for,
        duration_s=duration_s,
        usage=pricing.priced(usage, candidate.model.price),
        failure=failure,
        report=report,
        credential=credential,
    )


def failed(category: Category, reason: str, what: str, where: str, remedy: Remedy, *, retry_after_s: float | None = None) -> ProviderError:
    """A failure that is ours to tell: nothing of it reached the provider, or nothing came back."""
    retryable = category in {Category.TIMEOUT, Category.MODEL_MALFORMED, Category.RATE_LIMITED, Category.UPSTREAM_UNAVAILABLE}
    failure = Failure(
        category=category, reason=reason, message=f"{where} {what}", retryable=retryable, retry_after_s=retry_after_s, where=where
    )
    return ProviderError(failure, remedy, sent=False)
