"""proto ↔ domain, for what conversations are made of: messages, parts, tools, sampling, pieces of a stream and conversions."""

from plimsoll.model_router.v1 import message_pb2 as msg
from plimsoll.model_router.v1 import model_router_service_pb2 as pb
from plimsoll_runtime.errors import FieldProblem
from plimsoll_runtime.json_types import dump_json
from plimsoll_runtime.wire import json_from_proto, object_from_proto

from plimsoll_model_router.domain.conversion import Conversion, ConversionKind
from plimsoll_model_router.domain.generation import Began, Progress, ReasoningDelta, TextDelta, ToolCallDelta
from plimsoll_model_router.domain.messages import (
    Effort,
    Media,
    Message,
    Opaque,
    Part,
    Reasoning,
    Refusal,
    Role,
    Sampling,
    StopReason,
    Text,
    ToolCall,
    ToolChoice,
    ToolDefinition,
    ToolResult,
)
from plimsoll_model_router.errors import InvalidGeneration

_ROLES = {
    msg.ROLE_SYSTEM: Role.SYSTEM,
    msg.ROLE_USER: Role.USER,
    msg.ROLE_ASSISTANT: Role.ASSISTANT,
    msg.ROLE_TOOL: Role.TOOL,
}
_ROLE_CODES = {role: code for code, role in _ROLES.items()}
_CHOICES: dict[int, ToolChoice] = {
    msg.TOOL_CHOICE_UNSPECIFIED: ToolChoice.AUTO,
    msg.TOOL_CHOICE_AUTO: ToolChoice.AUTO,
    msg.TOOL_CHOICE_NONE: ToolChoice.NONE,
    msg.TOOL_CHOICE_REQUIRED: ToolChoice.REQUIRED,
    msg.TOOL_CHOICE_NAMED: ToolChoice.NAMED,
}
_EFFORTS: dict[int, Effort | None] = {
    msg.EFFORT_UNSPECIFIED: None,
    msg.EFFORT_NONE: Effort.NONE,
    msg.EFFORT_LOW: Effort.LOW,
    msg.EFFORT_MEDIUM: Effort.MEDIUM,
    msg.EFFORT_HIGH: Effort.HIGH,
}
_STOPS = {
    StopReason.END_TURN: msg.STOP_REASON_END_TURN,
    StopReason.TOOL_CALLS: msg.STOP_REASON_TOOL_CALLS,
    StopReason.MAX_TOKENS: msg.STOP_REASON_MAX_TOKENS,
    StopReason.STOP_SEQUENCE: msg.STOP_REASON_STOP_SEQUENCE,
    StopReason.REFUSAL: msg.STOP_REASON_REFUSAL,
}
_CONVERSIONS = {
    ConversionKind.DROPPED: msg.CONVERSION_KIND_DROPPED,
    ConversionKind.APPROXIMATED: msg.CONVERSION_KIND_APPROXIMATED,
    ConversionKind.EMULATED: msg.CONVERSION_KIND_EMULATED,
}


def message_from_proto(message: msg.Message, field: str) -> Message:
    """Raises InvalidGeneration, naming the field, for a role or a part that cannot be read."""
    role = _ROLES.get(message.role)
    if role is None:
        raise InvalidGeneration(problems=(FieldProblem(f"{field}.role", f"is {message.role}", "use SYSTEM, USER, ASSISTANT or TOOL"),))
    return Message(role=role, parts=tuple(_part_from_proto(part, f"{field}.parts[{at}]") for at, part in enumerate(message.parts)))


def message_to_proto(message: Message) -> msg.Message:
    told = msg.Message()
    write_message(told, message)
    return told


def write_message(told: msg.Message, message: Message) -> None:
    """Into a message in its place inside another."""
    told.role = _ROLE_CODES[message.role]
    for part in message.parts:
        _write_part(told.parts.add(), part)


def tool_from_proto(message: msg.ToolDefinition, field: str) -> ToolDefinition:
    schema = object_from_proto(message.arguments_schema, f"{field}.arguments_schema")
    return ToolDefinition(name=message.name, description=message.description, arguments_schema=schema)


