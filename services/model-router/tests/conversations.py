"""Conversations, and strategies for them: what codecs and stores are tried with."""

from hypothesis import strategies as st
from plimsoll_model_router.domain.generation import Question
from plimsoll_model_router.domain.messages import (
    Media,
    Message,
    Opaque,
    Reasoning,
    Refusal,
    Role,
    Text,
    ToolCall,
    ToolDefinition,
    ToolResult,
    assistant,
    system,
    user,
)
from plimsoll_runtime.json_types import JsonObject

INTENTS: JsonObject = {
    "type": "object",
    "additionalProperties": False,
    "required": ["intent"],
    "properties": {"intent": {"enum": ["delivery", "refund"]}},
}
LOOKUP = ToolDefinition(
    name="find_account",
    description="Finds the account of a customer by e-mail address.",
    arguments_schema={"type": "object", "required": ["email"], "properties": {"email": {"type": "string", "format": "email"}}},
)
CLOSE = ToolDefinition(name="close_account", description="Closes an account.", arguments_schema={"type": "object", "properties": {}})
PICTURE = Media(media_type="image/png", uri="https://example.com/a.png")


def question(*messages: Message, schema: JsonObject | None = None, tools: tuple[ToolDefinition, ...] = ()) -> Question:
    return Question(messages=messages or (user("Hello?"),), output_schema=schema, tools=tools)


CHARACTERS = st.characters(codec="utf-8", exclude_characters="\x00")  # which no store takes and the wire refuses
WORDS = st.text(CHARACTERS, max_size=40)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(CHARACTERS, max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(CHARACTERS, max_size=8), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text(CHARACTERS, max_size=8), JSON, max_size=3)
IDS = st.from_regex(r"[A-Za-z0-9_-]{1,20}", fullmatch=True)
ANY_ID = st.one_of(IDS, WORDS, st.sampled_from(["", "call_1", "call:1/é"]))
TEXTS = st.builds(Text, text=WORDS)
CALLS = st.builds(ToolCall, call_id=ANY_ID, tool=IDS, arguments=OBJECTS)
RESULTS = st.builds(ToolResult, call_id=ANY_ID, tool=IDS, content=JSON, is_error=st.booleans())
MEDIA = st.just(PICTURE)
PARTS = st.one_of(
    TEXTS,
    CALLS,
    RESULTS,
    MEDIA,
    st.builds(Reasoning, text=WORDS, signature=WORDS, provenance=WORDS),
    st.builds(Refusal, text=WORDS),
    st.builds(Opaque, provenance=WORDS, content=OBJECTS),
)
MESSAGES = st.builds(Message, role=st.sampled_from(Role), parts=st.lists(PARTS, max_size=4).map(tuple))
ANY_CONVERSATION = st.lists(MESSAGES, max_size=6).map(tuple)
"""Whatever a caller may send: also calls without results, results without calls, and the same id twice."""


@st.composite
def conversations(draw: st.DrawFn) -> tuple[Message, ...]:
    """Well-formed conversations: every call is answered in the next message."""
    messages = [system(draw(WORDS)), user(draw(WORDS) + "?")]
    for _ in range(draw(st.integers(0, 3))):
        calls = draw(st.lists(st.builds(ToolCall, call_id=IDS, tool=IDS, arguments=OBJECTS), min_size=1, max_size=3, unique_by=_id))
        messages.append(assistant(draw(WORDS), *calls))
        found = [ToolResult(call_id=one.call_id, tool=one.tool, content=draw(JSON), is_error=draw(st.booleans())) for one in calls]
        messages.append(Message(role=Role.TOOL, parts=tuple(found)))
    return tuple(messages)


def _id(call: ToolCall) -> str:
    return call.call_id
