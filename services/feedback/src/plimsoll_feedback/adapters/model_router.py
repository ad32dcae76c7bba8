"""The model-router over gRPC: what calls asked and answered, replays of them, and the registry."""

from collections.abc import Sequence
from typing import Final

import grpc
from plimsoll.model_router.v1 import message_pb2, prompt_pb2, registry_pb2, routing_pb2
from plimsoll.model_router.v1 import model_router_service_pb2 as pb
from plimsoll.model_router.v1 import model_router_service_pb2_grpc as rpc
from plimsoll_runtime.context import acting_for
from plimsoll_runtime.errors import DeadlineExpired, NotFound
from plimsoll_runtime.failures import Category, Failure, failure_from_error, failure_from_proto
from plimsoll_runtime.json_types import JsonObject, JsonValue
from plimsoll_runtime.rpc_client import call
from plimsoll_runtime.wire import duration_from_proto, json_from_proto, json_to_proto

from plimsoll_feedback.adapters.model_router_messages import asked_from_proto, asked_to_proto, message_to_json, recorded_in
from plimsoll_feedback.domain.learning.datasets import Body
from plimsoll_feedback.domain.learning.proposing import PromptVersion, Shown
from plimsoll_feedback.domain.learning.reports import SubjectKind
from plimsoll_feedback.ports.learning import Answered, ModelName, Replay, RouteCandidate, RouteVersion, ToolAsked

_CAP_S: Final = 10.0
_ANSWER_CAP_S: Final = 120.0
_KINDS: Final = {
    SubjectKind.PROMPT: registry_pb2.ENTRY_KIND_PROMPT,
    SubjectKind.MODEL: registry_pb2.ENTRY_KIND_MODEL,
    SubjectKind.ROUTE: registry_pb2.ENTRY_KIND_ROUTE,
}
_PRINCIPAL: Final = "feedback"
_WRITING: Final = "reasoning"  # the route of those who rewrite instructions


