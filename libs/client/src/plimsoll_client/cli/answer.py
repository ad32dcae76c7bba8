"""How a run's end is shown: the answer first, then its sources, then what it cost and who answered."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from plimsoll_runtime.json_types import JsonObject, JsonValue

from plimsoll_client.cli.output import as_json_line, money, pretty, prose, seconds, visible, when
from plimsoll_client.cli.program import spelled
from plimsoll_client.cli.report import Report
from plimsoll_client.models import RunStatus

if TYPE_CHECKING:
    from plimsoll_runtime.failures import Failure
    from rich.console import Console

_MAIN = ("answer", "reply", "report", "text", "summary")
"""The fields that hold what the run was asked for, the likeliest first."""

_SHORT = 110  # characters that a field may have to stand on one line
_FEW_LINES = 8

REHEARSAL = "Answered by the rehearsal model, which is not a language model: it quotes and classifies by similarity."
PROVIDER = "Set ANTHROPIC_API_KEY or OPENAI_API_KEY before `plimsoll up` to have the same agents use that provider."


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A run's output, taken apart for reading."""

    text: str
    sources: tuple[str, ...]
    rest: JsonObject


def answer_of(output: JsonValue) -> Answer:
    """The main text, the sources and everything else of an output."""
    if not isinstance(output, dict):
        return Answer(text="" if output is None else pretty(output), sources=(), rest={})
    main = next((name for name in _MAIN if isinstance(output.get(name), str) and output[name]), "")
    listed = output.get("sources")
    sources = tuple(dict.fromkeys(_source(item) for item in listed)) if isinstance(listed, list) else ()
    rest: JsonObject = {name: value for name, value in output.items() if name not in {main, "sources"} and value not in (None, "", [], {})}
    return Answer(text=str(output[main]) if main else "", sources=sources, rest=rest)


def answer_lines(answer: Answer) -> Iterator[str]:
    """The answer as plain lines."""
    if answer.text:
        yield from visible(answer.text).strip().splitlines()
    if answer.sources:
        yield ""
        yield "Sources"
        yield from (f"  {index}. {visible(source)}" for index, source in enumerate(answer.sources, 1))
    if answer.rest:
        yield ""
        for name, value in answer.rest.items():
            yield from _field_lines(name, value, aside=bool(answer.text))


def cost_line(report: Report) -> str:
    """What the run cost, on one line."""
    run = report.run
    parts = [
        f"{run.steps} step{'s' if run.steps != 1 else ''}",
        f"{run.usage.tokens:,} tokens ({run.usage.input_tokens:,} in, {run.usage.output_tokens:,} out)",
        money(run.usage.cost_micros),
        seconds(report.duration_s),
    ]
    if report.models:
        parts.append(", ".join(visible(name) for name in report.models))
    return " · ".join(parts)


def print_report(out: "Console", report: Report, *, notes: "Console | None" = None) -> None:
    """The whole end of a run; what is not the answer goes to `notes` when it is given."""
    aside, run = notes or out, report.run
    if run.failure is not None:
        prose(aside, _end_line(run.status, run.failure), style="red")
        prose(aside, f"  {visible(run.failure.message)}")
    elif run.status is RunStatus.SUCCEEDED:
        for line in answer_lines(answer_of(run.output)):
            prose(out, line)
    else:
        aside.print(f"The run is {run.status}{f' at node {visible(run.node)}' if run.node else ''}.")
        for obstacle in report.obstacles:
            until = f" (until {when(obstacle.until)})" if obstacle.until else ""
            prose(aside, f"  {visible(obstacle.reason)}: {visible(obstacle.message)}{until}", style="yellow")
    aside.print()
    prose(aside, cost_line(report), style="dim")
    if run.rehearsal:
        prose(aside, f"{REHEARSAL} {spelled(PROVIDER)}", style="yellow")


def _end_line(status: RunStatus, failure: "Failure") -> str:
    if status is RunStatus.CANCELLED:
        return "The run was cancelled."
    return f"The run {status}{f' at {failure.where}' if failure.where else ''}: {failure.category}, {failure.reason}"


def _source(item: JsonValue) -> str:
    """A source is a name, or an object that has one."""
    if isinstance(item, dict):
        title, source = item.get("title"), item.get("source")
        named = [str(part) for part in (title, source) if isinstance(part, str) and part]
        return " – ".join(dict.fromkeys(named)) or as_json_line(item)
    return item if isinstance(item, str) else as_json_line(item)


def _field_lines(name: str, value: JsonValue, *, aside: bool) -> Iterator[str]:
    """A field on one line when it fits; a long one beside a main text only by its size, else whole."""
    short = visible(value if isinstance(value, str) else as_json_line(value))
    if len(short) <= _SHORT and "\n" not in short:
        yield f"{visible(name)}: {short}"
    elif aside and (extent := _extent(value)):
        yield f"{visible(name)}: {extent} (--json shows them)"
    else:
        yield f"{visible(name)}:"
        yield from (f"  {line}" for line in pretty(value).splitlines())


def _extent(value: JsonValue) -> str:
    """How much a long field holds; empty for a text that can be read in passing."""
    match value:
        case list():
            return f"{len(value)} items"
        case dict():
            return f"{len(value)} fields"
        case str() if value.count("\n") > _FEW_LINES:
            return f"{value.count(chr(10)) + 1} lines"
        case _:
            return ""
