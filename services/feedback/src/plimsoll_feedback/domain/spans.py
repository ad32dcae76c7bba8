"""Operations as OpenTelemetry spans: ids that follow from what they name, and attributes by one of three conventions.

`otel` is the GenAI semantic conventions; `langfuse` and `langsmith` write, beside those, the keys that these two read. All keys of all
conventions are in this module. No span holds a prompt, an argument or a result, because no operation does.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, TypeAlias

from plimsoll_runtime.json_types import JsonValue, dump_json

from plimsoll_feedback.domain.operation import Operation, OperationKind

AttributeValue: TypeAlias = str | bool | int | float | tuple[str, ...]
Attributes: TypeAlias = dict[str, AttributeValue]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Profile(StrEnum):
    OTEL = "otel"
    LANGFUSE = "langfuse"
    LANGSMITH = "langsmith"


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a span says beside its operation: the step that it belongs to, and what is known of its run."""

    parent: str = ""
    thread_id: str = ""
    parent_run_id: str = ""
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Attributes:
    kind     `client` or `internal`
    parent   hexadecimal id of the span above; empty at the root
    linked   hexadecimal ids, of trace and span, of the run that started this one; None without one
    error    what went wrong; empty when nothing did
    """

    trace_id: str
    span_id: str
    parent: str
    name: str
    kind: str
    start_ns: int
    end_ns: int
    attributes: Mapping[str, AttributeValue]
    error: str = ""
    error_type: str = ""
    linked: tuple[str, str] | None = None


def trace_id(tenant: str, run_id: str) -> str:
    """The same for every span of a run, whoever exports it and how often."""
    return hashlib.sha256(f"plimsoll.trace\n{tenant}\n{run_id}".encode()).hexdigest()[:32]


def span_id(tenant: str, name: str) -> str:
    return hashlib.sha256(f"plimsoll.span\n{tenant}\n{name}".encode()).hexdigest()[:16]


def root_id(tenant: str, run_id: str) -> str:
    """Of the span of the run itself: known before the run has ended."""
    return span_id(tenant, f"run {run_id}")


def span_of(operation: Operation, around: Surroundings, profile: Profile) -> Span:
    """The span of an operation; the same operation in the same surroundings always gives the same span."""
    tenant, failure = operation.tenant, operation.failure
    start = (operation.started_at - _EPOCH) // datetime.resolution * 1000
    is_run = operation.kind is OperationKind.RUN
    above = span_id(tenant, around.parent) if around.parent else root_id(tenant, operation.run_id) if operation.run_id else ""
    return Span(
        trace_id=trace_id(tenant, operation.run_id or operation.id),
        span_id=root_id(tenant, operation.run_id) if is_run else span_id(tenant, operation.id),
        parent="" if is_run else above,
        name=_name(operation),
        kind="client" if operation.kind in {OperationKind.MODEL_CALL, OperationKind.RETRIEVAL} else "internal",
        start_ns=start,
        end_ns=start + round(operation.duration_s * 1e9),
        attributes=_attributes(operation, around, profile),
        error=f"{failure.reason}: {failure.message}" if failure else "",
        error_type=failure.category.value if failure else "",
        linked=_linked(tenant, around.parent_run_id) if is_run and around.parent_run_id else None,
    )


def _linked(tenant: str, run_id: str) -> tuple[str, str]:
    return trace_id(tenant, run_id), root_id(tenant, run_id)


def _name(operation: Operation) -> str:
    match operation.kind:
        case OperationKind.RUN:
            return f"invoke_agent {operation.agent}"
        case OperationKind.TRANSITION:
            return f"step {operation.node}"
        case OperationKind.MODEL_CALL:
            return f"chat {operation.name}"
        case OperationKind.TOOL_CALL:
            return f"execute_tool {operation.name}"
        case OperationKind.RETRIEVAL:
            return f"retrieval {operation.name}"
        case OperationKind.APPROVAL:
            return f"approval {operation.node}"
        case OperationKind.QUALITY:
            return f"retrieval_quality {operation.name}"


def _attributes(operation: Operation, around: Surroundings, profile: Profile) -> Attributes:
    found = _own(operation, around) | _genai(operation, around)
    match profile:
        case Profile.OTEL:
            return found
        case Profile.LANGFUSE:
            return found | _langfuse(operation, around)
        case Profile.LANGSMITH:
            return found | _langsmith(operation, around)


def _own(operation: Operation, around: Surroundings) -> Attributes:
    """All that is stored of the operation, under names of our own."""
    found: Attributes = {
        "plimsoll.tenant": operation.tenant,
        "plimsoll.operation.id": operation.id,
        "plimsoll.operation.kind": operation.kind.value,
        "plimsoll.run.id": operation.run_id,
        "plimsoll.step": operation.step,
        "plimsoll.agent.version": operation.agent_version,
        "plimsoll.node": operation.node,
        "plimsoll.cost_micros": operation.usage.cost_micros,
        "plimsoll.parent_run.id": around.parent_run_id,
        "plimsoll.tags": around.tags,
    }
    if operation.failure is not None:
        found |= {
            "plimsoll.failure.category": operation.failure.category.value,
            "plimsoll.failure.reason": operation.failure.reason,
            "plimsoll.failure.retryable": operation.failure.retryable,
            "plimsoll.failure.evidence": operation.evidence,
        }
    found |= {f"plimsoll.fact.{name}": _plain(value) for name, value in operation.facts.items()}
    return _filled(found)


def _genai(operation: Operation, around: Surroundings) -> Attributes:
    found: Attributes = {"gen_ai.agent.name": operation.agent, "gen_ai.conversation.id": around.thread_id}
    if operation.failure is not None:
        found["error.type"] = operation.failure.category.value
    match operation.kind:
        case OperationKind.RUN:
            found["gen_ai.operation.name"] = "invoke_agent"
        case OperationKind.MODEL_CALL:
            found |= _model(operation)
        case OperationKind.TOOL_CALL:
            found |= {
                "gen_ai.operation.name": "execute_tool",
                "gen_ai.tool.name": operation.name,
                "gen_ai.tool.type": "function",
                "gen_ai.tool.call.id": _fact(operation, "call_id"),
            }
        case OperationKind.RETRIEVAL:
            found |= {"gen_ai.operation.name": "retrieval", "gen_ai.data_source.id": operation.name}
        case OperationKind.TRANSITION | OperationKind.APPROVAL | OperationKind.QUALITY:
            pass
    return _filled(found)


def _model(operation: Operation) -> Attributes:
    usage = operation.usage
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": _fact(operation, "provider"),
        "gen_ai.request.model": operation.name,
        "gen_ai.response.model": operation.name,
        "gen_ai.usage.input_tokens": usage.input_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cached_input_tokens,
        "gen_ai.usage.reasoning.output_tokens": usage.reasoning_tokens,
        "gen_ai.prompt.name": _fact(operation, "prompt"),
        "gen_ai.prompt.version": _version(operation),
    }


def _langfuse(operation: Operation, around: Surroundings) -> Attributes:
    """Attributes of the trace stand on every span, because that is where they are read."""
    types = {
        OperationKind.RUN: "agent",
        OperationKind.MODEL_CALL: "generation",
        OperationKind.TOOL_CALL: "tool",
        OperationKind.RETRIEVAL: "retriever",
    }
    found: Attributes = {
        "langfuse.observation.type": types.get(operation.kind, "span"),
        "langfuse.trace.name": operation.agent,
        "langfuse.session.id": around.thread_id,
        "session.id": around.thread_id,
        "langfuse.trace.tags": around.tags,
        "langfuse.version": operation.agent_version,
        "langfuse.trace.metadata.tenant": operation.tenant,
        "langfuse.trace.metadata.run_id": operation.run_id,
        "langfuse.observation.metadata.node": operation.node,
        "langfuse.observation.metadata.operation_id": operation.id,
    }
    if operation.failure is not None:
        failure = operation.failure
        found |= {
            "langfuse.observation.level": "ERROR",
            "langfuse.observation.status_message": f"{failure.reason}: {failure.message}",
            "langfuse.observation.metadata.category": failure.category.value,
        }
    if operation.kind is OperationKind.MODEL_CALL:
        usage = operation.usage
        counts: dict[str, JsonValue] = {"input": usage.input_tokens, "output": usage.output_tokens}
        counts |= {"input_cached_tokens": usage.cached_input_tokens} if usage.cached_input_tokens else {}
        found |= {
            "langfuse.observation.model.name": operation.name,
            "langfuse.observation.usage_details": dump_json(counts),
            "langfuse.observation.cost_details": dump_json({"total": usage.cost_micros / 1e6}),
            "langfuse.observation.prompt.name": _fact(operation, "prompt"),
            "langfuse.observation.prompt.version": _version(operation),
            "gen_ai.usage.cost": usage.cost_micros / 1e6,
        }
    return _filled(found)


def _langsmith(operation: Operation, around: Surroundings) -> Attributes:
    kinds = {OperationKind.MODEL_CALL: "llm", OperationKind.TOOL_CALL: "tool", OperationKind.RETRIEVAL: "retriever"}
    found: Attributes = {
        "langsmith.span.kind": kinds.get(operation.kind, "chain"),
        "langsmith.trace.session_id": around.thread_id,
        "langsmith.trace.name": operation.agent,
        "langsmith.span.tags": ", ".join(around.tags),
        "langsmith.metadata.tenant": operation.tenant,
        "langsmith.metadata.run_id": operation.run_id,
        "langsmith.metadata.agent_version": operation.agent_version,
        "langsmith.metadata.node": operation.node,
        "langsmith.metadata.operation_id": operation.id,
    }
    if operation.failure is not None:
        found["langsmith.metadata.category"] = operation.failure.category.value
    if operation.kind is OperationKind.MODEL_CALL:
        usage = operation.usage
        found |= {
            "gen_ai.system": _fact(operation, "provider"),
            "gen_ai.usage.total_tokens": usage.input_tokens + usage.output_tokens,
            "langsmith.metadata.prompt": _fact(operation, "prompt"),
            "langsmith.metadata.prompt_digest": _fact(operation, "prompt_digest"),
            "langsmith.metadata.cost_micros": usage.cost_micros,
        }
    return _filled(found)


def _filled(attributes: Attributes) -> Attributes:
    """Without those that say nothing."""
    return {name: value for name, value in attributes.items() if value not in ("", ())}


def _fact(operation: Operation, name: str) -> str:
    fact = operation.facts.get(name)
    return fact if isinstance(fact, str) else ""


def _version(operation: Operation) -> AttributeValue:
    """The number where the registry gave one, else the digest."""
    number = operation.facts.get("prompt_version")
    return number if isinstance(number, int) else _fact(operation, "prompt_digest")


def _plain(value: JsonValue) -> AttributeValue:
    """Attributes are flat: what is deeper is written as JSON."""
    return value if isinstance(value, str | bool | int | float) else dump_json(value)
