"""OpenAI Responses as a dialect."""

from plimsoll_runtime.json_types import JsonObject

from plimsoll_model_router.adapters.providers import failures, openai_chat
from plimsoll_model_router.adapters.providers import openai_responses_codec as codec
from plimsoll_model_router.adapters.providers.openai_responses_stream import StreamDecoder
from plimsoll_model_router.adapters.providers.wire import WireRefusal, WireRequest
from plimsoll_model_router.domain.conversion import Report
from plimsoll_model_router.domain.endpoints import Ask, EmbeddingAsk, Embeddings
from plimsoll_model_router.domain.generation import Reply
from plimsoll_model_router.errors import ProviderError


class OpenAiResponsesCodec:
    """Embeddings are those of the same API."""

    def request(self, ask: Ask, report: Report) -> WireRequest:
        url = f"{openai_chat.base_url(ask.endpoint)}/responses"
        return WireRequest(url=url, headers=openai_chat.headers(ask.endpoint, ask.credential), body=codec.encode(ask, report))

    def decode(self, body: JsonObject, ask: Ask, report: Report) -> Reply:
        return codec.decode(body, ask, report)

    def decoder(self, ask: Ask, report: Report) -> StreamDecoder:
        return StreamDecoder(ask, report)

    def refusal(self, refusal: WireRefusal, where: str) -> ProviderError:
        return codec.error_in(refusal.body, refusal.status, where, failures.retry_after_s(refusal.headers, refusal.at))

    def embedding_request(self, ask: EmbeddingAsk) -> WireRequest:
        return openai_chat.embedding_request(ask)

    def embeddings(self, body: JsonObject, ask: EmbeddingAsk) -> Embeddings:
        return openai_chat.embeddings(body, ask)
