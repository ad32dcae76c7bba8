"""Embedding models of any provider, through the model-router: its keys, budgets and failover."""

from collections.abc import Sequence

import grpc
from plimsoll.model_router.v1 import model_router_service_pb2 as pb
from plimsoll.model_router.v1 import model_router_service_pb2_grpc as rpc
from plimsoll_runtime.errors import Unavailable
from plimsoll_runtime.rpc_client import call

from plimsoll_memory.adapters.vectors import checked
from plimsoll_memory.domain.document import Vector

PREFIX = "router:"
_PASSAGES_CAP_S, _QUERY_CAP_S = 60.0, 5.0


class EmbedderAway(Unavailable):
    """The embedding model did not answer."""

    reason = "EMBEDDER_AWAY"


class RouterEmbedder:
    """An Embedder. `name` is `router:` and the model's name; a model that changes its dimensions is refused, never mixed."""

    floor = 0.2
    weight = 1.0

    def __init__(self, name: str, channel: grpc.aio.Channel) -> None:
        self.name = name
        self._stub = rpc.ModelRouterServiceStub(channel)
        self._dimensions = 0

    async def embed_passages(self, texts: Sequence[str]) -> Sequence[Vector]:
        """Raises EmbedderAway or EmbedderDiffers."""
        return await self._embed(texts, _PASSAGES_CAP_S)

    async def embed_query(self, text: str) -> Vector:
        """Raises EmbedderAway or EmbedderDiffers."""
        (vector,) = await self._embed([text], _QUERY_CAP_S)
        return vector

    async def _embed(self, texts: Sequence[str], cap_s: float) -> Sequence[Vector]:
        request = pb.EmbedRequest(texts=texts, model=self.name.removeprefix(PREFIX))
        answer: pb.EmbedResponse = await call(self._stub.Embed, request, cap_s=cap_s, target="model-router")
        if not answer.HasField("embeddings"):
            failure = answer.failure.failure
            raise EmbedderAway(f"the model-router answered {failure.reason}", retry_after_s=1.0)
        vectors = checked(self.name, [one.values for one in answer.embeddings.vectors], len(texts), self._dimensions)
        self._dimensions = len(vectors[0]) if vectors else self._dimensions
        return vectors
