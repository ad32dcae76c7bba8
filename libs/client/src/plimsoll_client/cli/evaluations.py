"""`plimsoll eval`, `plimsoll improve`, `plimsoll scoreboard`: versions compared, and made better."""

import sys
from enum import StrEnum
from typing import Annotated

import typer

from plimsoll_client.cli.options import AsJson, Data, Key, Limit
from plimsoll_client.cli.output import console, money, print_json, print_list, print_table, seconds, table, visible, when
from plimsoll_client.cli.plans import plan, plans
from plimsoll_client.cli.session import on_mesh
from plimsoll_client.learning import Evaluation, EvaluationSubject, Improvement, ReportFormat

app = typer.Typer()
evaluations = typer.Typer(help="Compare versions on what nothing learned from.", no_args_is_help=True, rich_markup_mode=None)
improvements = typer.Typer(help="Make prompts better from what people corrected.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(evaluations, name="eval")
app.add_typer(improvements, name="improve")
improvements.command("plan")(plan)
improvements.command("plans")(plans)


class Subject(StrEnum):
    """The words that --of takes."""

    PROMPT = "prompt"
    MODEL = "model"
    ROUTE = "route"


EvaluationId = Annotated[str, typer.Argument(metavar="EVALUATION", help="As `plimsoll eval list` shows it", show_default=False)]


@evaluations.command("start")
def start_evaluation(  # noqa: PLR0913, PLR0917 - one parameter per option of the command
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the prompt, model or route", show_default=False)],
    candidate: Annotated[str, typer.Option("--candidate", metavar="DIGEST", help="The version to judge", show_default=False)],
    dataset: Annotated[str, typer.Option("--dataset", help="Whose held-out part is asked", show_default=False)],
    subject: Annotated[Subject, typer.Option("--of", help="What NAME is")] = Subject.PROMPT,
    against: Annotated[str, typer.Option("--against", metavar="LABEL", help="[default: production]", show_default=False)] = "",
    scorer: Annotated[
        list[str] | None,
        typer.Option("--scorer", help="exact, similarity, schema, tool_choice or judge; the first decides", show_default=False),
    ] = None,
    key: Key = "",
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Start an evaluation; it goes on by itself."""
    kind, scorers = EvaluationSubject(subject.value), tuple(scorer or ())
    started = on_mesh(
        data, lambda mesh: mesh.evaluations.start(dataset, kind, name, candidate, baseline_label=against, scorers=scorers, key=key)
    )
    _print_evaluation(started, as_json=as_json)


@evaluations.command("show")
def show_evaluation(evaluation: EvaluationId, data: Data = None, as_json: AsJson = False) -> None:
    """Show how far an evaluation is, and what it found."""
    _print_evaluation(on_mesh(data, lambda mesh: mesh.evaluations.get(evaluation)), as_json=as_json)


@evaluations.command("list")
def list_evaluations(
    dataset: Annotated[str, typer.Option("--dataset", help="Only on this one")] = "",
    limit: Limit = 50,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """List evaluations, newest first."""
    found = on_mesh(data, lambda mesh: mesh.evaluations.list(dataset=dataset, limit=limit))
    rows = (
        (one.id, str(one.state), _verdict(one), when(one.created_at), f"{one.answered}/{one.wanted}", one.dataset, one.name)
        for one in found
    )
    made = table(("evaluation", "state", "verdict", "started", "answers", "dataset", "of"), rows, right=("answers",))
    print_list(found, made, as_json=as_json, empty="There are no evaluations.")


@evaluations.command("cancel")
def cancel_evaluation(evaluation: EvaluationId, data: Data = None, as_json: AsJson = False) -> None:
    """Stop an evaluation that has not ended."""
    cancelled = on_mesh(data, lambda mesh: mesh.evaluations.cancel(evaluation))
    if as_json:
        print_json({"cancelled": cancelled})
    else:
        console().print(visible(f"{evaluation}: {'cancelled' if cancelled else 'had ended'}"), soft_wrap=True)


@evaluations.command("propose-route")
def propose_route(
    task: Annotated[str, typer.Argument(metavar="TASK", help="As `plimsoll scoreboard` shows it", show_default=False)],
    dataset: Annotated[str, typer.Option("--dataset", help="Whose held-out part is asked", show_default=False)],
    tolerance: Annotated[
        float, typer.Option("--tolerance", help="Quality that a cheaper model may lack [default: 0.02]", min=0, max=1, show_default=False)
    ] = 0.0,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Register the route that the scoreboard suggests, and start its evaluation; no label moves."""
    told = on_mesh(data, lambda mesh: mesh.evaluations.propose_route(task, dataset, quality_tolerance=tolerance))
    if as_json:
        print_json(told)
        return
    console().print(visible(told.reason), soft_wrap=True)
    for title, text in (("route", told.route_digest), ("evaluation", told.evaluation_id)):
        if text:
            console().print(visible(f"{title} {text}"), soft_wrap=True)


@evaluations.command()
def report(
    digest: Annotated[str, typer.Argument(metavar="REPORT", help="Its digest, as `plimsoll eval show` tells it", show_default=False)],
    form: Annotated[ReportFormat, typer.Option("--format", help="How to print it")] = ReportFormat.TEXT,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Print a report: text, JSON, or a page that needs nothing from outside."""
    wanted = ReportFormat.JSON if as_json else form
    sys.stdout.write(on_mesh(data, lambda mesh: mesh.evaluations.report(digest, wanted)).rstrip("\n") + "\n")


@improvements.command("start")
def start_improvement(
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="Its name", show_default=False)],
    dataset: Annotated[str, typer.Option("--dataset", help="To learn from [default: that of its plan]", show_default=False)] = "",
    key: Key = "",
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Draft a better version of a prompt, evaluate it and ask for its promotion; it goes on by itself."""
    _print_improvement(on_mesh(data, lambda mesh: mesh.improvements.start(prompt, dataset=dataset, key=key)), as_json=as_json)


@improvements.command("show")
def show_improvement(
    improvement: Annotated[str, typer.Argument(metavar="IMPROVEMENT", help="As `plimsoll improve list` shows it", show_default=False)],
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Show how far an improvement is, and what became of it."""
    _print_improvement(on_mesh(data, lambda mesh: mesh.improvements.get(improvement)), as_json=as_json)


@improvements.command("list")
def list_improvements(
    prompt: Annotated[str, typer.Option("--prompt", help="Only of this one")] = "",
    limit: Limit = 50,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """List improvements, newest first."""
    found = on_mesh(data, lambda mesh: mesh.improvements.list(prompt=prompt, limit=limit))
    rows = ((one.id, str(one.state), when(one.created_at), one.prompt, one.dataset, one.reason) for one in found)
    made = table(("improvement", "state", "started", "prompt", "dataset", "what happened"), rows)
    print_list(found, made, as_json=as_json, empty="Nothing was improved yet.")


@app.command()
def scoreboard(
    task: Annotated[str, typer.Option("--task", help="Only for this kind of task")] = "", data: Data = None, as_json: AsJson = False
) -> None:
    """Tell how good, dear and fast the models are on what each kind of task was asked."""
    found = on_mesh(data, lambda mesh: mesh.evaluations.scoreboard(task))
    rows = (
        (
            one.task,
            f"{one.provider}/{one.model}",
            str(one.calls),
            "{:.3f} ({:.3f} to {:.3f})".format(*one.quality) if one.judged else "not judged",
            money(round(one.cost_micros[0])),
            seconds(one.latency_s[0]),
            f"{one.failed:.1%}",
        )
        for one in found
    )
    made = table(("task", "model", "calls", "quality", "cost", "median", "failed"), rows, right=("calls", "cost", "median", "failed"))
    print_list(found, made, as_json=as_json, empty="No model was called yet.")


def _verdict(evaluation: Evaluation) -> str:
    return str(evaluation.verdict) if evaluation.report_digest else "-"


def _print_evaluation(one: Evaluation, *, as_json: bool) -> None:
    if as_json:
        print_json(one)
        return
    rows = [("evaluation", one.id), ("state", f"{one.state}, {one.answered} of {one.wanted} answers"), ("of", f"{one.subject} {one.name}")]
    rows += [
        ("candidate", one.candidate_digest),
        ("against", one.baseline_digest),
        ("dataset", f"{one.dataset} version {one.dataset_version}"),
    ]
    rows += [("verdict", str(one.verdict)), ("report", one.report_digest)] if one.report_digest else []
    rows += [("problem", one.problem)] if one.problem else []
    print_table(table(("", ""), rows))


def _print_improvement(one: Improvement, *, as_json: bool) -> None:
    if as_json:
        print_json(one)
        return
    console().print(visible(f"{one.id}: {one.state}{f': {one.reason}' if one.reason else ''}"), soft_wrap=True)
    for title, text in (("candidate", one.candidate_digest), ("evaluation", one.evaluation_id), ("report", one.report_digest)):
        if text:
            console().print(visible(f"{title} {text}"), soft_wrap=True)
