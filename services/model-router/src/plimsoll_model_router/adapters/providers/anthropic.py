"""Anthropic Messages as a dialect."""

from plimsoll_runtime.json_types import JsonObject

from plimsoll_model_router.adapters.providers import anthropic_codec as codec
from plimsoll_model_router.adapters.providers import failures
from plimsoll_model_router.adapters.providers.anthropic_stream import StreamDecoder
from plimsoll_model_router.adapters.providers.wire import WireRefusal, WireRequest
from plimsoll_model_router.domain.conversion import Report
from plimsoll_model_router.domain.endpoints import Ask, EmbeddingAsk, Embeddings
from plimsoll_model_router.domain.generation import Reply
from plimsoll_model_router.errors import ProviderError

_URL = "https://api.anthropic.com"


class AnthropicCodec:
    """It makes no embeddings."""

    def request(self, ask: Ask, report: Report) -> WireRequest:
        headers = {"x-api-key": ask.credential.secret.reveal(), "anthropic-version": codec.VERSION, **dict(ask.endpoint.headers)}
        base = (ask.endpoint.base_url or _URL).rstrip("/")
        return WireRequest(url=f"{base}/v1/messages", headers=headers, body=codec.encode(ask, report))

    def decode(self, body: JsonObject, ask: Ask, report: Report) -> Reply:
        return codec.decode(body, ask, report)

    def decoder(self, ask: Ask, report: Report) -> StreamDecoder:
        return StreamDecoder(ask, report)

    def refusal(self, refusal: WireRefusal, where: str) -> ProviderError:
        return codec.error_in(refusal.body, refusal.status, where, failures.retry_after_s(refusal.headers, refusal.at))

    def embedding_request(self, ask: EmbeddingAsk) -> WireRequest:
        raise failures.unsupported(ask.endpoint.full_name, "embeddings, which the dialect does not have")

    def embeddings(self, body: JsonObject, ask: EmbeddingAsk) -> Embeddings:
        raise failures.unsupported(ask.endpoint.full_name, "embeddings, which the dialect does not have")
