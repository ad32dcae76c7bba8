"""Retrieval quality without flattery: what can be chosen is chosen on one half of Cranfield's queries and measured on the other, both ways.

Chosen are the passage size, what the vectors weigh beside full text, and whether answers are reranked; k1 and b have their textbook values.
The peer answers the same held-out queries with its own defaults.
"""

import json
from dataclasses import dataclass, replace

from memory_desk import memory_desk
from memory_peer import bm25_figures
from memory_quality import DATA, PEER, TENANT, cranfield_documents, cranfield_queries
from plimsoll_devstack.servers import Servers
from plimsoll_memory.config import PassageSettings
from plimsoll_memory.domain.document import accept
from plimsoll_memory.domain.query_set import QuerySet
from plimsoll_memory.domain.search import Configuration
from plimsoll_memory.service.evaluating import Order
from results import Row

SIZES = (600, 1200)
WEIGHTS = (0.0, 0.5, 0.75, 1.0, 1.5)


@dataclass(frozen=True)
class Figures:
    ndcg: float
    recall: float


async def measure_split(servers: Servers) -> list[Row]:
    """The mean of both held-out halves, ours and the peer's."""
    if not (DATA / "cranfield-docs.txt").exists():
        print(f"the Cranfield collection is not in {DATA}: set PLIMSOLL_BENCH_DATA; not measured")
        return []
    documents, queries = cranfield_documents(), cranfield_queries().queries
    halves = (queries[0::2], queries[1::2])
    tried = {}
    for size in SIZES:
        async with memory_desk(servers, PassageSettings(target=size, overlap=min(150, size // 4))) as desk:
            collection = f"cranfield-{size}"
            for source, text in documents.items():
                one = accept(
                    collection=collection, source=source, media_type="text/plain", content=text.encode(), metadata={}, limit_bytes=1 << 20
                )
                await desk.verbs.memory.ingest(TENANT, one)
            await desk.tend()
            for weight in WEIGHTS:
                for rerank in (False, True):
                    configuration = Configuration(
                        name=f"{size} characters, vectors {weight}, rerank {rerank}", vector_weight=weight, rerank=rerank
                    )
                    for half, part in enumerate(halves):
                        order = Order(
                            query_set=QuerySet(name="half", collection=collection, queries=part), ks=(10, 100), configuration=configuration
                        )
                        values = {(m.name, m.k): m.value for m in (await desk.verbs.evaluating.evaluate(TENANT, order)).measures}
                        tried[configuration.name, half] = Figures(values["ndcg", 10], values["recall", 100])
    ours, peers = [], []
    for half, part in enumerate(halves):
        chosen = max((name for name, where in tried if where != half), key=lambda name: tried[name, 1 - half].ndcg)
        ours.append(tried[chosen, half])
        peer = await bm25_figures(
            json.dumps(
                {
                    "documents": documents,
                    "queries": {one.query_id: one.query for one in part},
                    "relevant": {one.query_id: [judged.source for judged in one.judgements] for one in part},
                }
            )
        )
        peers.append(Figures(**peer) if peer else None)
        print(f"  half {half + 1}: chosen on the other half: {chosen}; {ours[-1]}; {PEER} {peers[-1]}")
    return [_row("held-out-ndcg@10", "ndcg", ours, peers), _row("held-out-recall@100", "recall", ours, peers)]


def _row(name: str, figure: str, ours: list[Figures], peers: list[Figures | None]) -> Row:
    value = sum(getattr(one, figure) for one in ours) / len(ours)
    row = Row(name=name, value=round(value, 4), unit="", target="> 1" if figure == "ndcg" else ">= 1")
    if None in peers:
        return row
    other = sum(getattr(one, figure) for one in peers) / len(peers)
    return replace(row, peer=PEER, peer_value=other, ratio=value / other, passed=value > other if figure == "ndcg" else value >= other)
