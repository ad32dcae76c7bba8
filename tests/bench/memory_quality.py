"""Retrieval quality on the Cranfield collection, beside a public BM25 library on the same documents, queries and judgements.

The default configuration, no download. Every judged pair counts as relevant. The collection also chose k1, the passage size and the
weights of the lists: the figures flatter us by as much, and the peer's own defaults do not.
The data is not ours to ship: PLIMSOLL_BENCH_DATA names its folder, ../shared/data by default.
"""

import json
import os
import re
from pathlib import Path

from memory_desk import memory_desk
from memory_peer import bm25_figures
from plimsoll_devstack.servers import Servers
from plimsoll_memory.domain.document import accept
from plimsoll_memory.domain.query_set import Judgement, LabelledQuery, QuerySet
from plimsoll_memory.domain.search import Configuration
from plimsoll_memory.service.evaluating import Order
from results import Row

DATA = Path(os.environ.get("PLIMSOLL_BENCH_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
TENANT, COLLECTION = "bench", "cranfield"
PEER = "bm25s"


async def measure_quality(servers: Servers) -> list[Row]:
    """nDCG@10 and recall@100, ours and the peer's; the intervals and what reranking changes are printed."""
    if not (DATA / "cranfield-docs.txt").exists():
        print(f"the Cranfield collection is not in {DATA}: set PLIMSOLL_BENCH_DATA; not measured")
        return []
    documents, query_set = cranfield_documents(), cranfield_queries()
    async with memory_desk(servers) as desk:
        for source, text in documents.items():
            await desk.verbs.memory.ingest(
                TENANT,
                accept(
                    collection=COLLECTION, source=source, media_type="text/plain", content=text.encode(), metadata={}, limit_bytes=1 << 20
                ),
            )
        await desk.tend()
        order = Order(query_set=query_set, ks=(10, 100), baseline=Configuration(name="full text alone", vector_weight=0))
        evaluation = await desk.verbs.evaluating.evaluate(TENANT, order)
        print(f"{evaluation.embedder}; {evaluation.queries} queries")
        for one in evaluation.measures:
            print(f"  {one.name}@{one.k:<4}{one.value:.3f}  ({one.low:.3f} to {one.high:.3f})")
        for one in evaluation.comparisons:
            print(f"  {one.name}@{one.k}: {one.difference:+.3f} ({one.low:+.3f} to {one.high:+.3f}) against full text alone: {one.verdict}")
        reranked = await desk.verbs.evaluating.evaluate(
            TENANT, Order(query_set=query_set, ks=(10,), configuration=Configuration(rerank=True), baseline=Configuration())
        )
        for one in reranked.comparisons:
            print(
                f"  reranked by {reranked.reranker}: {one.name}@{one.k} {one.difference:+.3f} ({one.low:+.3f} to {one.high:+.3f}): {one.verdict}"
            )
    values = {(one.name, one.k): one.value for one in evaluation.measures}
    relevant = {query.query_id: [one.source for one in query.judgements] for query in query_set.queries}
    peer = await bm25_figures(
        json.dumps({"documents": documents, "queries": {one.query_id: one.query for one in query_set.queries}, "relevant": relevant})
    )
    return [
        _row("retrieval-ndcg@10", values["ndcg", 10], peer, "ndcg"),
        _row("retrieval-recall@100", values["recall", 100], peer, "recall"),
    ]


def _row(name: str, value: float, peer: dict[str, float] | None, figure: str) -> Row:
    other = peer[figure] if peer else None
    ratio = value / other if other else None
    better = figure == "ndcg"
    return Row(
        name=name,
        value=round(value, 4),
        unit="",
        peer=PEER if peer else "",
        peer_value=other,
        ratio=ratio,
        target="> 1" if better else ">= 1",
        passed=(ratio > 1 if better else ratio >= 1) if ratio is not None else None,
    )


def cranfield_documents() -> dict[str, str]:
    content = (DATA / "cranfield-docs.txt").read_text()
    found = {}
    for part in re.split(r"^\.I ", content, flags=re.MULTILINE)[1:]:
        number, _, rest = part.partition("\n")
        fields = dict(re.findall(r"^\.([TABW])\n(.*?)(?=^\.[TABW]\n|\Z)", rest, flags=re.MULTILINE | re.DOTALL))
        if text := (fields.get("W", "").strip() or fields.get("T", "").strip()):
            found[number.strip()] = text
    return found


def cranfield_queries() -> QuerySet:
    judged: dict[int, list[Judgement]] = {}
    for line in (DATA / "cranfield-qrels.txt").read_text().splitlines():
        query, _, document, _ = line.split()
        judged.setdefault(int(query), []).append(Judgement(source=document, grade=1))
    parts = re.split(r"^\.I ", (DATA / "cranfield-queries.txt").read_text(), flags=re.MULTILINE)[1:]
    queries = [" ".join(part.split("\n.W\n", 1)[1].split()) for part in parts]
    return QuerySet(
        name="cranfield",
        collection=COLLECTION,
        queries=tuple(
            LabelledQuery(query_id=str(number), query=text, filter={}, judgements=tuple(dict.fromkeys(judged[number])))
            for number, text in enumerate(queries, 1)
        ),
    )
