"""Every dialect that is spoken, with what speaks it."""

from collections.abc import Mapping

from plimsoll_model_router.adapters.providers.anthropic import AnthropicCodec
from plimsoll_model_router.adapters.providers.faulty import FaultyUpstream
from plimsoll_model_router.adapters.providers.gemini import GeminiCodec
from plimsoll_model_router.adapters.providers.http import HttpTransport
from plimsoll_model_router.adapters.providers.http_upstream import HttpUpstream
from plimsoll_model_router.adapters.providers.openai_chat import OpenAiChatCodec
from plimsoll_model_router.adapters.providers.openai_responses import OpenAiResponsesCodec
from plimsoll_model_router.adapters.providers.rehearsal import RehearsalUpstream
from plimsoll_model_router.adapters.providers.wire import Codec
from plimsoll_model_router.domain.endpoints import Dialect
from plimsoll_model_router.domain.rehearsal.fits import Fits
from plimsoll_model_router.ports import Upstream


def codecs() -> Mapping[Dialect, Codec]:
    """Those of the dialects that go over HTTP."""
    chat = OpenAiChatCodec()
    return {
        Dialect.ANTHROPIC: AnthropicCodec(),
        Dialect.OPENAI_CHAT: chat,
        Dialect.OPENAI_COMPATIBLE: chat,
        Dialect.OPENAI_RESPONSES: OpenAiResponsesCodec(),
        Dialect.GEMINI: GeminiCodec(),
    }


def upstreams(transport: HttpTransport, fits: Fits) -> Mapping[Dialect, Upstream]:
    """For every dialect, whom to ask, behind the fault point."""
    asked: dict[Dialect, Upstream] = {dialect: HttpUpstream(codec, transport) for dialect, codec in codecs().items()}
    asked[Dialect.REHEARSAL] = RehearsalUpstream(fits)
    return {dialect: FaultyUpstream(upstream) for dialect, upstream in asked.items()}
