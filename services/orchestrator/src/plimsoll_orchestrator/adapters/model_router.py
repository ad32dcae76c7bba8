"""The model-router over gRPC."""

from collections.abc import Iterator
from typing import cast

import grpc
from google.protobuf import json_format
from plimsoll.model_router.v1 import message_pb2, model_router_service_pb2, model_router_service_pb2_grpc, prompt_pb2
from plimsoll_runtime.failures import Category, Failure, failure_from_proto
from plimsoll_runtime.json_types import JsonValue, dump_json
from plimsoll_runtime.rpc_client import call, stream
from plimsoll_runtime.usage import Usage, usage_from_proto
from plimsoll_runtime.wire import json_from_proto, json_to_proto
from plimsoll_runtime.work import work_to_proto

from plimsoll_orchestrator.domain.journal import InputTurn, ModelTurn, ToolCall, ToolTurn, Turn
from plimsoll_orchestrator.ports import Answer, Hear, NoAnswer, Piece, Question

_CAP_S = 300.0


class RemoteModels:
    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = model_router_service_pb2_grpc.ModelRouterServiceStub(channel)

    async def generate(self, question: Question, hear: Hear | None) -> Answer | NoAnswer:
        if hear is not None:
            return await self._listen(question, hear)
        request = model_router_service_pb2.GenerateRequest(generation=_generation(question))
        response = await call(self._stub.Generate, request, cap_s=_CAP_S, target="model-router")
        match response.WhichOneof("outcome"):
            case "answer":
                return _checked(response.answer)
            case "failure":
                return _no_answer(response.failure)
            case _:
                return _nothing()

    async def _listen(self, question: Question, hear: Hear) -> Answer | NoAnswer:
        """As above, hearing the text as it comes. Only the stream's last event is the truth."""
        request = model_router_service_pb2.GenerateStreamRequest(
            generation=_generation(question), delivery=model_router_service_pb2.DELIVERY_RETRACTABLE
        )
        async for response in stream(self._stub.GenerateStream, request, cap_s=_CAP_S, target="model-router"):
            match response.WhichOneof("event"):
                case "answer":
                    return _checked(response.answer)
                case "failure":
                    return _no_answer(response.failure)
                case "text":
                    hear(Piece(response.attempt, response.text))
                case "began":
                    hear(Piece(response.attempt, ""))
                case _:  # thoughts, and pieces of calls: of no use before the answer is whole
                    pass
        return _nothing()


def _checked(answer: model_router_service_pb2.Answer) -> Answer | NoAnswer:
    return _answer(answer) if _storable(answer) else _unstorable(answer)


def _no_answer(failure: model_router_service_pb2.GenerationFailure) -> NoAnswer:
    return NoAnswer(failure=failure_from_proto(failure.failure), usage=usage_from_proto(failure.usage))


def _nothing() -> NoAnswer:
    message = "the model-router sent no outcome"
    return NoAnswer(
        failure=Failure(category=Category.MODEL_MALFORMED, reason="NO_OUTCOME", message=message, where="model-router"), usage=Usage()
    )


def _generation(question: Question) -> model_router_service_pb2.Generation:
    generation = model_router_service_pb2.Generation(
        request_key=question.request_key,
        prompt=_reference(question),
        variables=json_to_proto(question.variables),
        messages=[message for turn in question.conversation for message in _messages(turn)],
        tools=[
            message_pb2.ToolDefinition(name=tool.name, description=tool.description, arguments_schema=json_to_proto(tool.arguments_schema))
            for tool in question.tools
        ],
        task=question.task,
        max_output_tokens=question.max_tokens,
        work=work_to_proto(question.work),
    )
    if question.output_schema is not None:
        generation.output_schema.CopyFrom(json_to_proto(question.output_schema))
    return generation


def _reference(question: Question) -> prompt_pb2.PromptReference:
    prompt = question.prompt
    if question.prompt_digest:
        return prompt_pb2.PromptReference(name=prompt.name, digest=question.prompt_digest)
    if prompt.version:
        return prompt_pb2.PromptReference(name=prompt.name, version=prompt.version)
    return prompt_pb2.PromptReference(name=prompt.name, label=prompt.label)


def _messages(turn: Turn) -> Iterator[message_pb2.Message]:
    match turn:
        case ModelTurn(message=message):
            yield json_format.ParseDict(cast("dict[str, object]", message), message_pb2.Message(), ignore_unknown_fields=True)
        case ToolTurn(answers=answers):
            parts = [
                message_pb2.Part(
                    tool_result=message_pb2.ToolResultPart(
                        call_id=answer.call_id, tool=answer.tool, content=json_to_proto(answer.content), is_error=answer.is_error
                    )
                )
                for answer in answers
            ]
            yield message_pb2.Message(role=message_pb2.ROLE_TOOL, parts=parts)
        case InputTurn(input=value):
            part = message_pb2.Part(text=message_pb2.TextPart(text=_said(value)))
            yield message_pb2.Message(role=message_pb2.ROLE_USER, parts=[part])


def _said(value: JsonValue) -> str:
    """Input as a person would say it: the text itself when there is only one."""
    if isinstance(value, dict) and len(value) == 1:
        [value] = value.values()
    return value if isinstance(value, str) else dump_json(value)


def _answer(answer: model_router_service_pb2.Answer) -> Answer:
    parts = answer.message.parts
    return Answer(
        message=cast("JsonValue", json_format.MessageToDict(answer.message)),
        text="".join(part.text.text for part in parts if part.HasField("text")),
        calls=[
            ToolCall(
                call_id=part.tool_call.call_id,
                tool=part.tool_call.tool,
                arguments=json_from_proto(part.tool_call.arguments, "arguments"),
            )
            for part in parts
            if part.HasField("tool_call")
        ],
        output=json_from_proto(answer.output, "output") if answer.HasField("output") else None,
        usage=usage_from_proto(answer.usage),
        provider=answer.provider,
        model=answer.model,
        rehearsal=answer.rehearsal,
        confidence=answer.confidence,
        prompt_digest=answer.prompt_digest,
    )


def _storable(answer: model_router_service_pb2.Answer) -> bool:
    parts = answer.message.parts
    return not any("\0" in text for part in parts for text in (part.text.text, part.reasoning.text, part.refusal.text))


def _unstorable(answer: model_router_service_pb2.Answer) -> NoAnswer:
    failure = Failure(
        category=Category.MODEL_MALFORMED,
        reason="UNSTORABLE_TEXT",
        message="the model's text holds the character U+0000, which no store takes",
        where="model-router",
    )
    return NoAnswer(failure=failure, usage=usage_from_proto(answer.usage))