def choice_from_proto(code: int, field: str) -> ToolChoice:
    if code not in _CHOICES:
        raise InvalidGeneration(problems=(FieldProblem(field, f"is {code}", "use AUTO, NONE, REQUIRED or NAMED"),))
    return _CHOICES[code]


def effort_from_proto(code: int, field: str) -> Effort | None:
    if code not in _EFFORTS:
        raise InvalidGeneration(problems=(FieldProblem(field, f"is {code}", "use NONE, LOW, MEDIUM or HIGH, or leave it out"),))
    return _EFFORTS[code]


def sampling_from_proto(message: msg.Sampling) -> Sampling:
    return Sampling(
        temperature=message.temperature if message.HasField("temperature") else None,
        top_p=message.top_p if message.HasField("top_p") else None,
        seed=message.seed if message.HasField("seed") else None,
        stop=tuple(message.stop),
    )


def stop_to_proto(stop: StopReason) -> "msg.StopReason.ValueType":
    return _STOPS[stop]


def conversion_to_proto(one: Conversion) -> msg.Conversion:
    return msg.Conversion(kind=_CONVERSIONS[one.kind], subject=one.subject, detail=one.detail)


def progress_to_proto(step: Progress) -> pb.GenerateStreamResponse:
    """One piece of a stream, under its attempt."""
    match step.delta:
        case TextDelta(text=text):
            return pb.GenerateStreamResponse(attempt=step.attempt, text=text)
        case ReasoningDelta(text=text):
            return pb.GenerateStreamResponse(attempt=step.attempt, reasoning=text)
        case ToolCallDelta(index=index, call_id=call_id, tool=tool, arguments=arguments):
            piece = msg.ToolCallDelta(index=index, call_id=call_id, tool=tool, arguments=arguments)
            return pb.GenerateStreamResponse(attempt=step.attempt, tool_call=piece)
        case Began(provider=provider, model=model):
            return pb.GenerateStreamResponse(attempt=step.attempt, began=pb.AttemptBegan(provider=provider, model=model))


def _part_from_proto(message: msg.Part, field: str) -> Part:
    match message.WhichOneof("kind"):
        case "text":
            return Text(text=message.text.text)
        case "media":
            return Media(media_type=message.media.media_type, uri=message.media.uri)
        case "tool_call":
            call = message.tool_call
            return ToolCall(call_id=call.call_id, tool=call.tool, arguments=json_from_proto(call.arguments, f"{field}.tool_call.arguments"))
        case "tool_result":
            result = message.tool_result
            content = json_from_proto(result.content, f"{field}.tool_result.content")
            return ToolResult(call_id=result.call_id, tool=result.tool, content=content, is_error=result.is_error)
        case "reasoning":
            told = message.reasoning
            return Reasoning(text=told.text, signature=told.signature, provenance=told.provenance)
        case "refusal":
            return Refusal(text=message.refusal.text)
        case "opaque":
            content = json_from_proto(message.opaque.content, f"{field}.opaque.content")
            return Opaque(provenance=message.opaque.provenance, content=content)
        case _:
            raise InvalidGeneration(problems=(FieldProblem(field, "is empty", "set one of its kinds, such as text"),))


def _write_part(told: msg.Part, part: Part) -> None:
    match part:
        case Text(text=text):
            told.text.text = text
        case Media():
            told.media.media_type, told.media.uri = part.media_type, part.uri
        case ToolCall():
            call = told.tool_call
            call.call_id, call.tool, call.arguments.text = part.call_id, part.tool, dump_json(part.arguments)
        case ToolResult():
            result = told.tool_result
            result.call_id, result.tool, result.content.text = part.call_id, part.tool, dump_json(part.content)
            result.is_error = part.is_error
        case Reasoning():
            reasoning = told.reasoning
            reasoning.text, reasoning.signature, reasoning.provenance = part.text, part.signature, part.provenance
        case Refusal(text=text):
            told.refusal.text = text
        case Opaque():
            told.opaque.provenance, told.opaque.content.text = part.provenance, dump_json(part.content)
