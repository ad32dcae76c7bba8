"""Embedders and rerankers by the names that settings give them."""

from collections.abc import Sequence
from contextlib import AsyncExitStack

from plimsoll_runtime.rpc_client import open_channel
from plimsoll_runtime.settings import TlsSettings

from plimsoll_memory.adapters.faulty_embedder import FaultyEmbedder
from plimsoll_memory.adapters.hashing_embedder import HashingEmbedder
from plimsoll_memory.adapters.proximity_reranker import ProximityReranker
from plimsoll_memory.adapters.router_embedder import PREFIX as ROUTER
from plimsoll_memory.adapters.router_embedder import RouterEmbedder
from plimsoll_memory.adapters.sentence_transformer import (
    CrossEncoderReranker,
    SentenceTransformerEmbedder,
    load_encoder,
    load_pair_scorer,
)
from plimsoll_memory.ports import Embedder, Embedders, Reranker, Rerankers


async def open_embedders(names: Sequence[str], router: str, tls: TlsSettings, stack: AsyncExitStack) -> Embedders:
    """The hashing one, and those that are named, behind the fault point; a channel to the model-router only when one needs it."""
    embedders: list[Embedder] = [HashingEmbedder()]
    if any(name.startswith(ROUTER) for name in names):
        channel = await stack.enter_async_context(open_channel(router, tls, "model-router"))
        embedders += [RouterEmbedder(name, channel) for name in names if name.startswith(ROUTER)]
    embedders += [SentenceTransformerEmbedder(name, load_encoder) for name in names if not name.startswith(ROUTER)]
    return {embedder.name: FaultyEmbedder(embedder) for embedder in embedders}


def open_rerankers(names: Sequence[str]) -> Rerankers:
    """Those that are named, then the one that needs no download."""
    rerankers: list[Reranker] = [*(CrossEncoderReranker(name, load_pair_scorer) for name in names), ProximityReranker()]
    return {reranker.name: reranker for reranker in rerankers}
