"""Questions that cannot be asked are refused with everything that is wrong; equal questions are known by their fingerprint."""

from dataclasses import replace

import pytest
from hypothesis import given
from model_router_samples import JSON, LOOKUP, MESSAGES, REFERENCE, answer, generation
from plimsoll_model_router.domain import plain, questions
from plimsoll_model_router.domain.generation import Generation
from plimsoll_model_router.domain.messages import Message, ToolChoice, system
from plimsoll_model_router.errors import InvalidGeneration
from plimsoll_runtime.json_types import JsonValue, dump_json, parse_object
from plimsoll_runtime.work import WorkContext


def test_everything_wrong_with_a_question_is_told_at_once() -> None:
    bad = Generation(
        request_key="ö" * 300,
        task="a\x00b",
        variables={"a": 1},
        tools=(LOOKUP, LOOKUP, replace(LOOKUP, name="no spaces")),
        max_output_tokens=-1,
        max_cost_micros=-1,
    )
    with pytest.raises(InvalidGeneration) as caught:
        questions.checked(bad)
    assert [problem.field.removeprefix("generation.") for problem in caught.value.problems] == [
        "request_key",
        "task",
        "max_output_tokens",
        "max_cost_micros",
        "tools[1].name",
        "tools[2].name",
        "prompt",
        "variables",
    ]
    assert all(problem.remedy for problem in caught.value.problems)


def test_a_tool_call_can_only_be_required_when_there_are_tools() -> None:
    with pytest.raises(InvalidGeneration, match="tool_choice"):
        questions.checked(replace(generation(), tool_choice=ToolChoice.REQUIRED))


def test_instructions_alone_are_no_question() -> None:
    with pytest.raises(InvalidGeneration, match="nothing to answer"):
        questions.asked((system("Be brief."),))


def test_a_repeat_by_another_worker_is_the_same_question() -> None:
    first = replace(generation(key="k"), work=WorkContext(run_id="r", epoch=1))
    assert plain.fingerprint(first) == plain.fingerprint(replace(first, work=WorkContext(run_id="r", epoch=2), request_key="other"))


def test_whatever_changes_the_answer_changes_the_fingerprint() -> None:
    base = generation()
    others = (
        replace(base, prompt=REFERENCE),
        replace(base, variables={"a": 1}),
        replace(base, messages=()),
        replace(base, tools=(LOOKUP,)),
        replace(base, tool_choice=ToolChoice.NONE),
        replace(base, output_schema={}),
        replace(base, task="other"),
        replace(base, model="m"),
        replace(base, max_output_tokens=5),
    )
    assert len({plain.fingerprint(one) for one in (base, *others)}) == 10


@given(MESSAGES)
def test_a_message_kept_as_json_comes_back_unchanged(message: Message) -> None:
    assert plain.message_from_plain(parse_object(dump_json(plain.message_to_plain(message)))) == message


@given(JSON)
def test_an_answer_kept_as_json_comes_back_marked_as_recorded(output: JsonValue) -> None:
    kept = replace(answer(), output=output)
    back = plain.answer_from_plain(parse_object(dump_json(plain.answer_to_plain(kept))))
    assert back == replace(kept, recorded=True)
