"""The conversation in Gemini's form: alternating turns of parts, and the signatures that tie them to the model's thinking."""

from collections.abc import Iterator

from plimsoll_runtime.json_types import JsonObject, JsonValue

from plimsoll_model_router.adapters.providers import failures
from plimsoll_model_router.adapters.providers.conversation import as_object, is_own, mended
from plimsoll_model_router.adapters.providers.reading import an_object
from plimsoll_model_router.domain.conversion import Report
from plimsoll_model_router.domain.endpoints import Ask, Feature
from plimsoll_model_router.domain.messages import (
    Media,
    Message,
    Opaque,
    Part,
    Reasoning,
    Refusal,
    Role,
    Text,
    ToolCall,
    ToolResult,
)

_NO_SIGNATURE = "skip_thought_signature_validator"  # the documented word for calls that another model made


def turns(ask: Ask, report: Report) -> list[JsonValue]:
    """Raises ProviderError for what the dialect cannot say."""
    found: list[tuple[str, list[JsonValue]]] = []
    for message in mended(ask.question.messages, report):
        if message.role is Role.SYSTEM:
            continue
        role = "model" if message.role is Role.ASSISTANT else "user"
        parts = list(_said(message, ask, report) if role == "model" else _heard(message, ask.endpoint.full_name))
        if not parts:
            continue
        if found and found[-1][0] == role:
            found[-1][1].extend(parts)
        else:
            found.append((role, parts))
    return [{"role": role, "parts": parts} for role, parts in found]


def _said(message: Message, ask: Ask, report: Report) -> Iterator[JsonValue]:
    """The model's own turn. A signature goes to the part behind it; a first call without one says that it has none."""
    signature, calls = "", 0
    for part in message.parts:
        if isinstance(part, Reasoning):
            if not is_own(part.provenance, ask, bound=True):
                report.dropped("reasoning", "thinking that this model cannot take back")
            elif not part.text:
                signature = part.signature
            continue
        wire = _said_part(part, ask, report)
        if wire is None:
            continue
        if isinstance(part, ToolCall):
            calls += 1
            if calls == 1 and not signature and Feature.REASONING in ask.endpoint.features:
                signature = _NO_SIGNATURE
                report.emulated("thought_signature", "a call of another model is marked as such")
        yield {**wire, "thoughtSignature": signature} if signature else wire
        signature = ""
    if signature:
        yield {"text": "", "thoughtSignature": signature}


def _said_part(part: Part, ask: Ask, report: Report) -> JsonObject | None:
    match part:
        case Text() | Refusal():
            if isinstance(part, Refusal):
                report.approximated("refusal", "sent as text")
            return {"text": part.text} if part.text else None
        case ToolCall():
            return {"functionCall": {"id": part.call_id, "name": part.tool, "args": as_object(part.arguments, report)}}
        case Opaque():
            if is_own(part.provenance, ask, bound=True):
                return an_object(part.content)
            report.dropped("opaque", "a part that only another model understands")
            return None
        case Media():
            return _media(part, ask.endpoint.full_name)
        case _:
            return None  # `mended` leaves no results in an assistant's turn


def _heard(message: Message, where: str) -> Iterator[JsonValue]:
    """What the model is told: results first, each under the name and the id of its call."""
    for part in sorted(message.parts, key=lambda one: not isinstance(one, ToolResult)):
        match part:
            case Text():
                if part.text:
                    yield {"text": part.text}
            case Media():
                yield _media(part, where)
            case ToolResult():
                response: JsonObject = {"error" if part.is_error else "output": part.content}
                yield {"functionResponse": {"id": part.call_id, "name": part.tool, "response": response}}
            case _:
                pass  # `mended` leaves nothing else


def _media(part: Media, where: str) -> JsonObject:
    if "://" not in part.uri or part.uri.startswith("data:"):
        raise failures.unsupported(where, "media that is not an address")
    return {"fileData": {"mimeType": part.media_type, "fileUri": part.uri}}
