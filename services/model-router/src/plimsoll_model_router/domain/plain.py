"""Conversations and answers as plain JSON, both ways: for what is kept, and for telling questions apart."""

from plimsoll_runtime.failures import Category, Failure
from plimsoll_runtime.json_types import JsonObject, JsonValue, digest
from plimsoll_runtime.usage import Usage

from plimsoll_model_router.domain.conversion import Conversion, ConversionKind
from plimsoll_model_router.domain.generation import Answer, Attempt, Generation, Purpose
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
    ToolResult,
)


def fingerprint(generation: Generation) -> str:
    """What is asked, as a digest: the same for a repeat of the same question, whichever worker makes it."""
    asked: JsonObject = {
        "prompt": str(generation.prompt) if generation.prompt is not None else None,
        "variables": generation.variables,
        "messages": [message_to_plain(message) for message in generation.messages],
        "tools": [[tool.name, tool.description, tool.arguments_schema] for tool in generation.tools],
        "tool_choice": generation.tool_choice.value,
        "output_schema": generation.output_schema,
        "task": generation.task,
        "model": generation.model,
        "max_output_tokens": generation.max_output_tokens,
    }
    return digest(asked | _manner(generation))


def _manner(generation: Generation) -> JsonObject:
    """How the answer is to be made, where the caller says anything about it."""
    sampling = generation.sampling
    told: JsonObject = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "seed": sampling.seed,
        "stop": list[JsonValue](sampling.stop) or None,
        "effort": generation.effort.value if generation.effort is not None else None,
        "tool_name": generation.tool_name or None,
        "single_call": generation.single_call or None,
        "purpose": generation.purpose.value if generation.purpose is not Purpose.PRODUCTION else None,
        "candidate": generation.candidate.digest if generation.candidate is not None else None,
        "model_digest": generation.model_digest or None,
    }
    return {name: value for name, value in told.items() if value is not None}


def message_to_plain(message: Message) -> JsonObject:
    return {"role": message.role.value, "parts": [part_to_plain(part) for part in message.parts]}


def message_from_plain(value: JsonObject) -> Message:
    parts = value["parts"]
    assert isinstance(parts, list)
    return Message(role=Role(str(value["role"])), parts=tuple(_part_from_plain(part) for part in parts if isinstance(part, dict)))


def answer_to_plain(answer: Answer) -> JsonObject:
    return {
        "message": message_to_plain(answer.message),
        "stop_reason": answer.stop_reason.value,
        "usage": _usage_to_plain(answer.usage),
        "provider": answer.provider,
        "model": answer.model,
        "rehearsal": answer.rehearsal,
        "prompt_digest": answer.prompt_digest,
        "attempts": attempts_to_plain(answer.attempts),
        "confidence": answer.confidence,
        "output": answer.output,
        "has_output": answer.has_output,
        "call_id": answer.call_id,
        "priced": answer.priced,
    }


def attempts_to_plain(attempts: tuple[Attempt, ...]) -> list[JsonValue]:
    return [_attempt_to_plain(attempt) for attempt in attempts]


def attempts_from_plain(value: JsonValue) -> tuple[Attempt, ...]:
    assert isinstance(value, list)
    return tuple(_attempt_from_plain(attempt) for attempt in value if isinstance(attempt, dict))


def answer_from_plain(value: JsonObject) -> Answer:
    """The answer as it was recorded, marked as such."""
    message, confidence = value["message"], value["confidence"]
    assert isinstance(message, dict)
    return Answer(
        message=message_from_plain(message),
        stop_reason=StopReason(str(value["stop_reason"])),
        usage=_usage_from_plain(value["usage"]),
        provider=str(value["provider"]),
        model=str(value["model"]),
        rehearsal=bool(value["rehearsal"]),
        prompt_digest=str(value["prompt_digest"]),
        attempts=attempts_from_plain(value["attempts"]),
        confidence=float(confidence) if isinstance(confidence, int | float) else None,
        output=value["output"],
        has_output=bool(value["has_output"]),
        recorded=True,
        call_id=str(value.get("call_id", "")),
        priced=bool(value.get("priced", True)),
    )


