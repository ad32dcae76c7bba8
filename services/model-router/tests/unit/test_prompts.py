"""Prompt versions: what can be registered, what a digest covers, and how variables are put in."""

from dataclasses import replace

import pytest
from hypothesis import given
from model_router_samples import JSON, TEMPLATE, WORDS
from plimsoll_model_router.domain.messages import assistant, system, user
from plimsoll_model_router.domain.prompts import ByLabel, ByVersion, Example, PromptReference, Template, checked, render
from plimsoll_model_router.errors import InvalidPrompt, InvalidVariables
from plimsoll_runtime.json_types import JsonValue, dump_json


def test_a_prompt_is_rendered_into_messages_with_its_examples_as_pairs() -> None:
    assert render(TEMPLATE, {"message": "Hello"}) == (
        system("You sort the messages of a shop."),
        user("Where is my parcel?"),
        assistant('{"intent":"delivery"}'),
        user("Hello"),
    )


@given(text=WORDS, value=JSON)
def test_text_is_put_in_as_it_is_and_everything_else_as_json(text: str, value: JsonValue) -> None:
    template = Template(name="p", variables=("a", "b"), user="x{{a}}y{{ b }}z")
    [message] = render(template, {"a": text, "b": value})
    shown = value if isinstance(value, str) else dump_json(value)
    assert message.text == f"x{text}y{shown}z"


def test_braces_inside_a_value_stay_as_they_are() -> None:
    template = Template(name="p", variables=("a", "b"), user="{{a}} {{b}}")
    assert render(template, {"a": "{{b}}", "b": "secret"})[0].text == "{{b}} secret"


def test_missing_and_unknown_variables_are_told_all_at_once() -> None:
    with pytest.raises(InvalidVariables) as caught:
        render(TEMPLATE, {"mesage": "Hello", "history": []})
    assert [problem.field for problem in caught.value.problems] == ["variables.message", "variables.history", "variables.mesage"]
    assert all(problem.remedy for problem in caught.value.problems)


def test_the_digest_covers_what_a_model_sees_and_nothing_else() -> None:
    same = (replace(TEMPLATE, description="other words"), replace(TEMPLATE, variables=("message",)))
    other = (
        replace(TEMPLATE, name="another"),
        replace(TEMPLATE, system="Be brief."),
        replace(TEMPLATE, user="{{message}}!"),
        replace(TEMPLATE, examples=()),
        replace(TEMPLATE, examples=(Example(user="Where is my parcel?", assistant={"intent": "refund"}),)),
    )
    assert {template.digest for template in same} == {TEMPLATE.digest}
    assert len({TEMPLATE.digest, *(template.digest for template in other)}) == 6


def test_everything_wrong_with_a_prompt_is_told_at_once() -> None:
    bad = Template(
        name="Support",
        variables=("message", "message", "unused", "Odd"),
        examples=(Example(user=" ", assistant=1),),
        user="{{message}} {{order}}",
    )
    with pytest.raises(InvalidPrompt) as caught:
        checked(bad, ("production", "Not a label"))
    fields = [problem.field for problem in caught.value.problems]
    assert fields.count("prompt.variables") == 4
    assert set(fields) == {"prompt.name", "labels[1]", "prompt.variables[3]", "prompt.variables", "prompt.examples[0].user"}
    assert all(problem.remedy for problem in caught.value.problems)


def test_a_text_that_no_store_takes_is_refused() -> None:
    with pytest.raises(InvalidPrompt, match="system: holds the character"):
        checked(replace(TEMPLATE, system="a\x00b"))


def test_a_prompt_needs_a_template() -> None:
    with pytest.raises(InvalidPrompt, match="empty"):
        checked(Template(name="p"))
    assert checked(Template(name="p", system="Only this."))


def test_a_reference_shows_as_it_is_written() -> None:
    assert str(PromptReference(name="p", selector=ByLabel(label="production"))) == "p@production"
    assert str(PromptReference(name="p", selector=ByVersion(version=3))) == "p@3"
