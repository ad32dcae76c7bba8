"""Agents, tools, prompts and models."""

from plimsoll.model_router.v1 import model_router_service_pb2, prompt_pb2
from plimsoll.orchestrator.v1 import agent_pb2
from plimsoll.tool_dispatcher.v1 import tool_pb2
from plimsoll_runtime.wire import duration_from_proto, json_from_proto, json_to_proto, object_from_proto

from plimsoll_client.codec.words import moment, word
from plimsoll_client.models import Accepts, Agent, Effect, Example, Model, Prompt, PromptDraft, Risk, Tool


def agent_from_proto(message: agent_pb2.Agent) -> Agent:
    return Agent(
        name=message.name,
        digest=message.digest,
        version=message.version,
        description=message.description,
        input_schema=object_from_proto(message.input_schema, "agent.input_schema"),
        graph=object_from_proto(message.graph, "agent.graph") if message.HasField("graph") else None,
        accepts=Accepts(
            text_field=message.accepts.text_field,
            base64_field=message.accepts.base64_field,
            name_field=message.accepts.name_field,
        ),
        created_at=moment(message, "create_time", message.create_time),
    )


def tool_from_proto(message: tool_pb2.Tool) -> Tool:
    return Tool(
        name=message.name,
        version=message.version,
        digest=message.digest,
        category=message.category,
        description=message.description,
        arguments_schema=object_from_proto(message.arguments_schema, "tool.arguments_schema"),
        result_schema=object_from_proto(message.result_schema, "tool.result_schema"),
        effect=word(Effect, tool_pb2.EffectClass.DESCRIPTOR, message.effect, "EFFECT_CLASS_"),
        risk=word(Risk, tool_pb2.Risk.DESCRIPTOR, message.risk, "RISK_"),
        timeout_s=duration_from_proto(message.timeout),
    )


def prompt_from_proto(message: prompt_pb2.Prompt) -> Prompt:
    return Prompt(
        draft=PromptDraft(
            name=message.name,
            description=message.description,
            variables=tuple(message.variables),
            system=message.system,
            examples=tuple(
                Example(user=example.user, assistant=json_from_proto(example.assistant, "prompt.examples.assistant"))
                for example in message.examples
            ),
            user=message.user,
        ),
        digest=message.digest,
        version=message.version,
        labels=tuple(message.labels),
        created_at=moment(message, "create_time", message.create_time),
    )


def prompt_to_proto(draft: PromptDraft) -> prompt_pb2.Prompt:
    return prompt_pb2.Prompt(
        name=draft.name,
        description=draft.description,
        variables=draft.variables,
        system=draft.system,
        examples=[prompt_pb2.PromptExample(user=example.user, assistant=json_to_proto(example.assistant)) for example in draft.examples],
        user=draft.user,
    )


def model_from_proto(message: model_router_service_pb2.Model) -> Model:
    return Model(
        provider=message.provider,
        name=message.name,
        rehearsal=message.rehearsal,
        priced=message.priced,
        input_price_micros=message.input_price_micros,
        output_price_micros=message.output_price_micros,
    )
