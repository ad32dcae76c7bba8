"""Questions, answers and hypothesis strategies that several tests use."""

from datetime import UTC, datetime

from hypothesis import strategies as st
from plimsoll_model_router.domain.budgets import Estimate
from plimsoll_model_router.domain.calls import CompletedCall, Opening
from plimsoll_model_router.domain.endpoints import Feature
from plimsoll_model_router.domain.entries import ModelEntry
from plimsoll_model_router.domain.generation import Answer, Attempt, Generation, Outcome, Question, Reply, Unanswered
from plimsoll_model_router.domain.messages import (
    Media,
    Message,
    Opaque,
    Reasoning,
    Refusal,
    Role,
    StopReason,
    Text,
    ToolCall,
    ToolDefinition,
    ToolResult,
    assistant,
    system,
    user,
)
from plimsoll_model_router.domain.pricing import Price
from plimsoll_model_router.domain.prompts import ByLabel, Example, PromptReference, Template
from plimsoll_model_router.domain.routes import CheapOrStrong, Route, RouteCandidate, Strategy
from plimsoll_runtime.failures import Category, Failure
from plimsoll_runtime.json_types import JsonObject
from plimsoll_runtime.usage import Usage
from plimsoll_runtime.work import WorkContext

ACME, UMBRELLA = "acme", "umbrella"
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)

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
TEMPLATE = Template(
    name="support-classify",
    description="Sorts messages",
    variables=("message",),
    system="You sort the messages of a shop.",
    examples=(Example(user="Where is my parcel?", assistant={"intent": "delivery"}),),
    user="{{message}}",
)
MODEL = ModelEntry(
    name="fast",
    description="A fast one",
    provider="openai",
    model="gpt-x",
    context_tokens=1000,
    max_output_tokens=100,
    features=frozenset({Feature.TOOLS, Feature.IMAGES}),
    price=Price(input_micros=1, output_micros=2, cached_input_micros=0),
)
ROUTE = Route(
    name="classification",
    description="Cheap first",
    candidates=(
        RouteCandidate(model="fast", weight=2.0, quality=0.8, tier=CheapOrStrong.CHEAP),
        RouteCandidate(model="openai/strong", tier=CheapOrStrong.STRONG),
    ),
    strategy=Strategy.ADAPTIVE,
    latency_target_s=1.5,
    max_output_price_micros=9_000_000,
    hedge_after_s=0.5,
    explore=0.1,
    refusal_moves_on=True,
)
REFERENCE = PromptReference(name="support-classify", selector=ByLabel(label="production"))


def question(*messages: Message, schema: JsonObject | None = None, tools: tuple[ToolDefinition, ...] = ()) -> Question:
    return Question(messages=messages or (user("Hello?"),), output_schema=schema, tools=tools)


def generation(text: str = "Where is it?", *, key: str = "", model: str = "", schema: JsonObject | None = None) -> Generation:
    return Generation(request_key=key, messages=(user(text),), model=model, output_schema=schema, task="answering")


def reply(text: str = "It is here.", *, stop: StopReason = StopReason.END_TURN, model: str = "m-1") -> Reply:
    return Reply(message=assistant(text), stop_reason=stop, usage=Usage(input_tokens=10, output_tokens=4), model=model, confidence=0.5)


def failure(category: Category = Category.UPSTREAM_UNAVAILABLE, *, retry_after_s: float | None = None) -> Failure:
    return Failure(category=category, reason="PROVIDER_ERROR", message="p/m answered 500", retryable=True, retry_after_s=retry_after_s)


def answer(text: str = "It is here.") -> Answer:
    usage = Usage(input_tokens=10, output_tokens=4, cached_input_tokens=2, reasoning_tokens=1, cost_micros=7)
    broken = Attempt(
        provider="anthropic",
        model="m-0",
        duration_s=0.25,
        usage=Usage(),
        failure=Failure(
            category=Category.RATE_LIMITED,
            reason="RATE_LIMITED",
            message="anthropic/m-0 answered 429",
            retryable=True,
            where="anthropic/m-0",
        ),
    )
    return Answer(
        message=assistant(text),
        stop_reason=StopReason.END_TURN,
        usage=usage,
        provider="openai",
        model="m-1",
        rehearsal=False,
        prompt_digest="d" * 64,
        attempts=(broken, Attempt(provider="openai", model="m-1", duration_s=0.5, usage=usage)),
        confidence=0.5,
        output={"z": 1, "a": [None, "é"]},
        has_output=True,
    )


def unanswered() -> Unanswered:
    tried = Attempt(provider="openai", model="m-1", duration_s=0.5, usage=Usage(input_tokens=3), failure=failure())
    return Unanswered(failure=failure(), attempts=(tried,), prompt_digest="d" * 64)


def call(number: int = 1, *, tenant: str = ACME, key: str = "", outcome: Outcome | None = None, fingerprint: str = "f") -> CompletedCall:
    work = WorkContext(run_id="run_1", step=3, node="classify", agent="support", agent_version="v", epoch=2)
    return CompletedCall(
        call_id=f"call_{number}",
        tenant=tenant,
        generation=Generation(request_key=key, prompt=REFERENCE, variables={"message": "x"}, task="classification", work=work),
        fingerprint=fingerprint,
        outcome=outcome or answer(),
        started_at=NOON,
        duration_s=1.5,
    )


NOTHING = Estimate()


def opening(
    number: int = 1,
    *,
    tenant: str = ACME,
    key: str = "",
    fingerprint: str = "f",
    agent: str = "support",
    api_key: str = "",
    wanted: Estimate = NOTHING,
) -> Opening:
    return Opening(
        call_id=f"call_{number}", tenant=tenant, request_key=key, fingerprint=fingerprint, agent=agent, key=api_key, wanted=wanted
    )


CHARACTERS = st.characters(codec="utf-8", exclude_characters="\x00")  # which no store takes and the wire refuses
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
WORDS = st.text(CHARACTERS, max_size=40)
IDS = st.from_regex(r"[A-Za-z0-9_-]{1,20}", fullmatch=True)
TEXTS = st.builds(Text, text=WORDS)
CALLS = st.builds(ToolCall, call_id=IDS, tool=IDS, arguments=OBJECTS)
RESULTS = st.builds(ToolResult, call_id=IDS, tool=IDS, content=JSON, is_error=st.booleans())
ADDRESSES = st.builds(Media, media_type=st.just("image/png"), uri=st.just("https://example.com/a.png"))
PARTS = st.one_of(
    TEXTS,
    CALLS,
    RESULTS,
    ADDRESSES,
    st.builds(Reasoning, text=WORDS, signature=WORDS, provenance=WORDS),
    st.builds(Refusal, text=WORDS),
    st.builds(Opaque, provenance=WORDS, content=JSON),
)
MESSAGES = st.builds(Message, role=st.sampled_from(Role), parts=st.lists(PARTS, max_size=4).map(tuple))


@st.composite
def conversations(draw: st.DrawFn) -> tuple[Message, ...]:
    """Well-formed conversations: every call is answered in the next message."""
    messages = [system(draw(WORDS)), user(draw(WORDS) + "?")]
    for _ in range(draw(st.integers(0, 3))):
        calls = draw(st.lists(CALLS, min_size=1, max_size=3, unique_by=lambda one: one.call_id))
        messages.append(assistant(draw(WORDS), *calls))
        found = [ToolResult(call_id=one.call_id, tool=one.tool, content=draw(JSON), is_error=draw(st.booleans())) for one in calls]
        messages.append(Message(role=Role.TOOL, parts=tuple(found)))
    return tuple(messages)