class GrpcModelRouter:
    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = rpc.ModelRouterServiceStub(channel)

    async def body(self, tenant: str, call_id: str) -> Body | None:
        try:
            with acting_for(tenant, _PRINCIPAL):
                kept: pb.GetCallResponse = await call(self._stub.GetCall, pb.GetCallRequest(call_id=call_id), cap_s=_CAP_S)
        except NotFound:
            return None
        if not kept.HasField("generation") or not kept.HasField("answer"):
            return None
        asked = asked_from_proto(kept.generation)
        return Body(
            prompt=kept.prompt_name,
            prompt_digest=kept.prompt_digest,
            variables=json_from_proto(kept.generation.variables, "variables"),
            asked=asked,
            answer=_value(kept.answer),
            task=kept.task,
            model=f"{kept.provider}/{kept.model}",
            recorded=recorded_in(asked),
        )

    async def replay(self, tenant: str, replay: Replay) -> Answered:
        generation = asked_to_proto(replay.body.asked, replay.more)
        generation.request_key = replay.key
        generation.purpose = pb.PURPOSE_EVALUATION
        generation.task = replay.body.task
        generation.prompt.CopyFrom(prompt_pb2.PromptReference(name=replay.prompt, digest=replay.prompt_digest))
        generation.variables.CopyFrom(json_to_proto(replay.body.variables))
        generation.model = replay.model
        generation.model_digest = replay.model_digest
        return await self._generate(tenant, generation)

    async def ask(self, tenant: str, prompt: str, label: str, variables: JsonValue, key: str) -> Answered:
        reference = prompt_pb2.PromptReference(name=prompt, label=label)
        schema: JsonObject = {
            "type": "object",
            "required": ["score"],
            "properties": {"score": {"type": "number", "minimum": 0, "maximum": 1}, "reason": {"type": "string"}},
        }
        generation = pb.Generation(request_key=key, prompt=reference, variables=json_to_proto(variables), purpose=pb.PURPOSE_EVALUATION)
        generation.output_schema.CopyFrom(json_to_proto(schema))
        return await self._generate(tenant, generation)

    async def write(self, tenant: str, prompt: str, label: str, variables: JsonValue, key: str) -> str | Failure:
        reference = prompt_pb2.PromptReference(name=prompt, label=label)
        generation = pb.Generation(request_key=key, prompt=reference, variables=json_to_proto(variables), purpose=pb.PURPOSE_EVALUATION)
        generation.task = _WRITING
        try:
            with acting_for(tenant, _PRINCIPAL):
                response: pb.GenerateResponse = await call(
                    self._stub.Generate, pb.GenerateRequest(generation=generation), cap_s=_ANSWER_CAP_S
                )
        except DeadlineExpired as error:
            return failure_from_error(error, where=prompt)
        if response.HasField("failure"):
            return failure_from_proto(response.failure.failure)
        return _written(response.answer, prompt)

    async def digest_of(self, tenant: str, kind: SubjectKind, name: str, label: str) -> str:
        entry = await self._entry(tenant, registry_pb2.EntryReference(kind=_KINDS[kind], name=name, label=label))
        return entry.digest if entry is not None else ""

    async def has(self, tenant: str, kind: SubjectKind, name: str, digest: str) -> bool:
        return await self._entry(tenant, registry_pb2.EntryReference(kind=_KINDS[kind], name=name, digest=digest)) is not None

    async def prompt(self, tenant: str, name: str, digest: str) -> PromptVersion:
        with acting_for(tenant, _PRINCIPAL):
            request = pb.GetPromptRequest(reference=prompt_pb2.PromptReference(name=name, digest=digest))
            response: pb.GetPromptResponse = await call(self._stub.GetPrompt, request, cap_s=_CAP_S)
        return _prompt(response.prompt)

    async def register_prompt(
        self, tenant: str, prompt: PromptVersion, examples: Sequence[Shown], system: str, labels: Sequence[str]
    ) -> str:
        told = prompt_pb2.Prompt(
            name=prompt.name, description=prompt.description, variables=prompt.variables, system=system, user=prompt.user
        )
        told.examples.extend(prompt_pb2.PromptExample(user=one.user, assistant=json_to_proto(one.assistant)) for one in examples)
        with acting_for(tenant, _PRINCIPAL):
            request = pb.RegisterPromptRequest(prompt=told, labels=labels)
            response: pb.RegisterPromptResponse = await call(self._stub.RegisterPrompt, request, cap_s=_CAP_S)
        return response.prompt.digest

    async def move_label(self, tenant: str, kind: SubjectKind, name: str, digest: str, label: str, report_digest: str) -> bool:
        target = registry_pb2.EntryReference(kind=_KINDS[kind], name=name, digest=digest)
        with acting_for(tenant, _PRINCIPAL):
            request = pb.MoveLabelRequest(target=target, label=label, report_digest=report_digest)
            response: pb.MoveLabelResponse = await call(self._stub.MoveLabel, request, cap_s=_CAP_S)
        return response.moved

    async def roll_back(self, tenant: str, kind: SubjectKind, name: str, label: str, reason: str) -> None:
        with acting_for(tenant, _PRINCIPAL):
            request = pb.RollBackLabelRequest(kind=_KINDS[kind], name=name, label=label, reason=reason)
            await call(self._stub.RollBackLabel, request, cap_s=_CAP_S)

    async def models(self, tenant: str) -> Sequence[ModelName]:
        with acting_for(tenant, _PRINCIPAL):
            response: pb.ListModelsResponse = await call(self._stub.ListModels, pb.ListModelsRequest(), cap_s=_CAP_S)
        return [
            ModelName(provider=one.provider, name=one.entry or one.name, rehearsal=one.rehearsal, available=one.available)
            for one in response.models
        ]

    async def route(self, tenant: str, name: str, *, label: str = "", digest: str = "") -> RouteVersion | None:
        reference = registry_pb2.EntryReference(kind=registry_pb2.ENTRY_KIND_ROUTE, name=name)
        if digest:
            reference.digest = digest
        else:
            reference.label = label
        entry = await self._entry(tenant, reference)
        if entry is None:
            return None
        candidates = tuple(RouteCandidate(model=one.model, quality=one.quality) for one in entry.route.candidates)
        return RouteVersion(name=name, digest=entry.digest, candidates=candidates)

    async def register_route(self, tenant: str, name: str, present: RouteVersion | None, candidates: Sequence[RouteCandidate]) -> str:
        route = routing_pb2.Route(name=name, description="proposed by the scoreboard")
        if present is not None:
            reference = registry_pb2.EntryReference(kind=registry_pb2.ENTRY_KIND_ROUTE, name=name, digest=present.digest)
            entry = await self._entry(tenant, reference)
            if entry is not None:
                route.CopyFrom(entry.route)
        known = {one.model: one for one in route.candidates}
        told = [_candidate(one, known.get(one.model)) for one in candidates]
        del route.candidates[:]
        route.candidates.extend(told)
        with acting_for(tenant, _PRINCIPAL):
            response: pb.RegisterRouteResponse = await call(self._stub.RegisterRoute, pb.RegisterRouteRequest(route=route), cap_s=_CAP_S)
        return response.entry.digest

    async def _entry(self, tenant: str, reference: registry_pb2.EntryReference) -> registry_pb2.Entry | None:
        try:
            with acting_for(tenant, _PRINCIPAL):
                response: pb.GetEntryResponse = await call(self._stub.GetEntry, pb.GetEntryRequest(reference=reference), cap_s=_CAP_S)
        except NotFound:
            return None
        return response.entry

    async def _generate(self, tenant: str, generation: pb.Generation) -> Answered:
        with acting_for(tenant, _PRINCIPAL):
            response: pb.GenerateResponse = await call(self._stub.Generate, pb.GenerateRequest(generation=generation), cap_s=_ANSWER_CAP_S)
        if response.HasField("failure"):
            failed = response.failure
            return Answered(value=None, cost_micros=failed.usage.cost_micros, failure=failure_from_proto(failed.failure))
        answer = response.answer
        tools = tuple(
            ToolAsked(
                call_id=part.tool_call.call_id, tool=part.tool_call.tool, arguments=json_from_proto(part.tool_call.arguments, "arguments")
            )
            for part in answer.message.parts
            if part.HasField("tool_call")
        )
        return Answered(
            value=_value(answer),
            message=message_to_json(answer.message),
            tools=tools,
            cost_micros=answer.usage.cost_micros,
            latency_s=duration_from_proto(answer.attempts[-1].duration) if answer.attempts else 0.0,
        )