def part_to_plain(part: Part) -> JsonObject:
    match part:
        case Text(text=text):
            return {"kind": "text", "text": text}
        case Media(media_type=media_type, uri=uri):
            return {"kind": "media", "media_type": media_type, "uri": uri}
        case ToolCall(call_id=call_id, tool=tool, arguments=arguments):
            return {"kind": "tool_call", "call_id": call_id, "tool": tool, "arguments": arguments}
        case ToolResult(call_id=call_id, tool=tool, content=content, is_error=is_error):
            return {"kind": "tool_result", "call_id": call_id, "tool": tool, "content": content, "is_error": is_error}
        case Reasoning(text=text, signature=signature, provenance=provenance):
            return {"kind": "reasoning", "text": text, "signature": signature, "provenance": provenance}
        case Refusal(text=text):
            return {"kind": "refusal", "text": text}
        case Opaque(provenance=provenance, content=content):
            return {"kind": "opaque", "provenance": provenance, "content": content}


def _part_from_plain(value: JsonObject) -> Part:
    text = {key: str(item) for key, item in value.items() if isinstance(item, str)}
    match text["kind"]:
        case "text":
            return Text(text=text["text"])
        case "media":
            return Media(media_type=text["media_type"], uri=text["uri"])
        case "tool_call":
            return ToolCall(call_id=text["call_id"], tool=text["tool"], arguments=value["arguments"])
        case "tool_result":
            return ToolResult(call_id=text["call_id"], tool=text["tool"], content=value["content"], is_error=bool(value["is_error"]))
        case "reasoning":
            return Reasoning(text=text["text"], signature=text["signature"], provenance=text["provenance"])
        case "refusal":
            return Refusal(text=text["text"])
        case "opaque":
            return Opaque(provenance=text["provenance"], content=value["content"])
        case kind:
            raise ValueError(f"no part is of kind {kind!r}")


def _usage_to_plain(usage: Usage) -> JsonObject:
    return {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cached_input_tokens": usage.cached_input_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "cost_micros": usage.cost_micros,
    }


def _usage_from_plain(value: JsonValue) -> Usage:
    counts = {key: item for key, item in value.items() if isinstance(item, int)} if isinstance(value, dict) else {}
    return Usage(
        input_tokens=counts["input_tokens"],
        output_tokens=counts["output_tokens"],
        cached_input_tokens=counts["cached_input_tokens"],
        reasoning_tokens=counts["reasoning_tokens"],
        cost_micros=counts["cost_micros"],
    )


def _attempt_to_plain(attempt: Attempt) -> JsonObject:
    failure = attempt.failure
    told: JsonObject | None = None
    if failure is not None:
        told = {"category": failure.category.value, "reason": failure.reason, "message": failure.message, "retryable": failure.retryable}
    return {
        "provider": attempt.provider,
        "model": attempt.model,
        "duration_s": attempt.duration_s,
        "usage": _usage_to_plain(attempt.usage),
        "failure": told,
        "credential": attempt.credential,
        "report": [[one.kind.value, one.subject, one.detail] for one in attempt.report],
    }


def _attempt_from_plain(value: JsonObject) -> Attempt:
    provider, told, duration_s = str(value["provider"]), value["failure"], value["duration_s"]
    model = str(value["model"])
    failure = None
    if isinstance(told, dict):
        failure = Failure(
            category=Category(str(told["category"])),
            reason=str(told["reason"]),
            message=str(told["message"]),
            retryable=bool(told["retryable"]),
            where=f"{provider}/{model}",
        )
    return Attempt(
        provider=provider,
        model=model,
        duration_s=float(duration_s) if isinstance(duration_s, int | float) else 0.0,
        usage=_usage_from_plain(value["usage"]),
        failure=failure,
        credential=str(value.get("credential", "")),
        report=_report_from_plain(value.get("report")),
    )


def _report_from_plain(value: JsonValue) -> tuple[Conversion, ...]:
    told = [one for one in value if isinstance(one, list)] if isinstance(value, list) else []
    return tuple(Conversion(kind=ConversionKind(str(kind)), subject=str(subject), detail=str(detail)) for kind, subject, detail in told)
