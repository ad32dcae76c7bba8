"""Having texts made into vectors: the classes of failure are those of answers, one model does all of a call."""

import asyncio
from collections.abc import Mapping, Sequence

from plimsoll_runtime.breaker import BreakerPolicy, Open, Verdict
from plimsoll_runtime.clock import Clock
from plimsoll_runtime.deadline import remaining_s
from plimsoll_runtime.failures import Category
from plimsoll_runtime.guard import Entered
from plimsoll_runtime.guard import Upstream as Guarded
from plimsoll_runtime.limiter import Limited
from plimsoll_runtime.retry import RetryPolicy

from plimsoll_model_router.domain.embedding import Embedded, EmbeddingWish
from plimsoll_model_router.domain.endpoints import Credential, Dialect, EmbeddingAsk, Embeddings, Timers
from plimsoll_model_router.domain.generation import Attempt, Unanswered
from plimsoll_model_router.domain.routing import Candidate
from plimsoll_model_router.errors import ProviderError, Remedy
from plimsoll_model_router.failover.attempts import NO_LIMITS
from plimsoll_model_router.failover.credentials import Cooling, CredentialLimits, Credentials
from plimsoll_model_router.failover.inquiry import attempt_of, failed
from plimsoll_model_router.ports import Gate, Upstream

_POLICY = RetryPolicy(attempts=4)
_CAP_S = 120.0


class EmbeddingFailover:
    def __init__(
        self,
        upstreams: Mapping[Dialect, Upstream],
        gate: Gate,
        credentials: Credentials,
        clock: Clock,
        *,
        timers: Timers,
        limits: Mapping[str, CredentialLimits],
        breaker: BreakerPolicy,
    ) -> None:
        self._upstreams = upstreams
        self._gate = gate
        self._credentials = credentials
        self._clock = clock
        self._timers = timers
        self._limits = limits
        self._breaker = breaker

    async def run(self, wish: EmbeddingWish, candidates: Sequence[Candidate], call_id: str, tokens: int) -> Embedded | Unanswered:
        """The vectors, or why there are none."""
        [candidate], attempts, avoided = candidates, list[Attempt](), frozenset[str]()
        left = remaining_s()
        ends_at = self._clock.monotonic() + (_CAP_S if left is None else min(_CAP_S, left))
        while True:
            started = self._clock.monotonic()
            credential = self._credentials.pick(candidate.model.provider, "", avoided)
            try:
                made = await self._make(wish, candidate, credential, f"{call_id}:{len(attempts) + 1}", tokens)
            except ProviderError as error:
                named = credential.name if isinstance(credential, Credential) else ""
                attempts.append(attempt_of(candidate, named, self._clock.monotonic() - started, error.usage, error.failure))
                pause_s = self._pause_s(error, len(attempts), ends_at)
                if isinstance(credential, Credential):
                    self._credentials.note(candidate.model.provider, credential, error)
                    if error.remedy is Remedy.NEXT_CREDENTIAL and self._credentials.others(candidate.model.provider, avoided | {named}):
                        avoided, pause_s = avoided | {named}, 0.0
                if pause_s is None or len(attempts) >= _POLICY.attempts:
                    return Unanswered(failure=error.failure, attempts=tuple(attempts), call_id=call_id)
                await asyncio.sleep(pause_s)
                continue
            assert isinstance(credential, Credential)
            attempts.append(attempt_of(candidate, credential.name, self._clock.monotonic() - started, made.usage))
            return Embedded(
                vectors=made.vectors,
                provider=candidate.model.provider,
                model=made.model,
                rehearsal=candidate.model.rehearsal,
                usage=attempts[-1].usage,
                attempts=tuple(attempts),
            )

    async def _make(
        self, wish: EmbeddingWish, candidate: Candidate, credential: Credential | Cooling, token: str, tokens: int
    ) -> Embeddings:
        where = candidate.full_name
        if isinstance(credential, Cooling):
            what, seconds = "has no credential that may be used now", credential.retry_after_s
            raise failed(Category.RATE_LIMITED, "CREDENTIALS_COOLING", what, where, Remedy.RETRY, retry_after_s=seconds)
        limits = self._limits.get(candidate.model.provider, NO_LIMITS).limits(credential.name or "none", tokens)
        entered = await self._gate.enter(Guarded(name=f"{where}:embed", limits=limits, policy=self._breaker), token)
        match entered:
            case Open(retry_after_s=seconds):
                what = "is left alone for a while: it failed too often"
                raise failed(Category.UPSTREAM_UNAVAILABLE, "BREAKER_OPEN", what, where, Remedy.NEXT_PROVIDER, retry_after_s=seconds)
            case Limited(name=name, retry_after_s=seconds):
                what = f"was not asked: {name} per minute are used up"
                raise failed(Category.RATE_LIMITED, "LIMIT_REACHED", what, where, Remedy.RETRY, retry_after_s=seconds)
            case Entered():
                endpoint = candidate.endpoint
                ask = EmbeddingAsk(
                    texts=wish.texts,
                    endpoint=endpoint,
                    credential=credential,
                    timers=candidate.waits(self._timers),
                    dimensions=wish.dimensions,
                )
                try:
                    made = await self._upstreams[endpoint.dialect].embed(ask)
                except ProviderError as error:
                    broke = error.failure.category in {Category.UPSTREAM_UNAVAILABLE, Category.TIMEOUT}
                    await self._gate.report(entered, Verdict.FAILED if broke else Verdict.NEUTRAL)
                    raise
                await self._gate.report(entered, Verdict.SUCCEEDED)
                return made

    def _pause_s(self, error: ProviderError, made: int, ends_at: float) -> float | None:
        if error.remedy is not Remedy.RETRY:
            return None
        left_s = ends_at - self._clock.monotonic()
        return _POLICY.pause_s(made, left_s=left_s, draw=lambda: 0.5, asked_s=error.failure.retry_after_s)
