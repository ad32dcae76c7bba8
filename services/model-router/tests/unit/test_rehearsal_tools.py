"""Tools in an agent's loop: the right one, with arguments from the text, never twice for the same, and then an answer."""

from hypothesis import given, settings
from hypothesis import strategies as st
from model_router_samples import question
from plimsoll_model_router.domain.generation import Question
from plimsoll_model_router.domain.messages import (
    Message,
    StopReason,
    ToolCall,
    ToolChoice,
    ToolDefinition,
    ToolResult,
    results,
    system,
    user,
)
from plimsoll_model_router.domain.rehearsal.fits import Fits
from plimsoll_model_router.domain.rehearsal.model import RehearsalModel
from plimsoll_model_router.domain.schemas import compiled
from plimsoll_runtime.json_types import JsonObject, JsonValue


def tool(name: str, description: str, **arguments: JsonObject) -> ToolDefinition:
    properties: dict[str, JsonValue] = dict(arguments)
    return ToolDefinition(
        name=name, description=description, arguments_schema={"type": "object", "required": list(arguments), "properties": properties}
    )


EMAIL: JsonObject = {"type": "string", "format": "email"}
ACCOUNT: JsonObject = {"type": "string", "pattern": "^acc_[0-9]+$", "description": "the account's id"}
ORDER: JsonObject = {"type": "string", "pattern": "^BX-[0-9]+$"}
TOOLS = (
    tool("find_account", "Finds the account of a customer by e-mail address. Use it first.", email=EMAIL),
    tool("list_orders", "Lists the recent orders of an account with their delivery status.", account_id=ACCOUNT),
    tool("get_order", "Gets one order by its number.", order_id=ORDER),
    tool(
        "propose_refund",
        "Proposes a refund, money back, for an order.",
        order_id=ORDER,
        amount={"type": "number", "description": "amount in EUR to pay back"},
        reason={"type": "string"},
    ),
)
ANSWERS: dict[str, JsonValue] = {
    "find_account": {"account_id": "acc_77", "name": "Ann Bell"},
    "list_orders": {"orders": [{"order_id": "BX-1000", "status": "delivered"}, {"order_id": "BX-1042", "status": "in transit"}]},
    "get_order": {"order_id": "BX-1042", "status": "in transit", "total": 89.9},
    "propose_refund": {"refund_id": "rf_1", "status": "proposed"},
}
SHOP = system("You help customers of a bicycle shop. Look up the account and its orders before you answer.")


def converse(request: str, tools: tuple[ToolDefinition, ...] = TOOLS, *, failing: bool = False) -> tuple[list[ToolCall], str]:
    """The calls until the answer, and the answer."""
    model, messages, made = RehearsalModel(Fits()), list[Message]([SHOP, user(request)]), list[ToolCall]()
    for _ in range(12):
        reply = model.reply(question(*messages, tools=tools))
        if reply.stop_reason is not StopReason.TOOL_CALLS:
            return made, reply.message.text
        calls = reply.message.tool_calls
        made += calls
        found = [
            ToolResult(call_id=call.call_id, tool=call.tool, content="no" if failing else ANSWERS.get(call.tool, {}), is_error=failing)
            for call in calls
        ]
        messages += [reply.message, results(*found)]
    raise AssertionError("it never came to an end")


def test_it_looks_up_step_by_step_and_answers_from_what_it_found() -> None:
    calls, answer = converse("Hello, I am ann@example.com. Where is my order BX-1042?")
    assert ("find_account", {"email": "ann@example.com"}) in [(call.tool, call.arguments) for call in calls]
    assert ("list_orders", {"account_id": "acc_77"}) in [(call.tool, call.arguments) for call in calls]
    assert {call.tool for call in calls} <= {"find_account", "list_orders", "get_order"}
    assert "in transit" in answer
    assert "[" in answer


def test_it_acts_when_it_is_asked_to_and_tells_what_it_did() -> None:
    calls, answer = converse("I am ann@example.com. I want my money back, a refund for BX-1042: it cost 89.90 EUR and came broken.")
    [refund] = [call for call in calls if call.tool == "propose_refund"]
    assert isinstance(refund.arguments, dict)
    assert (refund.arguments["order_id"], refund.arguments["amount"]) == ("BX-1042", 89.9)
    assert calls[-1] is refund
    assert "status proposed" in answer


def test_several_identifiers_are_looked_up_side_by_side() -> None:
    reply = RehearsalModel(Fits()).reply(question(user("Compare my orders BX-1 and BX-77 please"), tools=TOOLS[2:3]))
    assert [call.arguments for call in reply.message.tool_calls] == [{"order_id": "BX-1"}, {"order_id": "BX-77"}]
    assert len({call.call_id for call in reply.message.tool_calls}) == 2


def test_without_what_a_tool_needs_it_is_not_called() -> None:
    calls, answer = converse("What are your opening hours?")
    assert calls == []
    assert answer


def test_a_tool_named_in_the_instructions_is_used_with_the_whole_request() -> None:
    search = tool("search_help", "Searches the help articles.", query={"type": "string", "description": "what to look for"})
    told = system("Search the articles with search_help before you answer.")
    reply = RehearsalModel(Fits()).reply(question(told, user("What are your opening hours?"), tools=(search,)))
    assert [call.arguments for call in reply.message.tool_calls] == [{"query": "What are your opening hours?"}]


def test_tools_that_only_fail_are_told_of() -> None:
    calls, answer = converse("Hello, I am ann@example.com. Where is my order BX-1042?", failing=True)
    assert 0 < len(calls) <= 4
    assert "failed" in answer


def test_the_choice_of_tools_is_obeyed() -> None:
    asked = question(SHOP, user("Hello, I am ann@example.com"), tools=TOOLS)
    model = RehearsalModel(Fits())
    none = Question(messages=asked.messages, tools=TOOLS, tool_choice=ToolChoice.NONE)
    assert model.reply(none).message.tool_calls == ()
    required = Question(messages=(user("What are your opening hours?"),), tools=TOOLS, tool_choice=ToolChoice.REQUIRED)
    [call] = model.reply(required).message.tool_calls
    schemas = {one.name: one.arguments_schema for one in TOOLS}
    assert compiled(schemas[call.tool]).problems(call.arguments) == ()


@settings(max_examples=60, deadline=None)
@given(
    request=st.lists(
        st.sampled_from(
            [
                "ann@example.com",
                "BX-1042",
                "BX-7",
                "acc_9",
                "refund",
                "12.50",
                "EUR",
                "where",
                "order",
                "account",
                "money",
                "back",
                "broken",
                "please",
            ]
        ),
        max_size=12,
    ).map(" ".join),
    tools=st.lists(st.sampled_from(TOOLS), max_size=4, unique_by=lambda one: one.name),
    failing=st.booleans(),
)
def test_every_conversation_comes_to_an_end_with_valid_calls(request: str, tools: list[ToolDefinition], failing: bool) -> None:
    calls, answer = converse(f"{request} ?", tuple(tools), failing=failing)
    assert answer
    assert len(calls) <= 11
    assert len({call.call_id for call in calls}) == len(calls)
    schemas = {one.name: one.arguments_schema for one in tools}
    assert all(compiled(schemas[call.tool]).problems(call.arguments) == () for call in calls)
