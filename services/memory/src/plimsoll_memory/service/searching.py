"""Searching: candidates by words and by vectors, fused, reranked when there is time, with a receipt."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from plimsoll_runtime import logs
from plimsoll_runtime.clock import Clock
from plimsoll_runtime.deadline import remaining_s, within
from plimsoll_runtime.errors import DeadlineExpired, ErrorKind, PlimsollError
from plimsoll_runtime.failures import failure_from_error
from plimsoll_runtime.ids import Ids

from plimsoll_memory.domain import ranking
from plimsoll_memory.domain.document import Settled
from plimsoll_memory.domain.embedding import LATENT_FLOOR, LATENT_WEIGHT, is_learned
from plimsoll_memory.domain.ranking import Passage, Weights
from plimsoll_memory.domain.search import Answer, Candidates, Question, Receipt, SearchCompleted, SearchRequest, VectorQuestion, check
from plimsoll_memory.ports import Embedders, Library, PassageIndex, Rerankers, SearchLog
from plimsoll_memory.service.memory import known_collection

_DEPTH = 100  # of each list: as deep as an answer may be long
_RERANK_DEPTH = 50
_CALLERS_FAULT = frozenset({ErrorKind.INVALID, ErrorKind.NOT_FOUND})


@dataclass(frozen=True, slots=True, kw_only=True)
class Searching:
    """Answers searches of one tenant at a time.

    rerank_cap_s  seconds that reranking may take; after that the answer goes without
    """

    library: Library
    index: PassageIndex
    embedders: Embedders
    rerankers: Rerankers
    search_log: SearchLog
    rerank_cap_s: float
    clock: Clock
    ids: Ids
    log: logs.Log

    async def search(self, tenant: str, request: SearchRequest) -> Answer:
        """The passages that answer a query best. Raises RequestRefused or CollectionNotFound; finding nothing is an answer.

        Every answer is announced, and so is every search that failed without being the caller's fault.
        """
        check(request)
        search_id, started_at, started = self.ids.new("search"), self.clock.now(), self.clock.monotonic()
        asked = Receipt(search_id=search_id, requested=request.limit, configuration=request.configuration.name)
        completed = SearchCompleted(
            event_id=self.ids.new("evt"),
            tenant=tenant,
            work=request.work,
            collection=request.collection,
            receipt=asked,
            started_at=started_at,
            duration_s=0.0,
        )
        try:
            answer = await self.answer(tenant, request, asked)
        except PlimsollError as error:
            if error.kind not in _CALLERS_FAULT:
                failure = failure_from_error(error, request.collection)
                await self._announce(replace(completed, failure=failure, duration_s=self.clock.monotonic() - started))
            raise
        await self.search_log.record(
            replace(
                completed,
                receipt=answer.receipt,
                passages=tuple(one.candidate.chunk_id for one in answer.passages),
                duration_s=self.clock.monotonic() - started,
            )
        )
        return answer

    async def answer(self, tenant: str, request: SearchRequest, asked: Receipt) -> Answer:
        """The answer alone, announced to nobody: for measuring."""
        configuration = request.configuration
        collection = await known_collection(self.library, tenant, request.collection)
        weights = self._weights(collection, request)
        vector, skipped = await self._ask_vector(collection, request) if weights.vector else (None, ("vector: left out as configured",))
        reranker = self._reranker(collection, request)
        question = Question(
            collection=collection.name,
            language=collection.language,
            query=request.query,
            filter=request.filter,
            vector=replace(vector, exact=vector.exact or configuration.exact) if vector else None,
            depth=_DEPTH,
            keep=max(request.limit, _RERANK_DEPTH) if reranker else request.limit,
            words=weights.text > 0,
        )
        found = await self.index.candidates(tenant, question)
        passages = ranking.fuse(found.passages, weights, limit=question.keep)
        skipped = (*self._unknown_words(found, question), *skipped, *await self._unknown_fields(tenant, request, passages))
        receipt = replace(
            asked,
            text_candidates=found.text_count,
            vector_candidates=found.vector_count,
            exact=found.exact,
            embedder=vector.embedder if vector else "",
        )
        if reranker and passages:
            passages, receipt, skipped = await self._rerank(reranker, request, passages, receipt, skipped)
        return _answered(passages[: request.limit], receipt, skipped)

    def _weights(self, collection: Settled, request: SearchRequest) -> Weights:
        configuration = request.configuration
        embedder = self.embedders.get(collection.embedder)
        default = LATENT_WEIGHT if is_learned(collection.embedder) else embedder.weight if embedder else 1.0
        return Weights(
            text=1.0 if configuration.text_weight is None else configuration.text_weight,
            vector=default if configuration.vector_weight is None else configuration.vector_weight,
        )

    async def _ask_vector(self, collection: Settled, request: SearchRequest) -> tuple[VectorQuestion | None, tuple[str, ...]]:
        """The query as a vector, or why there is none: search goes on with full text alone, and says so."""
        if is_learned(collection.embedder):
            return VectorQuestion(embedder=collection.embedder, vector=None, floor=LATENT_FLOOR, exact=collection.exact), ()
        embedder = self.embedders.get(collection.embedder)
        if embedder is None:
            return None, (f"vector: the embedder {collection.embedder} is not configured",)
        try:
            vector = await embedder.embed_query(request.query)
        except PlimsollError as error:
            return None, (f"vector: the embedder failed with {error.reason}",)
        if not any(vector):
            return None, ("vector: the query has no word to embed",)
        return VectorQuestion(embedder=embedder.name, vector=vector, floor=embedder.floor, exact=collection.exact), ()

    def _reranker(self, collection: Settled, request: SearchRequest) -> str:
        """The collection's; where it has none and the request wants one, the first that is configured."""
        match request.configuration.rerank:
            case False:
                return ""
            case True:
                return collection.reranker or next(iter(self.rerankers), "")
        return collection.reranker

    async def _rerank(
        self, name: str, request: SearchRequest, passages: Sequence[Passage], receipt: Receipt, skipped: tuple[str, ...]
    ) -> tuple[Sequence[Passage], Receipt, tuple[str, ...]]:
        """Order the best anew, if that can be done in time."""
        reranker = self.rerankers.get(name)
        if reranker is None:
            return passages, receipt, (*skipped, f"rerank: the reranker {name} is not configured")
        left = remaining_s()
        cap_s = self.rerank_cap_s if left is None else min(self.rerank_cap_s, left / 2)
        try:
            async with within(cap_s):
                scores = await reranker.rerank(request.query, [one.candidate.text for one in passages[:_RERANK_DEPTH]])
        except DeadlineExpired:
            return passages, receipt, (*skipped, f"rerank: took longer than {cap_s * 1000:.0f} ms")
        except PlimsollError as error:
            return passages, receipt, (*skipped, f"rerank: the reranker failed with {error.reason}")
        ordered = ranking.reorder(passages, scores, limit=len(passages))
        return ordered, replace(receipt, reranker=name, reranked=len(scores)), skipped

    def _unknown_words(self, found: Candidates, question: Question) -> tuple[str, ...]:
        if not question.words:
            return ("text: left out as configured",)
        return () if found.words else ("text: the collection knows no word of the query",)

    async def _unknown_fields(self, tenant: str, request: SearchRequest, passages: Sequence[Passage]) -> tuple[str, ...]:
        """Which fields of the filter no passage has: said when nothing was found, where it is most likely why."""
        if passages or not request.filter:
            return ()
        unknown = await self.index.unknown_fields(tenant, request.collection, list(request.filter))
        return tuple(f"filter: no passage of the collection has the field {field!r}" for field in unknown)

    async def _announce(self, completed: SearchCompleted) -> None:
        """Of a search that failed; what it failed of may be away for the announcement, too."""
        try:
            await self.search_log.record(completed)
        except PlimsollError as error:
            self.log.warning("search.unannounced", {"reason": error.reason})


def _answered(passages: Sequence[Passage], receipt: Receipt, skipped: tuple[str, ...]) -> Answer:
    return Answer(
        passages=passages,
        receipt=replace(
            receipt,
            returned=len(passages),
            skipped=skipped,
            best_score=passages[0].score if passages else 0.0,
            best_similarity=max((one.candidate.similarity for one in passages), default=0.0),
            best_text_score=max((one.candidate.text_score for one in passages), default=0.0),
        ),
    )
