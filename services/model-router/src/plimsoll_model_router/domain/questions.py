"""What makes a question askable: everything that is wrong with one, told at once, before any provider is bothered."""

import re
from collections.abc import Iterator

from plimsoll_runtime.errors import FieldProblem

from plimsoll_model_router.domain.generation import Generation
from plimsoll_model_router.domain.messages import Message, Role, ToolChoice
from plimsoll_model_router.errors import InvalidGeneration

_TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_KEY_CAP = 255
_TASK_CAP = 64
_OUTPUT_CAP = 1_000_000


def checked(generation: Generation) -> Generation:
    """The generation, when its own fields hold together. Raises InvalidGeneration with everything that is wrong."""
    problems = [*_key_problems(generation), *_task_problems(generation), *_limit_problems(generation), *_tool_problems(generation)]
    if generation.prompt is None and not generation.messages:
        problems.append(FieldProblem("generation.prompt", "is missing, and there are no messages", "name a prompt or send messages"))
    if generation.prompt is None and generation.variables:
        problems.append(FieldProblem("generation.variables", "are given without a prompt", "name the prompt that they belong to"))
    if problems:
        raise InvalidGeneration(problems=problems)
    return generation


def asked(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """The rendered messages, when they ask anything. Raises InvalidGeneration otherwise."""
    if not any(message.role is not Role.SYSTEM and message.parts for message in messages):
        problem = FieldProblem("generation.messages", "hold nothing to answer", "add a user message, or a user template to the prompt")
        raise InvalidGeneration(problems=(problem,))
    return messages


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


def _tool_problems(generation: Generation) -> Iterator[FieldProblem]:
    names = [tool.name for tool in generation.tools]
    for at, name in enumerate(names):
        if not _TOOL_NAME.fullmatch(name):
            yield FieldProblem(f"generation.tools[{at}].name", f"is {name!r}", "use letters, digits, _ and -, 64 characters at most")
        elif name in names[:at]:
            yield FieldProblem(f"generation.tools[{at}].name", f"is {name!r} for the second time", "offer each tool once")
    if generation.tool_choice is ToolChoice.REQUIRED and not names:
        yield FieldProblem("generation.tool_choice", "requires a tool call, but no tools are offered", "offer tools, or use AUTO")
