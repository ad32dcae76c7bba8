"""What makes a question askable: everything that is wrong with one, told at once, before any provider is bothered."""

import re
from collections.abc import Iterator

from plimsoll_runtime.errors import FieldProblem

from plimsoll_model_router.domain.generation import CacheScope, Generation, Purpose
from plimsoll_model_router.domain.messages import Message, Role, ToolChoice
from plimsoll_model_router.errors import InvalidGeneration

_TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_KEY_CAP = 255
_TASK_CAP = 64
_OUTPUT_CAP = 1_000_000
_AGE_CAP_S = 30 * 86400.0
_STOPS_CAP, _STOP_CHARACTERS = 4, 100


def checked(generation: Generation) -> Generation:
    """The generation, when its own fields hold together. Raises InvalidGeneration with everything that is wrong."""
    judges = (
        _key_problems, _task_problems, _limit_problems, _sampling_problems, _tool_problems, _choice_problems,
        _cache_problems, _prompt_problems, _evaluation_problems,
    )  # fmt: skip
    problems = [problem for judge in judges for problem in judge(generation)]
    if problems:
        raise InvalidGeneration(problems=problems)
    return generation


def asked(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """The rendered messages, when they ask anything. Raises InvalidGeneration otherwise."""
    if not any(message.role is not Role.SYSTEM and message.parts for message in messages):
        problem = FieldProblem("generation.messages", "hold nothing to answer", "add a user message, or a user template to the prompt")
        raise InvalidGeneration(problems=(problem,))
    return messages


def _prompt_problems(generation: Generation) -> Iterator[FieldProblem]:
    if generation.prompt_name:
        return
    if not generation.messages:
        yield FieldProblem("generation.prompt", "is missing, and there are no messages", "name a prompt or send messages")
    if generation.variables:
        yield FieldProblem("generation.variables", "are given without a prompt", "name the prompt that they belong to")


def _evaluation_problems(generation: Generation) -> Iterator[FieldProblem]:
    if generation.candidate is not None and generation.prompt is not None:
        yield FieldProblem("generation.candidate_prompt", "is given, and so is generation.prompt", "send one of the two")
    if generation.candidate is not None and generation.purpose is not Purpose.EVALUATION:
        yield FieldProblem("generation.candidate_prompt", "is not registered", "register it, or ask with the purpose EVALUATION")
    if generation.model_digest and not generation.model:
        yield FieldProblem("generation.model_digest", "is given without a model", "name the model entry that it is a version of")


def _key_problems(generation: Generation) -> Iterator[FieldProblem]:
    key = generation.request_key
    if len(key) > _KEY_CAP or not (key.isprintable() and key.isascii()):
        yield FieldProblem(
            "generation.request_key", f"is longer than {_KEY_CAP} characters or not plain ASCII", "use a short key, such as a UUID"
        )


def _task_problems(generation: Generation) -> Iterator[FieldProblem]:
    if len(generation.task) > _TASK_CAP or not generation.task.isprintable():
        yield FieldProblem(
            "generation.task", f"is longer than {_TASK_CAP} characters or not printable", "use a word such as classification"
        )


def _limit_problems(generation: Generation) -> Iterator[FieldProblem]:
    if not 0 <= generation.max_output_tokens <= _OUTPUT_CAP:
        remedy = f"use 1 to {_OUTPUT_CAP}, or 0 for the provider's own limit"
        yield FieldProblem("generation.max_output_tokens", f"is {generation.max_output_tokens}", remedy)
    if generation.max_cost_micros < 0:
        yield FieldProblem("generation.max_cost_micros", f"is {generation.max_cost_micros}", "use a positive number, or 0 for no limit")


def _sampling_problems(generation: Generation) -> Iterator[FieldProblem]:
    sampling = generation.sampling
    if sampling.temperature is not None and not 0 <= sampling.temperature <= 2:
        yield FieldProblem("generation.sampling.temperature", f"is {sampling.temperature}", "use 0 to 2, or leave it out")
    if sampling.top_p is not None and not 0 < sampling.top_p <= 1:
        yield FieldProblem("generation.sampling.top_p", f"is {sampling.top_p}", "use more than 0, up to 1, or leave it out")
    if len(sampling.stop) > _STOPS_CAP:
        yield FieldProblem("generation.sampling.stop", f"holds {len(sampling.stop)} texts", f"send {_STOPS_CAP} at the most")
    for at, text in enumerate(sampling.stop):
        if not 0 < len(text) <= _STOP_CHARACTERS:
            remedy = f"use 1 to {_STOP_CHARACTERS} characters"
            yield FieldProblem(f"generation.sampling.stop[{at}]", f"has {len(text)} characters", remedy)


def _cache_problems(generation: Generation) -> Iterator[FieldProblem]:
    policy = generation.cache
    if policy is None:
        return
    if not 0 < policy.max_age_s <= _AGE_CAP_S:
        yield FieldProblem("generation.cache.max_age", f"is {policy.max_age_s:g} seconds", f"use more than 0, at most {_AGE_CAP_S:.0f}")
    subjects = {CacheScope.AGENT: generation.work.agent, CacheScope.RUN: generation.work.run_id}
    if not subjects.get(policy.scope, "tenant"):
        yield FieldProblem("generation.cache.scope", f"is {policy.scope}, and the work names none", "name it in work, or use TENANT")


def _tool_problems(generation: Generation) -> Iterator[FieldProblem]:
    names = [tool.name for tool in generation.tools]
    for at, name in enumerate(names):
        if not _TOOL_NAME.fullmatch(name):
            yield FieldProblem(f"generation.tools[{at}].name", f"is {name!r}", "use letters, digits, _ and -, 64 characters at most")
        elif name in names[:at]:
            yield FieldProblem(f"generation.tools[{at}].name", f"is {name!r} for the second time", "offer each tool once")
        kind = generation.tools[at].arguments_schema.get("type", "object")
        if kind != "object":
            yield FieldProblem(f"generation.tools[{at}].arguments_schema", f"has the type {kind!r}"[:80], "describe an object")


def _choice_problems(generation: Generation) -> Iterator[FieldProblem]:
    names = [tool.name for tool in generation.tools]
    if generation.tool_choice is ToolChoice.REQUIRED and not names:
        yield FieldProblem("generation.tool_choice", "requires a tool call, but no tools are offered", "offer tools, or use AUTO")
    if generation.tool_choice is ToolChoice.NAMED and generation.tool_name not in names:
        problem = f"is {generation.tool_name!r}, which is not among the tools" if generation.tool_name else "is missing"
        yield FieldProblem("generation.tool_choice_name", problem, "name one of the tools that are offered")
    if generation.tool_name and generation.tool_choice is not ToolChoice.NAMED:
        yield FieldProblem("generation.tool_choice_name", "is given, but no named tool is chosen", "use the tool choice NAMED")
