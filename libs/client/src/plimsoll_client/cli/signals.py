"""`plimsoll signals`: those of a run, and many at once out of a file."""

from collections.abc import Iterator
from typing import Annotated

import orjson
import typer
from plimsoll_runtime.errors import FieldProblem
from plimsoll_runtime.json_types import JsonObject

from plimsoll_client.cli.exits import Exit
from plimsoll_client.cli.feedback import category_named
from plimsoll_client.cli.options import AsJson, Data, Limit, RunId
from plimsoll_client.cli.output import error_console, pretty, print_json, print_list, table, visible, when
from plimsoll_client.cli.session import on_mesh
from plimsoll_client.errors import BadInput
from plimsoll_client.files import read_given, text_of
from plimsoll_client.observations import (
    Decision,
    Demonstration,
    Label,
    Outcome,
    Remark,
    Score,
    Signal,
    SignalDraft,
    SignalRefusal,
    SignalValue,
    Verdict,
)

app = typer.Typer()
group = typer.Typer(help="How good runs were: list, or record many at once.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(group, name="signals")

_TEXTS = ("run", "tag", "operation", "comment", "source", "key")
_VALUES = ("good", "score", "category", "correct", "outcome")


@group.command("list")
def list_signals(run: RunId, limit: Limit = 100, data: Data = None, as_json: AsJson = False) -> None:
    """List the signals of a run."""
    found = on_mesh(data, lambda mesh: mesh.feedback.signals(run, limit=limit))
    rows = ((signal.id, when(signal.created_at), signal.source, _value(signal), signal.comment) for signal in found)
    print_list(found, table(("signal", "at", "by", "what", "comment"), rows), as_json=as_json, empty="Nobody said anything about this run.")


@group.command()
def record(
    given: Annotated[
        str, typer.Argument(metavar="FILE|-", help='JSON lines: {"run": "run_…", "outcome": true, "key": "…"}', show_default=False)
    ],
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Record many signals, each by itself: run or tag; one of good, score, category, correct, outcome, or only a comment; operation, source, key."""
    drafts = drafts_in(text_of(read_given(given)))
    told = on_mesh(data, lambda mesh: mesh.feedback.record(drafts))
    refused = [(number, one) for number, one in enumerate(told, 1) if isinstance(one, SignalRefusal)]
    if as_json:
        print_json(told)
    else:
        for number, refusal in refused:
            error_console().print(visible(f"signal {number}: {refusal.message} [{refusal.reason}]"), soft_wrap=True, style="red")
        error_console().print(f"{len(told) - len(refused)} of {len(told)} signals are recorded.")
    if refused:
        raise typer.Exit(Exit.OTHER)


def drafts_in(text: str) -> list[SignalDraft]:
    """The signals of JSON lines. Raises BadInput with every line that is wrong."""
    drafts: list[SignalDraft] = []
    problems: list[FieldProblem] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        found = list(_problems(line))
        problems += [FieldProblem(f"line {number}", problem, remedy) for problem, remedy in found]
        if not found:
            drafts.append(_draft(orjson.loads(line)))
    if problems:
        raise BadInput(problems=problems)
    if not drafts:
        raise BadInput("there is no signal", remedy='Give lines such as {"run": "run_…", "good": false, "comment": "…"}')
    return drafts


def _problems(line: str) -> Iterator[tuple[str, str]]:
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        yield f"is not JSON: {error}", "Give one object on each line"
        return
    if not isinstance(value, dict):
        yield "is not an object", 'Give lines such as {"run": "run_…", "good": false}'
        return
    if unknown := value.keys() - {*_TEXTS, *_VALUES}:
        yield f"has the unknown field {min(unknown)!r}", f"Use {', '.join((*_TEXTS, *_VALUES))}"
    for name in _TEXTS:
        if not isinstance(value.get(name, ""), str):
            yield f"{name} is not a text", "Put it in quotes"
    if bool(value.get("run")) == bool(value.get("tag")):
        yield "names no run, or names it twice", "Give run or tag"
    given = [name for name in _VALUES if name in value]
    if len(given) > 1 or not (given or value.get("comment")):
        yield "has several values at once" if given else "has no value", f"Give one of {', '.join(_VALUES)}, or only a comment"
    yield from _wrong_values(value)


def _wrong_values(value: JsonObject) -> Iterator[tuple[str, str]]:
    for name in ("good", "outcome"):
        if name in value and not isinstance(value[name], bool):
            yield f"{name} is not true or false", "Give true or false"
    score = value.get("score", 0)
    if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1:
        yield "score is not from 0 to 1", "Give a number from 0 to 1"
    category = value.get("category")
    if "category" in value:
        try:
            category_named(category if isinstance(category, str) else "")
        except BadInput as error:
            yield from ((f"category {problem.problem}", problem.remedy) for problem in error.problems)


def _draft(value: JsonObject) -> SignalDraft:
    texts = {name: str(value.get(name, "")) for name in _TEXTS}
    return SignalDraft(
        value=_given(value),
        run_id=texts["run"],
        tag=texts["tag"],
        operation_id=texts["operation"],
        comment=texts["comment"],
        source=texts["source"],
        key=texts["key"],
    )


def _given(value: JsonObject) -> SignalValue:
    match value:
        case {"good": bool(good)}:
            return Verdict(good)
        case {"score": int() | float() as score}:
            return Score(float(score))
        case {"category": str(category)}:
            return Label(category_named(category))
        case {"correct": correct}:
            return Demonstration(correct)
        case {"outcome": bool(outcome)}:
            return Outcome(outcome)
        case _:
            return Remark()


def _value(signal: Signal) -> str:
    match signal.value:
        case Verdict(good):
            return "good" if good else "bad"
        case Score(value):
            return f"score {value:g}"
        case Label(category):
            return str(category)
        case Demonstration(value):
            return "right: " + " ".join(pretty(value).split())
        case Outcome(succeeded):
            return "succeeded" if succeeded else "failed"
        case Decision() as decision:
            return f"{'approved' if decision.approved else 'rejected'} by {', '.join(decision.decided_by)}"
        case Remark():
            return "remark"
