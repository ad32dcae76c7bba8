"""OpenAI's Chat Completions API as a provider, and every server that speaks it."""

from dataclasses import dataclass

from plimsoll_runtime.json_types import JsonObject
from plimsoll_runtime.settings import Secret

from plimsoll_model_router.adapters.providers import openai_codec as codec
from plimsoll_model_router.adapters.providers.http import ProviderAnswered, WireRequest
from plimsoll_model_router.adapters.providers.openai_stream import StreamDecoder
from plimsoll_model_router.domain.generation import Question, Reply
from plimsoll_model_router.errors import ProviderError

OPENAI_URL = "https://api.openai.com/v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAiDialect:
    """`api_key` may be empty: local servers ask for none."""

    base_url: str
    api_key: Secret

    def request(self, question: Question, where: str, *, stream: bool) -> WireRequest:
        key, base = self.api_key.reveal(), self.base_url.rstrip("/")
        headers = {"authorization": f"Bearer {key}"} if key else {}
        # OpenAI's newer models refuse the old name, many compatible servers do not know the new one.
        limit_field = "max_completion_tokens" if base == OPENAI_URL else "max_tokens"
        body = codec.encode(question, where, stream=stream, limit_field=limit_field).body
        return WireRequest(url=f"{base}/chat/completions", headers=headers, body=body, where=where)

    def decode(self, body: JsonObject, question: Question, where: str) -> Reply:
        return codec.decode(body, question, where)

    def decoder(self, question: Question, where: str) -> StreamDecoder:
        return StreamDecoder(question, where)

    def error(self, refusal: ProviderAnswered, where: str) -> ProviderError:
        return codec.error_in(refusal.answer.body, refusal.answer.status, where, refusal.answer.retry_after_s)
