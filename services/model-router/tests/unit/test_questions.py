"""Questions that cannot be asked are refused with everything that is wrong; equal questions are known by their fingerprint."""

from dataclasses import replace

import pytest
from hypothesis import given
from model_router_samples import JSON, LOOKUP, MESSAGES, REFERENCE, answer, generation
from plimsoll_model_router.domain import plain, questions
from plimsoll_model_router.domain.generation import CachePolicy, Generation
from plimsoll_model_router.domain.messages import Message, Sampling, ToolChoice, system
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


@pytest.mark.parametrize(
    ("sampling", "field"),
    [
        (Sampling(temperature=2.5), "temperature"),
        (Sampling(temperature=-0.1), "temperature"),
        (Sampling(temperature=float("nan")), "temperature"),
        (Sampling(top_p=0.0), "top_p"),
        (Sampling(top_p=1.01), "top_p"),
        (Sampling(stop=("a", "b", "c", "d", "e")), "stop"),
        (Sampling(stop=("",)), "stop[0]"),
        (Sampling(stop=("x" * 101,)), "stop[0]"),
    ],
)
def test_absurd_ways_to_pick_words_are_refused(sampling: Sampling, field: str) -> None:
    with pytest.raises(InvalidGeneration) as caught:
        questions.checked(replace(generation(), sampling=sampling))
    assert [problem.field for problem in caught.value.problems] == [f"generation.sampling.{field}"]


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        (replace(generation(), max_output_tokens=10**6 + 1), "max_output_tokens"),
        (replace(generation(), max_output_tokens=-(2**63)), "max_output_tokens"),
        (replace(generation(), max_cost_micros=-(2**63)), "max_cost_micros"),
        (replace(generation(), sampling=Sampling(temperature=float("inf"))), "sampling.temperature"),
        (replace(generation(), cache=CachePolicy(max_age_s=float("inf"))), "cache.max_age"),
        (replace(generation(), cache=CachePolicy(max_age_s=float("nan"))), "cache.max_age"),
        (replace(generation(), request_key="k" * 256), "request_key"),
        (replace(generation(), task="t" * 65), "task"),
    ],
)
def test_absurd_limits_are_refused_with_what_is_possible(asked: Generation, field: str) -> None:
    with pytest.raises(InvalidGeneration) as caught:
        questions.checked(asked)
    [problem] = caught.value.problems
    assert (problem.field, bool(problem.remedy)) == (f"generation.{field}", True)


def test_a_named_tool_has_to_be_among_those_that_are_offered() -> None:
    named = replace(generation(), tools=(LOOKUP,), tool_choice=ToolChoice.NAMED)
    assert questions.checked(replace(named, tool_name=LOOKUP.name))
    for wrong in (named, replace(named, tool_name="other"), replace(named, tool_choice=ToolChoice.AUTO, tool_name=LOOKUP.name)):
        with pytest.raises(InvalidGeneration, match="tool_choice_name"):
            questions.checked(wrong)


def test_the_arguments_of_a_tool_are_an_object() -> None:
    with pytest.raises(InvalidGeneration, match="arguments_schema"):
        questions.checked(replace(generation(), tools=(replace(LOOKUP, arguments_schema={"type": "string"}),)))


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