def _written(answer: pb.Answer, prompt: str) -> str | Failure:
    """The text of an answer, when a real model brought it to its end."""

    def malformed(message: str) -> Failure:
        return Failure(category=Category.MODEL_MALFORMED, reason="NO_TEXT", message=message, where=prompt)

    if answer.rehearsal:
        return malformed("only the rehearsal model answered")
    if answer.stop_reason != message_pb2.STOP_REASON_END_TURN:
        return malformed(f"the answer was not brought to its end ({message_pb2.StopReason.Name(answer.stop_reason)})")
    value = _value(answer)
    return value if isinstance(value, str) else malformed("the answer is no text")


def _value(answer: pb.Answer) -> JsonValue:
    """The answer as people judge it: its JSON, or its text; with the tools it called, where it called any."""
    text = "".join(part.text.text for part in answer.message.parts if part.HasField("text"))
    value: JsonValue = json_from_proto(answer.output, "output") if answer.HasField("output") else text
    calls: list[JsonValue] = [
        {"tool": part.tool_call.tool, "arguments": json_from_proto(part.tool_call.arguments, "arguments")}
        for part in answer.message.parts
        if part.HasField("tool_call")
    ]
    return {"text": value, "tool_calls": calls} if calls else value


def _prompt(told: prompt_pb2.Prompt) -> PromptVersion:
    return PromptVersion(
        name=told.name,
        digest=told.digest,
        version=told.version,
        description=told.description,
        variables=tuple(told.variables),
        system=told.system,
        examples=tuple(Shown(user=one.user, assistant=json_from_proto(one.assistant, "assistant")) for one in told.examples),
        user=told.user,
    )


def _candidate(wanted: RouteCandidate, present: routing_pb2.RouteCandidate | None) -> routing_pb2.RouteCandidate:
    told = routing_pb2.RouteCandidate()
    if present is not None:
        told.CopyFrom(present)
    told.model, told.quality = wanted.model, wanted.quality
    return told
