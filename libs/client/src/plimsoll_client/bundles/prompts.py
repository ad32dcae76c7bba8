"""A prompt's file: its fields, and that templates and declared variables agree."""

import re
from dataclasses import dataclass

from plimsoll_runtime.json_types import JsonValue

from plimsoll_client.bundles.yaml_text import Mistake, NotReadable, YamlDocument, parse_yaml
from plimsoll_client.models import Example, PromptDraft

_FIELDS = ("prompt", "description", "variables", "system", "examples", "user", "labels")
_NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")
_VARIABLE = re.compile(r"[a-z][a-z0-9_]{0,62}")
_PLACE = re.compile(r"\{\{\s*([^{}]*?)\s*\}\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptFile:
    """A prompt to register, and the labels to move to it."""

    draft: PromptDraft
    labels: tuple[str, ...]


def read_prompt(text: str) -> tuple[PromptFile | None, list[Mistake]]:
    """The prompt in `text` and every mistake in it; None when there is any."""
    try:
        document = parse_yaml(text)
    except NotReadable as error:
        return None, [error.mistake]
    reading = _Reading(document)
    prompt = reading.prompt()
    return (None if reading.mistakes else prompt), reading.mistakes


class _Reading:
    """One pass over a document that collects mistakes instead of stopping at the first."""

    def __init__(self, document: YamlDocument) -> None:
        self._document = document
        self.mistakes: list[Mistake] = []

    def prompt(self) -> PromptFile:
        for field in self._document.value.keys() - set(_FIELDS):
            self._wrong(f"has an unknown field {field}", f"A prompt has {', '.join(_FIELDS)}", field)
        name = self._text("prompt", required=True)
        if name and not _NAME.fullmatch(name):
            self._wrong(f"has prompt {name!r}, which is not a name", "Use small letters, digits and dashes", "prompt")
        draft = PromptDraft(
            name=name,
            description=self._text("description"),
            variables=self._words("variables", _VARIABLE),
            system=self._text("system"),
            examples=self._examples(),
            user=self._text("user"),
        )
        if not draft.system and not draft.user:
            self._wrong("has neither system nor user", "Add `user: …`", "user")
        self._compare_variables(draft)
        return PromptFile(draft=draft, labels=self._words("labels", _NAME))

    def _compare_variables(self, draft: PromptDraft) -> None:
        for field, template in (("system", draft.system), ("user", draft.user)):
            for name in dict.fromkeys(_PLACE.findall(template)):
                if name not in draft.variables:
                    self._wrong(f"uses {{{{{name}}}}} in {field} and does not declare it", f"Add {name} to variables", field)
        used = set(_PLACE.findall(draft.system)) | set(_PLACE.findall(draft.user))
        for name in draft.variables:
            if name not in used:
                self._wrong(f"declares {name} and does not use it", f"Write {{{{{name}}}}} in system or user, or remove it", "variables")

    def _text(self, field: str, *, required: bool = False) -> str:
        value = self._document.value.get(field)
        if value is None or value == "":
            if required:
                self._wrong(f"has no {field}", f"Add `{field}: …`", field)
            return ""
        if not isinstance(value, str):
            self._wrong(f"has a {field} that is not text", "Put it in quotes, or in a block after `|`", field)
            return ""
        return value

    def _words(self, field: str, pattern: re.Pattern[str]) -> tuple[str, ...]:
        value = self._document.value.get(field)
        if value is None:
            return ()
        if not isinstance(value, list):
            self._wrong(f"has {field} that is not a list", f"Write `{field}: [one, two]`", field)
            return ()
        words: list[str] = []
        for index, item in enumerate(value):
            if not isinstance(item, str) or not pattern.fullmatch(item):
                self._wrong(f"has {item!r} in {field}, which is not a name", "Use small letters, digits and _ or -", field, index)
            elif item in words:
                self._wrong(f"has {item} in {field} twice", "Keep one", field, index)
            else:
                words.append(item)
        return tuple(words)

    def _examples(self) -> tuple[Example, ...]:
        value = self._document.value.get("examples")
        if value is None:
            return ()
        if not isinstance(value, list):
            self._wrong("has examples that are not a list", "Write `- {user: …, assistant: …}` per example", "examples")
            return ()
        return tuple(example for index, item in enumerate(value) if (example := self._example(index, item)) is not None)

    def _example(self, index: int, item: JsonValue) -> Example | None:
        if not isinstance(item, dict) or item.keys() != {"user", "assistant"} or not isinstance(item["user"], str):
            self._wrong(
                f"has example {index + 1} that is not a user text with an assistant answer",
                "Write `{user: …, assistant: …}`",
                "examples",
                index,
            )
            return None
        answer = item["assistant"]
        if not isinstance(answer, str | dict | list):
            self._wrong(
                f"has example {index + 1} whose answer is neither text nor JSON", "Put it in quotes", "examples", index, "assistant"
            )
            return None
        return Example(user=item["user"], assistant=answer)

    def _wrong(self, problem: str, remedy: str, *path: str | int) -> None:
        self.mistakes.append(Mistake(self._document.line(*path), problem, remedy))
