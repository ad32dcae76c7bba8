"""The Anthropic Messages API as a provider."""

from dataclasses import dataclass

from plimsoll_runtime.json_types import JsonObject
from plimsoll_runtime.settings import Secret

from plimsoll_model_router.adapters.providers import anthropic_codec as codec
from plimsoll_model_router.adapters.providers.anthropic_stream import StreamDecoder
from plimsoll_model_router.adapters.providers.http import ProviderAnswered, WireRequest
from plimsoll_model_router.domain.generation import Question, Reply
from plimsoll_model_router.errors import ProviderError

ANTHROPIC_URL = "https://api.anthropic.com"


@dataclass(frozen=True, slots=True, kw_only=True)
class AnthropicDialect:
    base_url: str
    api_key: Secret

    def request(self, question: Question, where: str, *, stream: bool) -> WireRequest:
        headers = {"x-api-key": self.api_key.reveal(), "anthropic-version": codec.VERSION}
        body = codec.encode(question, where, stream=stream).body
        return WireRequest(url=f"{self.base_url.rstrip('/')}/v1/messages", headers=headers, body=body, where=where)

    def decode(self, body: JsonObject, question: Question, where: str) -> Reply:
        return codec.decode(body, question, where)

    def decoder(self, question: Question, where: str) -> StreamDecoder:
        return StreamDecoder(question, where)

    def error(self, refusal: ProviderAnswered, where: str) -> ProviderError:
        return codec.error_in(refusal.answer.body, refusal.answer.status, where, refusal.answer.retry_after_s)
