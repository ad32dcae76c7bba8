"""Protobuf ↔ domain; the only place that knows both."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from plimsoll.model_router.v1 import model_events_pb2 as events
from plimsoll.model_router.v1 import model_router_service_pb2 as pb
from plimsoll.model_router.v1 import prompt_pb2, routing_pb2
from plimsoll_runtime.errors import FieldProblem
from plimsoll_runtime.failures import failure_to_proto
from plimsoll_runtime.json_types import JsonObject, JsonValue, dump_json
from plimsoll_runtime.usage import usage_to_proto, write_usage
from plimsoll_runtime.wire import (
    duration_from_proto,
    duration_to_proto,
    object_from_proto,
    timestamp_to_proto,
    write_duration,
    write_timestamp,
)
from plimsoll_runtime.work import WorkContext, work_from_proto, work_to_proto, write_work

from plimsoll_model_router.domain.calls import NO_BODY, Body, CompletedCall, KeptBody, KeptCall
from plimsoll_model_router.domain.embedding import Embedded, EmbeddingWish
from plimsoll_model_router.domain.generation import (
    Answer,
    Attempt,
    CachePolicy,
    CacheScope,
    Generation,
    Outcome,
    Progress,
    Purpose,
    Unanswered,
)
from plimsoll_model_router.domain.messages import ANY_SAMPLING
from plimsoll_model_router.domain.prompts import ByDigest, ByLabel, ByVersion, PromptReference, Selector
from plimsoll_model_router.errors import InvalidGeneration
from plimsoll_model_router.failover.inquiry import Delivery
from plimsoll_model_router.transport import message_codec as messages
from plimsoll_model_router.transport.registry_codec import template_from_proto

_NO_CONFIDENCE = -1.0
_NO_WORK = WorkContext()
_SCOPES: Mapping[int, CacheScope] = MappingProxyType(
    {
        pb.CACHE_SCOPE_UNSPECIFIED: CacheScope.TENANT,
        pb.CACHE_SCOPE_TENANT: CacheScope.TENANT,
        pb.CACHE_SCOPE_AGENT: CacheScope.AGENT,
        pb.CACHE_SCOPE_RUN: CacheScope.RUN,
    }
)
_PURPOSE_CODES = {purpose: pb.Purpose.Value(f"PURPOSE_{purpose.name}") for purpose in Purpose}
_PURPOSES: Mapping[int, Purpose] = MappingProxyType(
    {pb.PURPOSE_UNSPECIFIED: Purpose.PRODUCTION, **{code: purpose for purpose, code in _PURPOSE_CODES.items()}}
)
_DELIVERIES: Mapping[int, Delivery] = MappingProxyType(
    {
        pb.DELIVERY_UNSPECIFIED: Delivery.RETRACTABLE,
        pb.DELIVERY_RETRACTABLE: Delivery.RETRACTABLE,
        pb.DELIVERY_BUFFERED: Delivery.BUFFERED,
        pb.DELIVERY_STRICT: Delivery.STRICT,
    }
)


def generation_from_proto(message: pb.Generation) -> Generation:
    """Raises Invalid, naming the field, for what cannot be read."""
    if message.purpose not in _PURPOSES:
        raise InvalidGeneration(problems=(FieldProblem("generation.purpose", f"is {message.purpose}", "use PRODUCTION or EVALUATION"),))
    return Generation(
        request_key=message.request_key,
        prompt=reference_from_proto(message.prompt, "generation.prompt") if message.HasField("prompt") else None,
        variables=object_from_proto(message.variables, "generation.variables") if message.HasField("variables") else {},
        messages=tuple(messages.message_from_proto(one, f"generation.messages[{at}]") for at, one in enumerate(message.messages)),
        tools=tuple(messages.tool_from_proto(tool, f"generation.tools[{at}]") for at, tool in enumerate(message.tools)),
        tool_choice=messages.choice_from_proto(message.tool_choice, "generation.tool_choice"),
        output_schema=object_from_proto(message.output_schema, "generation.output_schema") if message.HasField("output_schema") else None,
        task=message.task,
        model=message.model,
        max_output_tokens=message.max_output_tokens,
        max_cost_micros=message.max_cost_micros,
        sampling=messages.sampling_from_proto(message.sampling) if message.HasField("sampling") else ANY_SAMPLING,
        effort=messages.effort_from_proto(message.effort, "generation.effort"),
        tool_name=message.tool_choice_name,
        single_call=message.single_tool_call,
        cache_prefix=message.cache_prefix,
        cache=_cache_from_proto(message.cache) if message.HasField("cache") else None,
        work=work_from_proto(message.work) if message.HasField("work") else _NO_WORK,
        purpose=_PURPOSES[message.purpose],
        candidate=template_from_proto(message.candidate_prompt) if message.HasField("candidate_prompt") else None,
        model_digest=message.model_digest,
        wire=message.SerializeToString(),
    )


def body_of(call: CompletedCall) -> Body:
    """What is kept of the question, and of its answer without the attempts, which the ledger has."""
    if not call.generation.wire:
        return NO_BODY
    outcome = call.outcome
    answer = answer_to_proto(outcome, attempts=()).SerializeToString() if isinstance(outcome, Answer) else b""
    return Body(question=call.generation.wire, answer=answer)


def _cache_from_proto(message: pb.CachePolicy) -> CachePolicy:
    if message.scope not in _SCOPES:
        problem = FieldProblem("generation.cache.scope", f"is {message.scope}", "use TENANT, AGENT or RUN")
        raise InvalidGeneration(problems=(problem,))
    return CachePolicy(max_age_s=duration_from_proto(message.max_age), scope=_SCOPES[message.scope])


def delivery_from_proto(code: int) -> Delivery:
    """Raises InvalidGeneration for a code that means nothing."""
    found = _DELIVERIES.get(code)
    if found is None:
        raise InvalidGeneration(problems=(FieldProblem("delivery", f"is {code}", "use RETRACTABLE, BUFFERED or STRICT"),))
    return found


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


def answer_to_proto(answer: Answer, attempts: Iterable[Attempt] | None = None) -> pb.Answer:
    """With other attempts than its own, where they are given."""
    message = pb.Answer()
    _write_answer(message, answer, answer.attempts if attempts is None else attempts)
    return message


def _write_answer(message: pb.Answer, answer: Answer, attempts: Iterable[Attempt]) -> None:
    messages.write_message(message.message, answer.message)
    write_usage(message.usage, answer.usage)
    message.stop_reason = messages.stop_to_proto(answer.stop_reason)
    message.provider = answer.provider
    message.model = answer.model
    message.rehearsal = answer.rehearsal
    message.confidence = answer.confidence if answer.confidence is not None else _NO_CONFIDENCE
    message.prompt_digest = answer.prompt_digest
    message.recorded = answer.recorded
    message.cached = answer.cached
    message.call_id = answer.call_id
    message.priced = answer.priced
    for attempt in attempts:
        _write_attempt(message.attempts.add(), attempt)
    if answer.has_output:
        message.output.text = dump_json(answer.output)


def answer_to_bytes(answer: Answer) -> bytes:
    return answer_to_proto(answer).SerializeToString()


def unanswered_to_proto(outcome: Unanswered) -> pb.GenerationFailure:
    return pb.GenerationFailure(
        failure=failure_to_proto(outcome.failure),
        attempts=_attempts_to_proto(outcome.attempts),
        usage=usage_to_proto(outcome.usage),
        call_id=outcome.call_id,
    )


def outcome_to_proto(outcome: Outcome) -> pb.GenerateResponse:
    match outcome:
        case Answer():
            response = pb.GenerateResponse()
            _write_answer(response.answer, outcome, outcome.attempts)
            return response
        case Unanswered():
            return pb.GenerateResponse(failure=unanswered_to_proto(outcome))


def step_to_proto(step: Progress | Outcome) -> pb.GenerateStreamResponse:
    match step:
        case Progress():
            return messages.progress_to_proto(step)
        case Answer():
            return pb.GenerateStreamResponse(attempt=len(step.attempts), answer=answer_to_proto(step))
        case Unanswered():
            return pb.GenerateStreamResponse(attempt=len(step.attempts), failure=unanswered_to_proto(step))


def completed_to_bytes(event_id: str, call: CompletedCall, choice: JsonObject) -> bytes:
    """The event that tells of a finished call, with the plain form of its choice."""
    outcome = call.outcome
    last = outcome.attempts[-1] if outcome.attempts else None
    answered = outcome if isinstance(outcome, Answer) else None
    asked = last.provider if last is not None else ""
    event = events.ModelCallCompleted(
        event_id=event_id,
        tenant=call.tenant,
        call_id=call.call_id,
        task=call.generation.task,
        provider=answered.provider if answered is not None else asked,
        model=answered.model if answered is not None else last.model if last is not None else "",
        rehearsal=answered is not None and answered.rehearsal,
        prompt_name=call.generation.prompt_name,
        prompt_digest=outcome.prompt_digest,
        confidence=answered.confidence if answered is not None and answered.confidence is not None else _NO_CONFIDENCE,
        attempts=len(outcome.attempts),
        cached=answered is not None and answered.cached,
        priced=outcome.priced,
        key=call.key,
        purpose=_PURPOSE_CODES[call.generation.purpose],
        prompt_version=call.prompt_version,
        model_digest=call.model_digest,
    )
    write_work(event.work, call.generation.work)
    write_usage(event.usage, outcome.usage)
    write_timestamp(event.start_time, call.started_at)
    write_duration(event.duration, call.duration_s)
    _write_choice(event.choice, choice)
    if isinstance(outcome, Unanswered):
        event.failure.CopyFrom(failure_to_proto(outcome.failure))
    return event.SerializeToString()


def embedding_from_proto(message: pb.EmbedRequest) -> EmbeddingWish:
    return EmbeddingWish(texts=tuple(message.texts), model=message.model, dimensions=message.dimensions, work=work_from_proto(message.work))


def embedded_to_proto(outcome: Embedded | Unanswered) -> pb.EmbedResponse:
    if isinstance(outcome, Unanswered):
        return pb.EmbedResponse(failure=unanswered_to_proto(outcome))
    return pb.EmbedResponse(
        embeddings=pb.Embeddings(
            vectors=[pb.Embedding(values=vector) for vector in outcome.vectors],
            provider=outcome.provider,
            model=outcome.model,
            rehearsal=outcome.rehearsal,
            usage=usage_to_proto(outcome.usage),
            attempts=_attempts_to_proto(outcome.attempts),
        )
    )


def kept_to_proto(call: KeptCall) -> pb.GetCallResponse:
    message = pb.GetCallResponse(
        call_id=call.call_id,
        task=call.task,
        provider=call.provider,
        model=call.model,
        prompt_name=call.prompt_name,
        prompt_digest=call.prompt_digest,
        usage=usage_to_proto(call.usage),
        priced=call.priced,
        failure=failure_to_proto(call.failure) if call.failure is not None else None,
        attempts=_attempts_to_proto(call.attempts),
        choice=choice_to_proto(call.choice),
        work=work_to_proto(call.work),
        start_time=timestamp_to_proto(call.started_at),
        duration=duration_to_proto(call.duration_s),
        purpose=_PURPOSE_CODES[call.purpose],
        prompt_version=call.prompt_version,
        confidence=call.confidence if call.confidence is not None else _NO_CONFIDENCE,
        rehearsal=call.rehearsal,
        cached=call.cached,
        model_digest=call.model_digest,
    )
    if call.body is not None:
        _add_body(message, call.body)
    return message


def _add_body(message: pb.GetCallResponse, body: KeptBody) -> None:
    """The question can be asked again as it is: it names the prompt's version, not its label, and no request key."""
    message.generation.ParseFromString(body.question)
    message.generation.request_key = ""
    if message.generation.HasField("prompt"):
        message.generation.prompt.digest = message.prompt_digest
    if body.answer:
        message.answer.ParseFromString(body.answer)
        message.answer.call_id = message.call_id
    message.keep_until_time.CopyFrom(timestamp_to_proto(body.until))


