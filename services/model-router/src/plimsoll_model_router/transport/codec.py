"""Protobuf ↔ domain; the only place that knows both."""

from collections.abc import Iterable

from plimsoll.model_router.v1 import message_pb2 as msg
from plimsoll.model_router.v1 import model_events_pb2 as events
from plimsoll.model_router.v1 import model_router_service_pb2 as pb
from plimsoll.model_router.v1 import prompt_pb2
from plimsoll_runtime.errors import FieldProblem
from plimsoll_runtime.failures import failure_to_proto
from plimsoll_runtime.usage import usage_to_proto
from plimsoll_runtime.wire import duration_to_proto, json_from_proto, json_to_proto, object_from_proto, timestamp_to_proto
from plimsoll_runtime.work import work_from_proto, work_to_proto

from plimsoll_model_router.domain.generation import Answer, Attempt, CompletedCall, Generation, Outcome, Progress, Unanswered
from plimsoll_model_router.domain.messages import (
    Media,
    Message,
    Opaque,
    Part,
    Reasoning,
    Refusal,
    Role,
    StopReason,
    Text,
    ToolCall,
    ToolChoice,
    ToolDefinition,
    ToolResult,
)
from plimsoll_model_router.domain.prompts import ByDigest, ByLabel, ByVersion, Example, Prompt, PromptReference, Selector, Template
from plimsoll_model_router.domain.routing import Model
from plimsoll_model_router.errors import InvalidGeneration, InvalidPrompt

_ROLES = {
    msg.ROLE_SYSTEM: Role.SYSTEM,
    msg.ROLE_USER: Role.USER,
    msg.ROLE_ASSISTANT: Role.ASSISTANT,
    msg.ROLE_TOOL: Role.TOOL,
}
_ROLE_CODES = {role: code for code, role in _ROLES.items()}
_CHOICES = {
    msg.TOOL_CHOICE_UNSPECIFIED: ToolChoice.AUTO,
    msg.TOOL_CHOICE_AUTO: ToolChoice.AUTO,
    msg.TOOL_CHOICE_NONE: ToolChoice.NONE,
    msg.TOOL_CHOICE_REQUIRED: ToolChoice.REQUIRED,
}
_STOPS = {
    StopReason.END_TURN: msg.STOP_REASON_END_TURN,
    StopReason.TOOL_CALLS: msg.STOP_REASON_TOOL_CALLS,
    StopReason.MAX_TOKENS: msg.STOP_REASON_MAX_TOKENS,
    StopReason.STOP_SEQUENCE: msg.STOP_REASON_STOP_SEQUENCE,
    StopReason.REFUSAL: msg.STOP_REASON_REFUSAL,
}
_NO_CONFIDENCE = -1.0


def generation_from_proto(message: pb.Generation) -> Generation:
    """Raises Invalid, naming the field, for what cannot be read."""
    if message.tool_choice not in _CHOICES:
        raise InvalidGeneration(
            problems=(FieldProblem("generation.tool_choice", f"is {message.tool_choice}", "use AUTO, NONE or REQUIRED"),)
        )
    return Generation(
        request_key=message.request_key,
        prompt=reference_from_proto(message.prompt, "generation.prompt") if message.HasField("prompt") else None,
        variables=object_from_proto(message.variables, "generation.variables"),
        messages=tuple(message_from_proto(one, f"generation.messages[{at}]") for at, one in enumerate(message.messages)),
        tools=tuple(_tool_from_proto(tool, f"generation.tools[{at}]") for at, tool in enumerate(message.tools)),
        tool_choice=_CHOICES[message.tool_choice],
        output_schema=object_from_proto(message.output_schema, "generation.output_schema") if message.HasField("output_schema") else None,
        task=message.task,
        model=message.model,
        max_output_tokens=message.max_output_tokens,
        max_cost_micros=message.max_cost_micros,
        work=work_from_proto(message.work),
    )


def message_from_proto(message: msg.Message, field: str) -> Message:
    role = _ROLES.get(message.role)
    if role is None:
        raise InvalidGeneration(problems=(FieldProblem(f"{field}.role", f"is {message.role}", "use SYSTEM, USER, ASSISTANT or TOOL"),))
    return Message(role=role, parts=tuple(_part_from_proto(part, f"{field}.parts[{at}]") for at, part in enumerate(message.parts)))


def message_to_proto(message: Message) -> msg.Message:
    return msg.Message(role=_ROLE_CODES[message.role], parts=[_part_to_proto(part) for part in message.parts])


def reference_from_proto(message: prompt_pb2.PromptReference, field: str) -> PromptReference:
    if not message.name:
        raise InvalidGeneration(problems=(FieldProblem(f"{field}.name", "is empty", "name the prompt"),))
    selector: Selector
    match message.WhichOneof("selector"):
        case "version":
            selector = ByVersion(version=message.version)
        case "digest":
            selector = ByDigest(digest=message.digest)
        case "label":
            selector = ByLabel(label=message.label)
        case _:
            remedy = "send a label such as `production`, a version or a digest"
            raise InvalidGeneration(problems=(FieldProblem(f"{field}.selector", "is missing", remedy),))
    return PromptReference(name=message.name, selector=selector)


def template_from_proto(message: prompt_pb2.Prompt) -> Template:
    set_by_us = [name for name in ("digest", "version", "labels") if getattr(message, name)]
    if set_by_us:
        raise InvalidPrompt(problems=[FieldProblem(f"prompt.{name}", "is set by the service", "leave it out") for name in set_by_us])
    return Template(
        name=message.name,
        description=message.description,
        variables=tuple(message.variables),
        system=message.system,
        examples=tuple(
            Example(user=example.user, assistant=json_from_proto(example.assistant, f"prompt.examples[{at}].assistant"))
            for at, example in enumerate(message.examples)
        ),
        user=message.user,
    )


