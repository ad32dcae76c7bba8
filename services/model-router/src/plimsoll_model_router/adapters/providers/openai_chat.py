"""Chat Completions as a dialect: OpenAI's own, and every server that speaks it."""

from plimsoll_runtime.json_types import JsonObject

from plimsoll_model_router.adapters.providers import failures, openai_embeddings
from plimsoll_model_router.adapters.providers import openai_chat_codec as codec
from plimsoll_model_router.adapters.providers.openai_chat_stream import StreamDecoder
from plimsoll_model_router.adapters.providers.wire import WireRefusal, WireRequest
from plimsoll_model_router.domain.conversion import Report
from plimsoll_model_router.domain.endpoints import Ask, Credential, EmbeddingAsk, Embeddings, Endpoint
from plimsoll_model_router.domain.generation import Reply
from plimsoll_model_router.errors import ProviderError

_URL = "https://api.openai.com/v1"


class OpenAiChatCodec:
    """The endpoint's dialect tells whether OpenAI itself is asked. Keys may be empty: local servers ask for none."""

    def request(self, ask: Ask, report: Report) -> WireRequest:
        return WireRequest(
            url=f"{base_url(ask.endpoint)}/chat/completions", headers=headers(ask.endpoint, ask.credential), body=codec.encode(ask, report)
        )

    def decode(self, body: JsonObject, ask: Ask, report: Report) -> Reply:
        return codec.decode(body, ask, report)

    def decoder(self, ask: Ask, report: Report) -> StreamDecoder:
        return StreamDecoder(ask, report)

    def refusal(self, refusal: WireRefusal, where: str) -> ProviderError:
        return codec.error_in(refusal.body, refusal.status, where, failures.retry_after_s(refusal.headers, refusal.at))

    def embedding_request(self, ask: EmbeddingAsk) -> WireRequest:
        return embedding_request(ask)

    def embeddings(self, body: JsonObject, ask: EmbeddingAsk) -> Embeddings:
        return embeddings(body, ask)


def base_url(endpoint: Endpoint) -> str:
    return (endpoint.base_url or _URL).rstrip("/")


def headers(endpoint: Endpoint, credential: Credential) -> dict[str, str]:
    key = credential.secret.reveal()
    return {**({"authorization": f"Bearer {key}"} if key else {}), **dict(endpoint.headers)}


def embedding_request(ask: EmbeddingAsk) -> WireRequest:
    url = f"{base_url(ask.endpoint)}/embeddings"
    return WireRequest(url=url, headers=headers(ask.endpoint, ask.credential), body=openai_embeddings.encode(ask))


def embeddings(body: JsonObject, ask: EmbeddingAsk) -> Embeddings:
    if body.get("error"):
        raise codec.error_in(body, 0, ask.endpoint.full_name)
    return openai_embeddings.decode(body, ask)