def choice_to_proto(choice: JsonObject) -> routing_pb2.Choice:
    """A choice as it was recorded."""
    message = routing_pb2.Choice()
    _write_choice(message, choice)
    return message


def _write_choice(message: routing_pb2.Choice, choice: JsonObject) -> None:
    message.route = str(choice.get("route", ""))
    message.route_digest = str(choice.get("route_digest", ""))
    message.difficulty = _number(choice.get("difficulty"))
    message.sticky = bool(choice.get("sticky"))
    listed = choice.get("candidates")
    for one in listed if isinstance(listed, list) else ():
        if isinstance(one, dict):
            candidate = message.candidates.add()
            candidate.provider = str(one["provider"])
            candidate.model = str(one["model"])
            candidate.probability = _number(one["probability"])
            candidate.excluded = str(one["excluded"])
            candidate.quality = _number(one["quality"])
            write_duration(candidate.latency, _number(one["latency_s"]))


def _number(value: JsonValue) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _attempts_to_proto(attempts: Iterable[Attempt]) -> list[pb.Attempt]:
    return [_attempt_to_proto(attempt) for attempt in attempts]


def _attempt_to_proto(attempt: Attempt) -> pb.Attempt:
    message = pb.Attempt()
    _write_attempt(message, attempt)
    return message


def _write_attempt(message: pb.Attempt, attempt: Attempt) -> None:
    message.provider = attempt.provider
    message.model = attempt.model
    message.credential = attempt.credential
    write_duration(message.duration, attempt.duration_s)
    write_usage(message.usage, attempt.usage)
    message.conversions.extend(map(messages.conversion_to_proto, attempt.report))
    if attempt.failure is not None:
        message.failure.CopyFrom(failure_to_proto(attempt.failure))