def prompt_to_proto(prompt: Prompt) -> prompt_pb2.Prompt:
    template = prompt.template
    return prompt_pb2.Prompt(
        name=template.name,
        digest=prompt.digest,
        version=prompt.version,
        description=template.description,
        variables=template.variables,
        system=template.system,
        examples=[prompt_pb2.PromptExample(user=e.user, assistant=json_to_proto(e.assistant)) for e in template.examples],
        user=template.user,
        labels=prompt.labels,
        create_time=timestamp_to_proto(prompt.created_at),
    )


def model_to_proto(model: Model) -> pb.Model:
    return pb.Model(
        provider=model.provider,
        name=model.name,
        rehearsal=model.rehearsal,
        input_price_micros=model.price.input_micros if model.price is not None else 0,
        output_price_micros=model.price.output_micros if model.price is not None else 0,
        priced=model.price is not None,
    )


def answer_to_proto(answer: Answer) -> pb.Answer:
    message = pb.Answer(
        message=message_to_proto(answer.message),
        stop_reason=_STOPS[answer.stop_reason],
        usage=usage_to_proto(answer.usage),
        provider=answer.provider,
        model=answer.model,
        rehearsal=answer.rehearsal,
        confidence=answer.confidence if answer.confidence is not None else _NO_CONFIDENCE,
        prompt_digest=answer.prompt_digest,
        attempts=_attempts_to_proto(answer.attempts),
        recorded=answer.recorded,
    )
    if answer.has_output:
        message.output.CopyFrom(json_to_proto(answer.output))
    return message


def unanswered_to_proto(outcome: Unanswered) -> pb.GenerationFailure:
    return pb.GenerationFailure(
        failure=failure_to_proto(outcome.failure), attempts=_attempts_to_proto(outcome.attempts), usage=usage_to_proto(outcome.usage)
    )


def outcome_to_proto(outcome: Outcome) -> pb.GenerateResponse:
    match outcome:
        case Answer():
            return pb.GenerateResponse(answer=answer_to_proto(outcome))
        case Unanswered():
            return pb.GenerateResponse(failure=unanswered_to_proto(outcome))


def step_to_proto(step: Progress | Outcome) -> pb.GenerateStreamResponse:
    match step:
        case Progress():
            return pb.GenerateStreamResponse(attempt=step.attempt, text=step.text)
        case Answer():
            return pb.GenerateStreamResponse(attempt=len(step.attempts), answer=answer_to_proto(step))
        case Unanswered():
            return pb.GenerateStreamResponse(attempt=len(step.attempts), failure=unanswered_to_proto(step))


def completed_to_bytes(event_id: str, call: CompletedCall) -> bytes:
    """The event that tells of a finished call."""
    outcome, last = call.outcome, call.outcome.attempts[-1]
    answered = outcome if isinstance(outcome, Answer) else None
    event = events.ModelCallCompleted(
        event_id=event_id,
        tenant=call.tenant,
        call_id=call.call_id,
        work=work_to_proto(call.generation.work),
        task=call.generation.task,
        provider=last.provider,
        model=answered.model if answered is not None else last.model,
        rehearsal=answered is not None and answered.rehearsal,
        prompt_name=call.generation.prompt.name if call.generation.prompt is not None else "",
        prompt_digest=outcome.prompt_digest,
        usage=usage_to_proto(outcome.usage),
        start_time=timestamp_to_proto(call.started_at),
        duration=duration_to_proto(call.duration_s),
        confidence=answered.confidence if answered is not None and answered.confidence is not None else _NO_CONFIDENCE,
        attempts=len(outcome.attempts),
    )
    if isinstance(outcome, Unanswered):
        event.failure.CopyFrom(failure_to_proto(outcome.failure))
    return event.SerializeToString()


def _tool_from_proto(message: msg.ToolDefinition, field: str) -> ToolDefinition:
    schema = object_from_proto(message.arguments_schema, f"{field}.arguments_schema")
    return ToolDefinition(name=message.name, description=message.description, arguments_schema=schema)


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


def _part_to_proto(part: Part) -> msg.Part:
    match part:
        case Text(text=text):
            return msg.Part(text=msg.TextPart(text=text))
        case Media(media_type=media_type, uri=uri):
            return msg.Part(media=msg.MediaPart(media_type=media_type, uri=uri))
        case ToolCall(call_id=call_id, tool=tool, arguments=arguments):
            return msg.Part(tool_call=msg.ToolCallPart(call_id=call_id, tool=tool, arguments=json_to_proto(arguments)))
        case ToolResult(call_id=call_id, tool=tool, content=content, is_error=is_error):
            result = msg.ToolResultPart(call_id=call_id, tool=tool, content=json_to_proto(content), is_error=is_error)
            return msg.Part(tool_result=result)
        case Reasoning(text=text, signature=signature, provenance=provenance):
            return msg.Part(reasoning=msg.ReasoningPart(text=text, signature=signature, provenance=provenance))
        case Refusal(text=text):
            return msg.Part(refusal=msg.RefusalPart(text=text))
        case Opaque(provenance=provenance, content=content):
            return msg.Part(opaque=msg.OpaquePart(provenance=provenance, content=json_to_proto(content)))


def _attempts_to_proto(attempts: Iterable[Attempt]) -> list[pb.Attempt]:
    return [
        pb.Attempt(
            provider=attempt.provider,
            model=attempt.model,
            failure=failure_to_proto(attempt.failure) if attempt.failure is not None else None,
            duration=duration_to_proto(attempt.duration_s),
            usage=usage_to_proto(attempt.usage),
        )
        for attempt in attempts
    ]
