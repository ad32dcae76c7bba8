"""Gemini generateContent: neutral ↔ wire, without I/O. `gemini_turns` has the conversation."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from plimsoll_runtime.json_types import JsonObject, JsonValue
from plimsoll_runtime.usage import Usage

from plimsoll_model_router.adapters.providers import failures, schema_fit
from plimsoll_model_router.adapters.providers.conversation import (
    call_id,
    instructions,
    provenance,
    schema_instruction,
    settled,
)
from plimsoll_model_router.adapters.providers.gemini_turns import turns
from plimsoll_model_router.adapters.providers.reading import an_object, count, objects, text, usage_told
from plimsoll_model_router.domain.conversion import Report
from plimsoll_model_router.domain.endpoints import Ask, Feature, ReasoningStyle
from plimsoll_model_router.domain.generation import Reply
from plimsoll_model_router.domain.messages import (
    Effort,
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
)
from plimsoll_model_router.errors import ProviderError

_MODES = {ToolChoice.AUTO: "AUTO", ToolChoice.NONE: "NONE", ToolChoice.REQUIRED: "ANY", ToolChoice.NAMED: "ANY"}
_LEVELS = {Effort.NONE: "MINIMAL", Effort.LOW: "LOW", Effort.MEDIUM: "MEDIUM", Effort.HIGH: "HIGH"}
_BUDGETS = {Effort.NONE: 0, Effort.LOW: 2048, Effort.MEDIUM: 8192, Effort.HIGH: 24576}
_REFUSALS = frozenset(
    {"SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "MODEL_ARMOR"}
    | {"IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION"}
)
_STOPS: Mapping[str, StopReason] = MappingProxyType(
    {"STOP": StopReason.END_TURN, "MAX_TOKENS": StopReason.MAX_TOKENS, **dict.fromkeys(_REFUSALS, StopReason.REFUSAL)}
)


def encode(ask: Ask, report: Report) -> JsonObject:
    """The request body. Raises ProviderError for what the dialect cannot say."""
    question = ask.question
    told = instructions(question.messages, report)
    contents = turns(ask, report)
    config = _config(ask, told, report)
    body: JsonObject = {}
    if told:
        body["systemInstruction"] = {"parts": [{"text": "\n\n".join(told)}]}
    body["contents"] = contents
    if question.tools:
        declared: list[JsonValue] = [
            {"name": tool.name, "description": tool.description, "parametersJsonSchema": {"type": "object", **tool.arguments_schema}}
            for tool in question.tools
        ]
        body["tools"] = [{"functionDeclarations": declared}]
        calling: JsonObject = {"mode": _MODES[question.tool_choice]}
        if question.tool_choice is ToolChoice.NAMED:
            calling["allowedFunctionNames"] = [question.tool_name]
        body["toolConfig"] = {"functionCallingConfig": calling}
        if question.single_call:
            report.emulated("single_call", "the dialect has no switch: of several calls the first is kept")
    if config:
        body["generationConfig"] = config
    return body


def decode(body: JsonObject, ask: Ask, report: Report) -> Reply:
    """The reply in a response body. Raises ProviderError when it holds an error or makes no sense."""
    where, usage = ask.endpoint.full_name, an_object(body.get("usageMetadata"))
    if body.get("error"):
        raise error_in(body, 0, where)
    blocked = text(an_object(body.get("promptFeedback")).get("blockReason"))
    candidates = objects(body.get("candidates"))
    if not candidates and not blocked:
        raise failures.malformed(where, "no candidates", usage_of(usage))
    candidate = candidates[0] if candidates else {}
    taken: set[str] = set()
    found = objects(an_object(candidate.get("content")).get("parts"))
    parts = [part for one in found for part in part_of(one, taken, ask, report)]
    stop = text(candidate.get("finishReason")) or ("SAFETY" if blocked else "")
    return reply_of(parts, stop, usage, text(body.get("modelVersion")), ask)


def reply_of(parts: list[Part], stop: str, usage: JsonObject, model: str, ask: Ask) -> Reply:
    """A complete reply. Raises ProviderError for a finish reason that means it is none."""
    where, reason = ask.endpoint.full_name, _STOPS.get(stop)
    if stop == "MISSING_THOUGHT_SIGNATURE":
        raise failures.refused(where, 0, message="missing thought signature", usage=usage_of(usage))
    if reason is None:
        raise failures.malformed(where, f"finish reason {stop!r}"[:80], usage_of(usage))
    if reason is StopReason.REFUSAL:
        parts = [*parts, Refusal(text="")]
    return Reply(
        message=Message(role=Role.ASSISTANT, parts=tuple(parts)),
        stop_reason=settled(reason, parts),
        usage=usage_of(usage),
        model=model or ask.endpoint.model,
        raw_usage=usage,
    )


def part_of(part: JsonObject, taken: set[str], ask: Ask, report: Report) -> Iterator[Part]:
    """A part as ours. The signature of one that is no thought stands before it, as thinking without words."""
    made_by, signature = provenance(ask, bound=True), text(part.get("thoughtSignature"))
    if part.get("thought") is True:
        yield Reasoning(text=text(part.get("text")), signature=signature, provenance=made_by)
        return
    if signature:
        yield Reasoning(text="", signature=signature, provenance=made_by)
    if "functionCall" in part:
        call = an_object(part.get("functionCall"))
        unique = call_id(text(call.get("id")), taken, report)
        yield ToolCall(call_id=unique, tool=text(call.get("name")), arguments=an_object(call.get("args")))
    elif "text" in part:
        if text(part.get("text")):
            yield Text(text=text(part.get("text")))
    else:
        yield Opaque(provenance=made_by, content={key: value for key, value in part.items() if key != "thoughtSignature"})


def usage_of(usage: JsonObject) -> Usage:
    """Gemini counts thinking and what tools brought apart; ours counts them in."""
    thoughts = count(usage.get("thoughtsTokenCount"))
    return usage_told(
        input_tokens=count(usage.get("promptTokenCount")) + count(usage.get("toolUsePromptTokenCount")),
        output_tokens=count(usage.get("candidatesTokenCount")) + thoughts,
        cached_input_tokens=count(usage.get("cachedContentTokenCount")),
        reasoning_tokens=thoughts,
    )


def error_in(body: JsonObject, status: int, where: str, retry_after_s: float | None = None, usage: Usage | None = None) -> ProviderError:
    """The error that a body tells of: its details say more than its status."""
    error = an_object(body.get("error"))
    details = objects(error.get("details"))
    reasons = {text(detail.get("reason")) for detail in details}
    code = "API_KEY_INVALID" if "API_KEY_INVALID" in reasons else text(error.get("status"))
    if code == "RESOURCE_EXHAUSTED" and any("PerDay" in text(v.get("quotaId")) for d in details for v in objects(d.get("violations"))):
        code = "insufficient_quota"  # today's is used up: no pause of ours will help
    status = status or count(error.get("code"))
    return failures.refused(where, status, code=code, message=text(error.get("message")), retry_after_s=retry_after_s, usage=usage)


def retry_delay(body: JsonObject) -> str:
    """The pause that the body asks for, such as `12s`; empty when it asks for none."""
    details = objects(an_object(body.get("error")).get("details"))
    return next((delay for detail in details if (delay := text(detail.get("retryDelay")))), "")


def _config(ask: Ask, told: list[str], report: Report) -> JsonObject:
    question, config = ask.question, JsonObject()
    if question.max_output_tokens:
        config["maxOutputTokens"] = question.max_output_tokens
    for name, key, value in (("temperature", "temperature", question.sampling.temperature), ("top_p", "topP", question.sampling.top_p)):
        if value is not None and Feature.SAMPLING in ask.endpoint.features:
            config[key] = value
        elif value is not None:
            report.dropped(name, "the model takes no such parameter")
    if question.sampling.seed is not None:
        config["seed"] = question.sampling.seed
    if question.sampling.stop:
        config["stopSequences"] = list(question.sampling.stop)
    _shape(ask, config, told, report)
    _think(ask, config, report)
    return config


def _shape(ask: Ask, config: JsonObject, told: list[str], report: Report) -> None:
    """How the answer has to look; adds to `told` what can only be put into words."""
    schema, features = ask.question.output_schema, ask.endpoint.features
    if schema is None:
        return
    if ask.question.tools:  # many models take tools or a schema, not both
        fitted = None
    else:
        fitted = schema_fit.fitted(schema, schema_fit.GEMINI_RULES) if Feature.OUTPUT_SCHEMA in features else None
    if fitted is not None:
        config["responseMimeType"], config["responseJsonSchema"] = "application/json", fitted.schema
        if not fitted.relaxed:
            return
        report.approximated("output_schema", "the provider enforces its shape; the rest is put into words")
    else:
        if Feature.JSON_OUTPUT in features and not ask.question.tools:
            config["responseMimeType"] = "application/json"
        report.emulated("output_schema", "put into words: the provider cannot enforce it")
    told.append(schema_instruction(schema))


def _think(ask: Ask, config: JsonObject, report: Report) -> None:
    effort = ask.question.effort
    if effort is None:
        return
    if Feature.REASONING not in ask.endpoint.features:
        if effort is not Effort.NONE:
            report.dropped("effort", "the model cannot be told how much to think")
    elif ask.endpoint.reasoning_style is ReasoningStyle.BUDGET:
        config["thinkingConfig"] = {"thinkingBudget": _BUDGETS[effort], "includeThoughts": effort is not Effort.NONE}
    else:
        if effort is Effort.NONE:
            report.approximated("effort", "the model thinks a little at the least")
        config["thinkingConfig"] = {"thinkingLevel": _LEVELS[effort], "includeThoughts": effort is not Effort.NONE}
