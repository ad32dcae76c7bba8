"""Prompt versions: immutable templates with declared variables and worked examples, known by their digest."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from plimsoll_runtime.errors import FieldProblem
from plimsoll_runtime.json_types import JsonObject, JsonValue, digest, dump_json

from plimsoll_model_router.domain.messages import Message, assistant, system, user
from plimsoll_model_router.errors import InvalidPrompt, InvalidVariables

_PLACEHOLDER = re.compile(r"\{\{\s*([^{}]*?)\s*\}\}")
_NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")
_VARIABLE = re.compile(r"[a-z][a-z0-9_]{0,62}")
_LABEL = re.compile(r"[a-z][a-z0-9-]{0,62}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A worked example: becomes a user message and the assistant message that answers it."""

    user: str
    assistant: JsonValue


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """The content of a prompt version: all that its digest covers."""

    name: str
    description: str = ""
    variables: tuple[str, ...] = ()
    system: str = ""
    examples: tuple[Example, ...] = ()
    user: str = ""

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical form; the description is not part of it, nor the order of the variables."""
        examples: list[JsonValue] = [{"user": example.user, "assistant": example.assistant} for example in self.examples]
        content: JsonObject = {
            "name": self.name,
            "variables": list[JsonValue](sorted(self.variables)),
            "system": self.system,
            "examples": examples,
            "user": self.user,
        }
        return digest(content)


@dataclass(frozen=True, slots=True, kw_only=True)
class ByLabel:
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ByVersion:
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ByDigest:
    digest: str


Selector: TypeAlias = ByLabel | ByVersion | ByDigest


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptReference:
    """Names one version, such as `support-classify@production`."""

    name: str
    selector: Selector

    def __str__(self) -> str:
        match self.selector:
            case ByLabel(label=label):
                return f"{self.name}@{label}"
            case ByVersion(version=version):
                return f"{self.name}@{version}"
            case ByDigest(digest=found):
                return f"{self.name}@sha256:{found[:12]}"


def checked(template: Template, labels: tuple[str, ...] = ()) -> Template:
    """The template, when it can be registered. Raises InvalidPrompt with everything that is wrong with it."""
    problems = [*_naming_problems(template, labels), *_variable_problems(template)]
    if not template.system.strip() and not template.user.strip():
        problems.append(FieldProblem("prompt.user", "is empty, and so is prompt.system", "write at least one of the two templates"))
    problems += [
        FieldProblem(f"prompt.examples[{index}].user", "is empty", "give the text that the example answers")
        for index, example in enumerate(template.examples)
        if not example.user.strip()
    ]
    told = {"description": template.description, "system": template.system, "user": template.user}
    problems += [
        FieldProblem(f"prompt.{name}", "holds the character U+0000", "leave it out") for name, text in told.items() if "\x00" in text
    ]
    if problems:
        raise InvalidPrompt(problems=problems)
    return template


def render(template: Template, variables: Mapping[str, JsonValue]) -> tuple[Message, ...]:
    """The messages of one use. Text is put in as it is, everything else as JSON; placeholders inside values stay as they are.

    Raises InvalidVariables when the variables are not exactly the declared ones.
    """
    declared = set(template.variables)
    problems = [
        FieldProblem(f"variables.{name}", f"is missing: the prompt {template.name} needs it", "pass a value for it")
        for name in sorted(declared - set(variables))
    ]
    problems += [
        FieldProblem(f"variables.{name}", f"is not a variable of the prompt {template.name}", _declared_list(template))
        for name in sorted(set(variables) - declared)
    ]
    if problems:
        raise InvalidVariables(problems=problems)
    messages: list[Message] = []
    if template.system.strip():
        messages.append(system(_fill(template.system, variables)))
    for example in template.examples:
        messages += [user(example.user), assistant(_as_text(example.assistant))]
    if template.user.strip():
        messages.append(user(_fill(template.user, variables)))
    return tuple(messages)


def placeholders(text: str) -> tuple[str, ...]:
    """The names between double braces, each once, in order."""
    return tuple(dict.fromkeys(_PLACEHOLDER.findall(text)))


def _fill(text: str, variables: Mapping[str, JsonValue]) -> str:
    return _PLACEHOLDER.sub(lambda match: _as_text(variables[match[1]]), text).strip()


def _as_text(value: JsonValue) -> str:
    return value if isinstance(value, str) else dump_json(value)


def _declared_list(template: Template) -> str:
    return f"use only: {', '.join(template.variables)}" if template.variables else "the prompt takes no variables"


def _naming_problems(template: Template, labels: tuple[str, ...]) -> list[FieldProblem]:
    shape = "use lower-case letters, digits and hyphens, beginning with a letter, 63 characters at most"
    problems = []
    if not _NAME.fullmatch(template.name):
        problems.append(FieldProblem("prompt.name", f"is {template.name!r}", shape))
    problems += [FieldProblem(f"labels[{at}]", f"is {label!r}", shape) for at, label in enumerate(labels) if not _LABEL.fullmatch(label)]
    problems += [
        FieldProblem(f"prompt.variables[{at}]", f"is {name!r}", shape.replace("hyphens", "underscores"))
        for at, name in enumerate(template.variables)
        if not _VARIABLE.fullmatch(name)
    ]
    return problems


def _variable_problems(template: Template) -> list[FieldProblem]:
    declared, used = set(template.variables), set(placeholders(template.system)) | set(placeholders(template.user))
    problems = [
        FieldProblem("prompt.variables", f"declares {name!r} twice", "name each variable once")
        for name in sorted({name for name in template.variables if template.variables.count(name) > 1})
    ]
    problems += [
        FieldProblem("prompt.variables", f"lacks {name!r}, which a template uses", f"declare it, or write {{{{{name}}}}} differently")
        for name in sorted(used - declared)
    ]
    problems += [
        FieldProblem("prompt.variables", f"declares {name!r}, which no template uses", f"use {{{{{name}}}}} in a template, or drop it")
        for name in sorted(declared - used)
    ]
    return problems
