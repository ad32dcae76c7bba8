"""Exports: examples as the lines that fine-tuning reads, with where each line comes from."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from plimsoll_runtime.json_types import JsonObject, JsonValue, canonical, dump_json

from plimsoll_feedback.domain.learning.datasets import Example
from plimsoll_feedback.domain.learning.proposing import PromptVersion, rendered


class ExportFormat(StrEnum):
    CHAT = "chat"
    PREFERENCE = "preference"


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """The lines, and the header to keep beside them."""

    header: JsonObject
    lines: tuple[str, ...]


def exported(dataset: str, version: int, form: ExportFormat, examples: Sequence[Example], prompts: dict[str, PromptVersion]) -> Export:
    """`prompts` are the versions that answered, by digest; without one, the variables stand in its place.

    A preference needs two different answers: examples whose production answer was right have none, and are left out.
    """
    lines, sources = [], list[JsonValue]()
    for one in examples:
        line = _line(one, form, prompts.get(one.body.prompt_digest))
        if line is not None:
            lines.append(dump_json(line))
            sources.append(_source(one))
    header: JsonObject = {
        "dataset": dataset,
        "version": version,
        "format": form.value,
        "part": "training",
        "lines": len(lines),
        "sha256": hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest(),
        "sources": sources,
    }
    return Export(header=header, lines=tuple(lines))


def _line(one: Example, form: ExportFormat, prompt: PromptVersion | None) -> JsonObject | None:
    asked = _messages(one, prompt)
    right: list[JsonValue] = [{"role": "assistant", "content": _text(one.expected)}]
    if form is ExportFormat.CHAT:
        return {"messages": [*asked, *right]}
    if canonical(one.expected) == canonical(one.body.answer):
        return None
    wrong: list[JsonValue] = [{"role": "assistant", "content": _text(one.body.answer)}]
    return {"input": {"messages": asked}, "preferred_output": right, "non_preferred_output": wrong}


def _messages(one: Example, prompt: PromptVersion | None) -> list[JsonValue]:
    if prompt is None:
        return [{"role": "user", "content": _text(one.body.variables)}]
    told = (("system", rendered(prompt.system, one.body.variables)), ("user", rendered(prompt.user, one.body.variables)))
    return [{"role": role, "content": text} for role, text in told if text]


def _source(one: Example) -> JsonObject:
    lineage = one.lineage
    return {
        "example_id": one.id,
        "since_version": one.since_version,
        "run_id": lineage.run_id,
        "operation_id": lineage.operation_id,
        "call_id": lineage.call_id,
        "prompt_digest": lineage.prompt_digest,
        "signal_ids": list[JsonValue](lineage.signal_ids),
        "annotators": list[JsonValue](lineage.annotators),
    }


def _text(value: JsonValue) -> str:
    return value if isinstance(value, str) else dump_json(value)
