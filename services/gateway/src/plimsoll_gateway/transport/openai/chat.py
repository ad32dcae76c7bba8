"""Chat completions: OpenAI's request as a question to the router."""

import mimetypes
from collections.abc import Iterable

from plimsoll.model_router.v1 import message_pb2 as message
from plimsoll.model_router.v1 import model_router_service_pb2 as pb
from plimsoll_runtime.errors import Invalid
from plimsoll_runtime.json_types import JsonValue, parse_json
from plimsoll_runtime.wire import json_to_proto

from plimsoll_gateway.transport.openai.reading import Fields, checked

ROUTED = "auto"
"""Asks for no model by name: the route of the tenant decides. `task:extraction` also says what for."""

_IGNORED = frozenset(
    {"user", "store", "metadata", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention", "verbosity"}
)
_NEUTRAL: dict[str, JsonValue] = {
    "n": 1,
    "logprobs": False,
    "frequency_penalty": 0,
    "presence_penalty": 0,
    "modalities": ["text"],
    "logit_bias": {},
}
_ROLES = {
    "system": message.ROLE_SYSTEM,
    "developer": message.ROLE_SYSTEM,
    "user": message.ROLE_USER,
    "assistant": message.ROLE_ASSISTANT,
    "tool": message.ROLE_TOOL,
}
_EFFORTS = {
    "none": message.EFFORT_NONE,
    "minimal": message.EFFORT_LOW,
    "low": message.EFFORT_LOW,
    "medium": message.EFFORT_MEDIUM,
    "high": message.EFFORT_HIGH,
}
_CHOICES = {"none": message.TOOL_CHOICE_NONE, "auto": message.TOOL_CHOICE_AUTO, "required": message.TOOL_CHOICE_REQUIRED}
_TOKENS_MOST = 10_000_000
_STOPS_MOST = 4


def generation_of(fields: Fields, request_key: str) -> pb.Generation:
    """The question. Raises Invalid with every problem at once."""
    asked = pb.Generation(request_key=request_key)
    name = fields.text("model")
    if not name:
        fields.wrong("model", "is missing", f"name a model of /openai/v1/models, or send {ROUTED!r}")
    elif name.startswith("task:"):
        asked.task = name.removeprefix("task:")
    elif name != ROUTED:
        asked.model = name
    _conversation(fields, asked)
    _tools(fields, asked)
    _answer(fields, asked)
    fields.done(_IGNORED | {"stream", "stream_options"}, _NEUTRAL)
    checked(fields.problems)
    return asked


def _conversation(fields: Fields, asked: pb.Generation) -> None:
    called: dict[str, str] = {}
    turns = fields.items("messages")
    if not turns:
        fields.wrong("messages", "is empty", "send at least one message")
    for turn in turns:
        role = turn.text("role")
        if role not in _ROLES:
            turn.wrong("role", f"is {role[:20]!r}", f"send one of {', '.join(_ROLES)}")
            continue
        said = asked.messages.add(role=_ROLES[role])
        if role == "tool":
            call_id = turn.text("tool_call_id")
            if call_id not in called:
                turn.wrong("tool_call_id", "answers no call of a message before", "send the id of a tool call")
            text = "".join(part.text.text for part in _parts(turn))
            said.parts.add(
                tool_result=message.ToolResultPart(call_id=call_id, tool=called.get(call_id, ""), content=json_to_proto(_json_or(text)))
            )
        else:
            said.parts.extend(_parts(turn))
        if role == "assistant":
            _calls(turn, said, called)
        turn.done(frozenset({"name", "audio", "annotations", "reasoning", "reasoning_content"}))


def _calls(turn: Fields, said: message.Message, called: dict[str, str]) -> None:
    if refusal := turn.text("refusal"):
        said.parts.add(refusal=message.RefusalPart(text=refusal))
    for call in turn.items("tool_calls"):
        function = call.inner("function")
        call_id, tool = call.text("id"), function.text("name")
        called[call_id] = tool
        arguments: JsonValue = {}
        try:
            arguments = parse_json(function.text("arguments") or "{}")
        except Invalid:
            function.wrong("arguments", "is not JSON", "send the arguments as the model wrote them")
        said.parts.add(tool_call=message.ToolCallPart(call_id=call_id, tool=tool, arguments=json_to_proto(arguments)))


def _parts(turn: Fields) -> Iterable[message.Part]:
    content = turn.raw("content")
    if content is None:
        return
    if isinstance(content, str):
        yield message.Part(text=message.TextPart(text=content))
        return
    for part in turn.items("content"):
        match part.text("type"):
            case "text":
                yield message.Part(text=message.TextPart(text=part.text("text")))
            case "refusal":
                yield message.Part(refusal=message.RefusalPart(text=part.text("refusal")))
            case "image_url":
                address = part.inner("image_url").text("url")
                if not address.startswith("https://"):
                    part.wrong("image_url.url", "is no https address", "put the image where the provider can fetch it")
                yield message.Part(media=message.MediaPart(uri=address, media_type=mimetypes.guess_type(address)[0] or "image/*"))
            case kind:
                part.wrong("type", f"is {kind[:20]!r}", "send text or image_url")


def _tools(fields: Fields, asked: pb.Generation) -> None:
    for tool in fields.items("tools"):
        function = tool.inner("function")
        schema = function.raw("parameters")
        asked.tools.add(
            name=function.text("name"),
            description=function.text("description"),
            arguments_schema=json_to_proto(schema if isinstance(schema, dict) else {"type": "object", "properties": {}}),
        )
    asked.single_tool_call = not fields.flag("parallel_tool_calls", default=True)
    choice = fields.raw("tool_choice")
    if isinstance(choice, str) and choice in _CHOICES:
        asked.tool_choice = _CHOICES[choice]
    elif isinstance(choice, dict):
        asked.tool_choice = message.TOOL_CHOICE_NAMED
        asked.tool_choice_name = fields.inner("tool_choice").inner("function").text("name")
    elif choice is not None:
        fields.wrong("tool_choice", "is no choice", f"send one of {', '.join(_CHOICES)}, or a function")


def _answer(fields: Fields, asked: pb.Generation) -> None:
    limit = fields.whole("max_completion_tokens", 1, _TOKENS_MOST)
    asked.max_output_tokens = limit or fields.whole("max_tokens", 1, _TOKENS_MOST)
    fields.has("max_tokens")
    if (temperature := fields.real("temperature", 0, 2)) is not None:
        asked.sampling.temperature = temperature
    if (top_p := fields.real("top_p", 0, 1)) is not None:
        asked.sampling.top_p = top_p
    if fields.has("seed"):
        asked.sampling.seed = fields.whole("seed", -(2**63), 2**63 - 1)
    stop = fields.raw("stop")
    stops = [stop] if isinstance(stop, str) else stop if isinstance(stop, list) else []
    if len(stops) > _STOPS_MOST or not all(isinstance(one, str) for one in stops):
        fields.wrong("stop", "is no list of up to four texts", "send fewer")
    else:
        asked.sampling.stop.extend(str(one) for one in stops)
    if effort := fields.text("reasoning_effort"):
        if effort not in _EFFORTS:
            fields.wrong("reasoning_effort", f"is {effort[:20]!r}", f"send one of {', '.join(_EFFORTS)}")
        asked.effort = _EFFORTS.get(effort, message.EFFORT_UNSPECIFIED)
    if fields.has("response_format"):
        _form(fields.inner("response_format"), asked)


def _form(form: Fields, asked: pb.Generation) -> None:
    match form.text("type"):
        case "text":
            pass
        case "json_object":
            asked.output_schema.CopyFrom(json_to_proto({"type": "object"}))
        case "json_schema":
            schema = form.inner("json_schema").raw("schema")
            if isinstance(schema, dict):
                asked.output_schema.CopyFrom(json_to_proto(schema))
            else:
                form.wrong("json_schema.schema", "is no schema", "send a JSON Schema")
        case kind:
            form.wrong("type", f"is {kind[:20]!r}", "send text, json_object or json_schema")


def _json_or(text: str) -> JsonValue:
    """A tool's result is JSON where it reads as such, else text."""
    try:
        return parse_json(text)
    except Invalid:
        return text
