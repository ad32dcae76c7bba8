"""`plimsoll errors`, `plimsoll signal` and `plimsoll version`."""

import platform
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from importlib.metadata import version as version_of
from typing import TYPE_CHECKING, Annotated

import orjson
import typer
from plimsoll_runtime.errors import FieldProblem

from plimsoll_client.cli.options import AsJson, Data
from plimsoll_client.cli.output import console, error_console, print_json, print_table, table, when
from plimsoll_client.cli.program import spelled
from plimsoll_client.cli.session import on_mesh
from plimsoll_client.errors import BadInput
from plimsoll_client.files import read_given, text_of
from plimsoll_client.models import RunStatus
from plimsoll_client.observations import Demonstration, Label, Outcome, Remark, Score, SignalValue, Verdict

if TYPE_CHECKING:
    from plimsoll_runtime.failures import Category

    from plimsoll_client.mesh import Mesh
    from plimsoll_client.models import Run
    from plimsoll_client.observations import FailureReport

app = typer.Typer()
_ASIDE_MOST = 1000


class Ended(StrEnum):
    """The words that --outcome takes."""

    SUCCESS = "success"
    FAILURE = "failure"


@app.command()
def errors(
    agent: Annotated[str, typer.Option("--agent", help="Only of this agent")] = "",
    hours: Annotated[float, typer.Option("--hours", help="How far back", min=0.01)] = 24.0,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Count what failed, by category, with the most frequent reasons; and the runs that are set aside, which have not failed yet."""
    after = datetime.now(UTC) - timedelta(hours=hours)
    report, aside = on_mesh(data, lambda mesh: _failures(mesh, agent, after))
    if as_json:
        print_json({**asdict(report), "quarantined": [run.id for run in aside]})
        return
    _print_failures(report, hours)
    if aside:
        told = f"{len(aside)} {'run is' if len(aside) == 1 else 'runs are'} quarantined: see `plimsoll runs list --status quarantined`"
        console().print(spelled(told), style="yellow", soft_wrap=True)


@app.command()
def signal(  # noqa: PLR0913, PLR0917 - one parameter per option of the command
    run: Annotated[str, typer.Argument(metavar="RUN", help="Its id", show_default=False)],
    good: Annotated[bool | None, typer.Option("--good/--bad", help="Your verdict", show_default=False)] = None,
    score: Annotated[float | None, typer.Option("--score", help="From 0 to 1", min=0.0, max=1.0, show_default=False)] = None,
    category: Annotated[str, typer.Option("--category", help="The right category of its failure")] = "",
    correct: Annotated[str, typer.Option("--correct", metavar="FILE|-", help="The answer that would have been right; text or JSON")] = "",
    outcome: Annotated[Ended | None, typer.Option("--outcome", help="How the workflow ended", show_default=False)] = None,
    comment: Annotated[str, typer.Option("--comment", help="Why")] = "",
    operation: Annotated[str, typer.Option("--operation", help="One operation of the run instead of all of it")] = "",
    key: Annotated[str, typer.Option("--key", help="Your own key: the same key again is the same signal")] = "",
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Say how good a run was."""
    named: list[SignalValue] = []
    if good is not None:
        named.append(Verdict(good))
    if score is not None:
        named.append(Score(score))
    if category:
        named.append(Label(category_named(category)))
    if correct:
        named.append(_demonstration(correct))
    if outcome is not None:
        named.append(Outcome(outcome is Ended.SUCCESS))
    value = chosen(named, comment)
    recorded = on_mesh(data, lambda mesh: mesh.feedback.signal(run, value, operation_id=operation, comment=comment, key=key))
    if as_json:
        print_json(recorded)
    else:
        console().print(f"{recorded.id} is recorded for run {recorded.run_id}.")


@app.command()
def version(as_json: AsJson = False) -> None:
    """Print the version."""
    found = {"plimsoll": version_of("plimsoll-client"), "python": platform.python_version()}
    if as_json:
        print_json(found)
    else:
        typer.echo(f"plimsoll {found['plimsoll']} (Python {found['python']})")


async def _failures(mesh: "Mesh", agent: str, after: datetime) -> "tuple[FailureReport, list[Run]]":
    report = await mesh.feedback.failures(agent=agent, after=after)
    return report, await mesh.runs.list(agent=agent, status=RunStatus.QUARANTINED, limit=_ASIDE_MOST)


def chosen(named: Sequence[SignalValue], comment: str) -> SignalValue:
    """The one signal that the options give; only a comment is a remark. Raises BadInput for none and for several."""
    if len(named) == 1:
        return named[0]
    if not named and comment:
        return Remark()
    problem = "several signals at once" if named else "no signal"
    raise BadInput(problem, remedy="Give one of --good, --bad, --score, --category, --correct, --outcome, or only a --comment")


def category_named(word: str) -> "Category":
    """The category of this name. Raises BadInput, with all names, for none."""
    from plimsoll_runtime.failures import Category  # noqa: PLC0415 - it loads protobuf, which no other path here needs

    try:
        return Category(word)
    except ValueError as error:
        raise BadInput(problems=(FieldProblem("--category", f"{word!r} is none", f"Use one of {', '.join(Category)}"),)) from error


def _demonstration(path: str) -> Demonstration:
    text = text_of(read_given(path))
    try:
        return Demonstration(orjson.loads(text))
    except orjson.JSONDecodeError:
        return Demonstration(text)


def _print_failures(report: "FailureReport", hours: float) -> None:
    rows = ((str(c.category), str(c.count), when(c.last_at), ", ".join(c.reasons)) for c in report.counts)
    if report.counts:
        print_table(table(("category", "count", "last", "most frequent reasons"), rows, right=("count",)))
    failed = sum(count.count for count in report.counts)
    error_console().print(f"{failed} failures in {report.operations} operations of the last {hours:g} h", style="dim")
