"""Embeddings: the same ledger and the same candidates as for answers, one model for all texts of a call."""

from plimsoll_runtime.clock import Clock
from plimsoll_runtime.failures import Category, Failure
from plimsoll_runtime.ids import Ids

from plimsoll_model_router.domain import embedding, routing
from plimsoll_model_router.domain.budgets import Estimate, estimate
from plimsoll_model_router.domain.calls import CompletedCall, Opened, Opening, OverBudget
from plimsoll_model_router.domain.choice import Aim, choose
from plimsoll_model_router.domain.embedding import TASK, Embedded, EmbeddingWish
from plimsoll_model_router.domain.endpoints import Feature
from plimsoll_model_router.domain.generation import Answer, Generation, Unanswered
from plimsoll_model_router.domain.messages import StopReason, assistant
from plimsoll_model_router.domain.routing import Candidate
from plimsoll_model_router.domain.tokens import count_tokens
from plimsoll_model_router.failover.embedding import EmbeddingFailover
from plimsoll_model_router.ports import CallLedger
from plimsoll_model_router.service.asker import Asker
from plimsoll_model_router.service.catalogue import Catalogue
from plimsoll_model_router.service.reservation import over_budget


class Embedder:
    def __init__(self, catalogue: Catalogue, ledger: CallLedger, failover: EmbeddingFailover, clock: Clock, ids: Ids) -> None:
        self._catalogue = catalogue
        self._ledger = ledger
        self._failover = failover
        self._clock = clock
        self._ids = ids

    async def embed(self, asker: Asker, wish: EmbeddingWish) -> Embedded | Unanswered:
        """The vectors, or why there are none. Raises InvalidGeneration or UnknownModel."""
        embedding.checked(wish)
        tokens = sum(map(count_tokens, wish.texts))
        candidates = await self._candidates(asker.tenant, wish, tokens)
        if not candidates:
            return _unanswered("NO_EMBEDDER", Category.UPSTREAM_REJECTED, "no configured model makes embeddings")
        call_id, started_at, started = self._ids.new("call"), self._clock.now(), self._clock.monotonic()
        wanted = max((estimate(tokens, 0, one.model.price) for one in candidates), key=lambda one: one.cost_micros)
        refusal = await self._opened(asker, wish, call_id, wanted)
        outcome: Answer | Unanswered | None = None

        def completed(result: Answer | Unanswered) -> CompletedCall:
            return CompletedCall(
                call_id=call_id,
                tenant=asker.tenant,
                generation=Generation(task=TASK, model=wish.model, work=wish.work),
                fingerprint="",
                outcome=result,
                started_at=started_at,
                duration_s=self._clock.monotonic() - started,
                key=asker.key,
            )

        try:
            embedded = refusal or await self._failover.run(wish, candidates, call_id, tokens)
            outcome = embedded if isinstance(embedded, Unanswered) else _as_answer(embedded, call_id)
            await self._ledger.settle(completed(outcome))
        except BaseException:  # the caller left, or the ledger is away: it gets the call all the same
            gone = _unanswered("ABANDONED", Category.INTERNAL, "the caller left before the answer")
            self._ledger.post(completed(outcome or gone))
            raise
        return embedded

    async def _candidates(self, tenant: str, wish: EmbeddingWish, tokens: int) -> tuple[Candidate, ...]:
        """Vectors of different models never compare: without a name or a route there is one candidate, not a list."""
        routed = None if wish.model else await self._catalogue.route(tenant, TASK)
        route = routed.route if routed is not None and routed.route.name == TASK else None
        models = await self._catalogue.models(tenant, wish.model)
        listed = routing.candidates([one for one in models if Feature.EMBEDDINGS in one.features], route, wanted=wish.model)
        choice = choose(listed, route, Aim(needs=frozenset({Feature.EMBEDDINGS}), input_tokens=min(tokens, 1)), {})
        return choice.eligible[:1]

    async def _opened(self, asker: Asker, wish: EmbeddingWish, call_id: str, wanted: Estimate) -> Unanswered | None:
        opening = Opening(
            call_id=call_id,
            tenant=asker.tenant,
            request_key="",
            fingerprint="",
            agent=wish.work.agent,
            key=asker.key,
            wanted=wanted,
        )
        opens = await self._ledger.open(opening)
        if isinstance(opens, OverBudget):
            return Unanswered(failure=over_budget(opens), attempts=(), call_id=call_id)
        assert isinstance(opens, Opened)  # there is no request key
        return None


def _as_answer(embedded: Embedded, call_id: str) -> Answer:
    """What the ledger keeps of it."""
    return Answer(
        message=assistant(),
        stop_reason=StopReason.END_TURN,
        usage=embedded.usage,
        provider=embedded.provider,
        model=embedded.model,
        rehearsal=embedded.rehearsal,
        prompt_digest="",
        attempts=embedded.attempts,
        call_id=call_id,
    )


def _unanswered(reason: str, category: Category, message: str) -> Unanswered:
    return Unanswered(failure=Failure(category=category, reason=reason, message=message), attempts=())
