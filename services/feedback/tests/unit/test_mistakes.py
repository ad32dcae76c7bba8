"""Wrong tools and made-up arguments are found afterwards, each with its evidence, and nothing else is."""

from dataclasses import replace

import pytest
from feedback_samples import at, failure, operation, signal
from plimsoll_feedback.domain.body import Body
from plimsoll_feedback.domain.labels import Finding
from plimsoll_feedback.domain.mistakes import ANOTHER_TOOL, FROM_NOWHERE, OTHER_ARGUMENTS, PERSON_CHOSE, Asked, Call, in_signal, in_step
from plimsoll_feedback.domain.operation import OperationKind
from plimsoll_feedback.domain.signal import Decided, Demonstrated
from plimsoll_runtime.failures import Category
from plimsoll_runtime.json_types import JsonValue

REJECTED = failure(Category.UPSTREAM_REJECTED, "NOT_FOUND")


def call(number: int, tool: str, *, failed: Category | None = None, arguments: JsonValue = None) -> Call:
    one = operation(number, failed=failure(failed, "NOT_FOUND") if failed else None)
    return Call(operation=replace(one, name=tool), arguments=arguments)


def asked(number: int, told: JsonValue) -> Asked:
    return Asked(operation=operation(number, kind=OperationKind.MODEL_CALL), body=Body(owner="model-router", input=told))


def told(findings: "list[Finding]") -> list[tuple[str, Category, str]]:
    return [(one.operation_id, one.category, one.rule) for one in findings]


def test_a_tool_that_failed_before_another_succeeded_was_the_wrong_one() -> None:
    wrong, right = call(1, "find_account", failed=Category.UPSTREAM_REJECTED), call(2, "find_order")
    [found] = in_step([right, wrong], [], at(9))
    assert told([found]) == [(wrong.operation.id, Category.WRONG_TOOL, ANOTHER_TOOL)]
    assert found.evidence == "find_account failed with NOT_FOUND; find_order succeeded afterwards in the same step"


@pytest.mark.parametrize("category", [Category.TIMEOUT, Category.UPSTREAM_UNAVAILABLE, Category.RATE_LIMITED, Category.POLICY_DENIED])
def test_what_was_away_or_not_allowed_says_nothing_of_the_choice(category: Category) -> None:
    assert in_step([call(1, "find_account", failed=category), call(2, "find_order")], [], at(9)) == []


def test_other_arguments_that_worked_show_that_the_first_were_wrong() -> None:
    first = call(1, "find_order", failed=Category.UPSTREAM_REJECTED, arguments={"id": "A-1", "full": True})
    second = call(2, "find_order", arguments={"id": "A-2", "full": True})
    [found] = in_step([first, second], [], at(9))
    assert told([found]) == [(first.operation.id, Category.INVALID_ARGUMENTS, OTHER_ARGUMENTS)]
    assert "other values of id" in found.evidence
    assert "A-1" not in found.evidence  # values stay with their owner


def test_the_same_call_that_worked_later_is_no_mistake() -> None:
    same: JsonValue = {"id": "A-1"}
    assert in_step([call(1, "t", failed=Category.TOOL_ERROR, arguments=same), call(2, "t", arguments=same)], [], at(9)) == []
    assert in_step([call(1, "t", failed=Category.TOOL_ERROR), call(2, "t")], [], at(9)) == []  # arguments are kept no longer


@pytest.mark.parametrize("value", ["ORD-7731", "grace@example.com", 90210123, {"deep": ["ZX-99-A"]}])
def test_a_value_that_occurs_nowhere_was_made_up(value: JsonValue) -> None:
    made_up = call(3, "find_order", arguments={"order": value, "greeting": "Dear customer"})
    [found] = in_step([made_up], [asked(1, {"messages": [{"text": "Where is my order?"}]})], at(9))
    assert told([found]) == [(made_up.operation.id, Category.INVALID_ARGUMENTS, FROM_NOWHERE)]


@pytest.mark.parametrize(
    ("value", "told_as"),
    [
        ("ORD-7731", "my order is ord 7731, please"),
        ("grace@example.com", "write to Grace@Example.com"),
        (1250000, "pay 1,250,000 to them"),
        ("2026-01-02", "by tomorrow"),
        ("urgent", "it is important"),
        (3, "three of them"),
        (True, "yes"),
    ],
)
def test_what_was_said_in_other_words_was_not_made_up(value: JsonValue, told_as: str) -> None:
    assert in_step([call(3, "find_order", arguments={"it": value})], [asked(1, {"messages": [{"text": told_as}]})], at(9)) == []


def test_what_an_earlier_tool_returned_counts_as_told() -> None:
    turns = [
        asked(1, {"messages": ["find the account"]}),
        asked(3, {"messages": ["find the account", {"tool_result": {"id": "acc_4711x"}}]}),
    ]
    assert in_step([call(4, "close", arguments={"id": "acc_4711x"})], turns, at(9)) == []
    assert len(in_step([call(2, "close", arguments={"id": "acc_4711x"})], turns, at(9))) == 1


def test_nothing_is_said_where_nobody_knows_what_the_model_was_told() -> None:
    assert in_step([call(3, "find_order", arguments={"order": "ORD-7731"})], [], at(9)) == []
    assert in_step([call(3, "find_order", arguments={"order": "ORD-7731"})], [asked(1, None)], at(9)) == []


def test_a_person_who_demonstrates_another_tool_says_that_the_tool_was_wrong() -> None:
    one = operation(1)
    found = in_signal(signal(1, value=Demonstrated(answer={"tool": "find_order"}), of=one.id), one, None, at(9))
    assert found is not None
    assert (found.category, found.rule) == (Category.WRONG_TOOL, PERSON_CHOSE)
    assert found.evidence == "ada demonstrated find_order in place of find_account"


def test_a_person_who_demonstrates_other_arguments_says_that_they_were_wrong() -> None:
    one, shown = operation(1), Demonstrated(answer={"tool": "find_account", "arguments": {"id": "B"}})
    found = in_signal(signal(1, value=shown, of=one.id), one, {"id": "A"}, at(9))
    assert found is not None
    assert found.category is Category.INVALID_ARGUMENTS
    assert in_signal(signal(1, value=shown, of=one.id), one, {"id": "B"}, at(9)) is None


def test_a_refusal_with_other_arguments_says_that_the_proposed_ones_were_wrong() -> None:
    refused = Decided(
        approved=False,
        approval_id="a",
        node="refund",
        decided_by=("ada",),
        proposal={"arguments": {"amount": 500}},
        arguments={"amount": 5},
    )
    one = operation(1, kind=OperationKind.APPROVAL)
    found = in_signal(signal(1, value=refused, of=one.id), one, None, at(9))
    assert found is not None
    assert (found.category, found.evidence) == (
        Category.INVALID_ARGUMENTS,
        "ada refused the call and proposed other values of amount",
    )
    assert in_signal(signal(1, value=replace(refused, arguments=None), of=one.id), one, None, at(9)) is None
