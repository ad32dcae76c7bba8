"""Gemini generateContent as a dialect."""

from urllib.parse import quote

from plimsoll_runtime.json_types import JsonObject, JsonValue
from plimsoll_runtime.usage import Usage

from plimsoll_model_router.adapters.providers import failures, openai_embeddings
from plimsoll_model_router.adapters.providers import gemini_codec as codec
from plimsoll_model_router.adapters.providers.gemini_stream import StreamDecoder
from plimsoll_model_router.adapters.providers.reading import an_object, count, objects
from plimsoll_model_router.adapters.providers.wire import WireRefusal, WireRequest
from plimsoll_model_router.domain.conversion import Report
from plimsoll_model_router.domain.endpoints import Ask, Credential, EmbeddingAsk, Embeddings, Endpoint
from plimsoll_model_router.domain.generation import Reply
from plimsoll_model_router.errors import ProviderError

_URL = "https://generativelanguage.googleapis.com/v1beta"


class GeminiCodec:
    def request(self, ask: Ask, report: Report) -> WireRequest:
        verb = "streamGenerateContent?alt=sse" if ask.streaming else "generateContent"
        return WireRequest(url=_url(ask.endpoint, verb), headers=_headers(ask.endpoint, ask.credential), body=codec.encode(ask, report))

    def decode(self, body: JsonObject, ask: Ask, report: Report) -> Reply:
        return codec.decode(body, ask, report)

    def decoder(self, ask: Ask, report: Report) -> StreamDecoder:
        return StreamDecoder(ask, report)

    def refusal(self, refusal: WireRefusal, where: str) -> ProviderError:
        pause = failures.retry_after_s(refusal.headers, refusal.at, codec.retry_delay(refusal.body))
        return codec.error_in(refusal.body, refusal.status, where, pause)

    def embedding_request(self, ask: EmbeddingAsk) -> WireRequest:
        name = f"models/{ask.endpoint.model}"
        size: JsonObject = {"outputDimensionality": ask.dimensions} if ask.dimensions else {}
        asked: list[JsonValue] = [{"model": name, "content": {"parts": [{"text": text}]}, **size} for text in ask.texts]
        headers = _headers(ask.endpoint, ask.credential)
        return WireRequest(url=_url(ask.endpoint, "batchEmbedContents"), headers=headers, body={"requests": asked})

    def embeddings(self, body: JsonObject, ask: EmbeddingAsk) -> Embeddings:
        if body.get("error"):
            raise codec.error_in(body, 0, ask.endpoint.full_name)
        vectors = tuple(openai_embeddings.vector(item.get("values")) for item in objects(body.get("embeddings")))
        told = count(an_object(body.get("usageMetadata")).get("promptTokenCount"))
        return openai_embeddings.complete(vectors, Usage(input_tokens=told or openai_embeddings.estimated(ask)), "", ask)


def _url(endpoint: Endpoint, verb: str) -> str:
    return f"{(endpoint.base_url or _URL).rstrip('/')}/models/{quote(endpoint.model, safe='')}:{verb}"


def _headers(endpoint: Endpoint, credential: Credential) -> dict[str, str]:
    key = credential.secret.reveal()
    return {**({"x-goog-api-key": key} if key else {}), **dict(endpoint.headers)}
