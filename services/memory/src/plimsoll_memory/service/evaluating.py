"""Evaluating: how good the answers to labelled queries are, and whether another configuration does better."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from plimsoll_runtime.clock import Clock
from plimsoll_runtime.errors import FieldProblem

from plimsoll_memory.domain.document import collection_problems
from plimsoll_memory.domain.measures import Comparison, Measure, Ranking, compare, measure, mrr, ndcg, recall
from plimsoll_memory.domain.query_set import LabelledQuery, QuerySet, QuerySetSummary, check
from plimsoll_memory.domain.search import DEFAULT, MOST_PASSAGES, Configuration, Receipt, SearchRequest, configuration_problems
from plimsoll_memory.errors import QuerySetNotFound, RequestRefused
from plimsoll_memory.ports import QuerySetStore
from plimsoll_memory.service.searching import Searching

_KS = (5, 10, 100)
_AT_ONCE = 4
_WORST = 10
_MOST_KS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to measure: a stored set by its name, or one that comes along; empty fields mean the default."""

    name: str = ""
    query_set: QuerySet | None = None
    collection: str = ""
    ks: tuple[int, ...] = ()
    configuration: Configuration = DEFAULT
    baseline: Configuration | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How one query went; `first_rank` 0 when nothing relevant was found."""

    query_id: str
    ndcg: float
    recall: float
    first_rank: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """`left_out` names queries that cannot be measured, each with the reason; `queries` counts the others."""

    digest: str
    collection: str
    configuration: str
    embedder: str
    reranker: str
    queries: int
    measures: Sequence[Measure]
    comparisons: Sequence[Comparison]
    worst: Sequence[Outcome]
    left_out: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluating:
    """The verbs of labelled queries. Each works for one tenant and sees nothing of the others."""

    store: QuerySetStore
    searching: Searching
    clock: Clock

    async def put(self, tenant: str, query_set: QuerySet) -> QuerySetSummary:
        """Keep a set in the place of what its name had before. Raises RequestRefused."""
        check(query_set, named=True)
        return await self.store.put_query_set(tenant, query_set, self.clock.now())

    async def list_sets(self, tenant: str) -> Sequence[QuerySetSummary]:
        """All sets of the tenant, by name."""
        return await self.store.list_query_sets(tenant)

    async def delete(self, tenant: str, name: str) -> None:
        """Forget a set; one that is not there is forgotten already."""
        await self.store.delete_query_set(tenant, name)

    async def evaluate(self, tenant: str, order: Order) -> Evaluation:
        """Ask every query and judge the answers. Raises RequestRefused, QuerySetNotFound or CollectionNotFound."""
        query_set, ks = await self._query_set(tenant, order), _checked(order)
        collection = order.collection or query_set.collection
        queries, left_out = await self._measurable(tenant, collection, query_set)
        if not queries:
            problem = FieldProblem(
                "queries", f"none can be measured: {'; '.join(left_out[:3])}", "judge documents that the collection holds"
            )
            raise RequestRefused(problems=[problem])
        rankings, receipt = await self._ask(tenant, collection, queries, order.configuration)
        comparisons: Sequence[Comparison] = ()
        if order.baseline is not None:
            baseline, _ = await self._ask(tenant, collection, queries, order.baseline)
            comparisons = await asyncio.to_thread(compare, rankings, baseline, ks)
        at = max((k for k in ks if k <= 10), default=ks[0])
        outcomes = [_outcome(query, ranking, at) for query, ranking in zip(queries, rankings, strict=True)]
        return Evaluation(
            digest=query_set.digest,
            collection=collection,
            configuration=order.configuration.name,
            embedder=receipt.embedder,
            reranker=receipt.reranker,
            queries=len(queries),
            measures=await asyncio.to_thread(measure, rankings, ks),
            comparisons=comparisons,
            worst=sorted(outcomes, key=lambda one: (one.ndcg, one.recall, one.query_id))[:_WORST],
            left_out=left_out,
        )

    async def _query_set(self, tenant: str, order: Order) -> QuerySet:
        if order.query_set is not None:
            check(order.query_set, named=False)
            return order.query_set
        found = await self.store.find_query_set(tenant, order.name)
        if found is None:
            raise QuerySetNotFound(f"there is no query set {order.name!r}", remedy="see the list of query sets")
        return found

    async def _measurable(self, tenant: str, collection: str, query_set: QuerySet) -> tuple[list[LabelledQuery], list[str]]:
        wanted = {one.source for query in query_set.queries for one in query.relevant}
        known = await self.store.known_sources(tenant, collection, sorted(wanted))
        queries, left_out = [], []
        for query in query_set.queries:
            if not query.relevant:
                left_out.append(f"{query.query_id}: nothing is judged relevant")
            elif not any(one.source in known for one in query.relevant):
                left_out.append(f"{query.query_id}: none of its {len(query.relevant)} relevant documents is in the collection")
            else:
                queries.append(query)
        return queries, left_out

    async def _ask(
        self, tenant: str, collection: str, queries: Sequence[LabelledQuery], configuration: Configuration
    ) -> tuple[list[Ranking], Receipt]:
        room = asyncio.Semaphore(_AT_ONCE)

        async def ask(query: LabelledQuery) -> tuple[Ranking, Receipt]:
            request = SearchRequest(
                collection=collection, query=query.query, limit=MOST_PASSAGES, filter=query.filter, configuration=configuration
            )
            async with room:
                answer = await self.searching.answer(tenant, request, Receipt(search_id="", requested=request.limit))
            return query.judge(answer.passages), answer.receipt

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(ask(query)) for query in queries]
        results = [task.result() for task in tasks]
        return [ranking for ranking, _ in results], results[-1][1]


def _checked(order: Order) -> tuple[int, ...]:
    """The depths to measure at. Raises RequestRefused."""
    ks = tuple(sorted(set(order.ks))) or _KS
    problems = configuration_problems(order.configuration, "configuration")
    if order.baseline is not None:
        problems += configuration_problems(order.baseline, "baseline")
    if order.collection:
        problems += collection_problems(order.collection)
    wrong = next((k for k in ks if not 1 <= k <= MOST_PASSAGES), None)
    if wrong is not None or len(ks) > _MOST_KS:
        found = f"holds {wrong}" if wrong is not None else f"has {len(ks)} values"
        problems.append(FieldProblem("ks", found, f"use up to {_MOST_KS} values of 1 to {MOST_PASSAGES}, or none for 5, 10 and 100"))
    if problems:
        raise RequestRefused(problems=problems)
    return ks


def _outcome(query: LabelledQuery, ranking: Ranking, k: int) -> Outcome:
    first = mrr(ranking, len(ranking.grades))
    return Outcome(
        query_id=query.query_id,
        ndcg=ndcg(ranking, k),
        recall=recall(ranking, len(ranking.grades)),
        first_rank=round(1 / first) if first else 0,
    )
