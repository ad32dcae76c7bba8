"""`plimsoll dataset`: datasets that build themselves, and the right answers that people give."""

from typing import Annotated

import orjson
import typer
from plimsoll_runtime.errors import FieldProblem

from plimsoll_client.cli.examples import delete_example, disputed, examples, export, select
from plimsoll_client.cli.feedback import category_named
from plimsoll_client.cli.options import AsJson, Data, Limit
from plimsoll_client.cli.output import console, pretty, print_json, print_list, table, visible, when
from plimsoll_client.cli.session import on_mesh
from plimsoll_client.errors import BadInput
from plimsoll_client.files import read_given, text_of
from plimsoll_client.learning import Dataset, DatasetDraft, Failing, LowConfidence, Sampled, SelectionRule, Trigger

app = typer.Typer()
group = typer.Typer(help="Datasets that build themselves from production.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(group, name="dataset")
for command, verb in (
    ("select", select),
    ("disputed", disputed),
    ("examples", examples),
    ("delete-example", delete_example),
    ("export", export),
):
    group.command(command)(verb)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The dataset's name", show_default=False)]


@group.command()
def put(  # noqa: PLR0913, PLR0917 - one parameter per option of the command
    name: Name,
    prompt: Annotated[str, typer.Option("--prompt", help="Whose calls are looked at", show_default=False)],
    rule: Annotated[
        list[str],
        typer.Option(
            "--rule",
            help="correction, human_override, downstream_failure, disagreement, low_confidence=0.6, sample=0.01, category=timeout; several",
            show_default=False,
        ),
    ],
    agent: Annotated[str, typer.Option("--agent", help="Only its calls")] = "",
    agreement: Annotated[
        int, typer.Option("--agreement", help="Equal answers that make an example [default: 1]", min=0, show_default=False)
    ] = 0,
    label_field: Annotated[str, typer.Option("--label-field", help="Field of the right answer that sorts examples into slices")] = "",
    description: Annotated[str, typer.Option("--description", help="For people")] = "",
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Make a dataset, or change the rules of the one of this name; its examples stay."""
    draft = DatasetDraft(
        name=name,
        prompt=prompt,
        rules=tuple(map(rule_named, rule)),
        agent=agent,
        agreement=agreement,
        label_field=label_field,
        description=description,
    )
    _print(on_mesh(data, lambda mesh: mesh.datasets.put(draft)), as_json=as_json)


@group.command("list")
def list_datasets(data: Data = None, as_json: AsJson = False) -> None:
    """List the datasets."""
    found = on_mesh(data, lambda mesh: mesh.datasets.list())
    numbers = ("version", "training", "held out", "pending", "disputed")
    rows = (
        (
            one.name,
            one.prompt,
            *(str(number) for number in (one.version, one.training_examples, one.held_out_examples, one.pending, one.disputed)),
            ", ".join(one.rules),
        )
        for one in found
    )
    print_list(found, table(("dataset", "prompt", *numbers, "rules"), rows, right=numbers), as_json=as_json, empty="There are no datasets.")


@group.command()
def show(name: Name, data: Data = None, as_json: AsJson = False) -> None:
    """Show a dataset with its counts."""
    _print(on_mesh(data, lambda mesh: mesh.datasets.get(name)), as_json=as_json)


@group.command()
def claim(name: Name, limit: Limit = 10, data: Data = None, as_json: AsJson = False) -> None:
    """Take items to annotate; for a quarter of an hour nobody else gets them."""
    found = on_mesh(data, lambda mesh: mesh.datasets.claim(name, limit=limit))
    rows = (
        (
            item.id,
            when(item.claimed_until),
            ", ".join(item.reasons),
            " ".join(pretty(item.answer).split()),
            " ".join(pretty(item.input).split()),
        )
        for item in found
    )
    made = table(("item", "yours until", "why", "answered", "asked"), rows)
    print_list(found, made, as_json=as_json, empty="Nothing waits for annotators.")


@group.command()
def annotate(
    item: Annotated[str, typer.Argument(metavar="ITEM", help="As `plimsoll dataset claim` shows it", show_default=False)],
    answer: Annotated[str, typer.Option("--answer", help="The right answer: a text, or JSON", show_default=False)] = "",
    file: Annotated[str, typer.Option("--file", metavar="FILE|-", help="The right answer out of a file", show_default=False)] = "",
    discard: Annotated[bool, typer.Option("--discard", help="It is no example: dropped when as many say so as must agree")] = False,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Say what would have been right. Your key is your voice: however often it speaks, it counts once."""
    if sum(map(bool, (answer, file, discard))) != 1:
        raise BadInput("one answer is needed", remedy="Give one of --answer, --file, --discard")
    if discard:
        said = on_mesh(data, lambda mesh: mesh.datasets.discard(item))
    else:
        text = text_of(read_given(file)) if file else answer
        try:
            expected = orjson.loads(text)
        except orjson.JSONDecodeError:
            expected = text
        said = on_mesh(data, lambda mesh: mesh.datasets.annotate(item, expected))
    if as_json:
        print_json(said)
    else:
        console().print(visible(f"{item}: {said.state}{f', example {said.example_id}' if said.example_id else ''}"), soft_wrap=True)


def rule_named(text: str) -> SelectionRule:
    """The rule that a word such as `correction` or `sample=0.01` names. Raises BadInput for none."""
    word, _, value = text.partition("=")
    if word in set(Trigger) and not value:
        return Trigger(word)
    if word == "category":
        return Failing(category_named(value))
    try:
        share = float(value)
    except ValueError:
        share = -1.0
    if word not in {"low_confidence", "sample"} or not 0 <= share <= 1:
        known = f"{', '.join(Trigger)}, low_confidence=0.6, sample=0.01 or category=timeout"
        raise BadInput(problems=(FieldProblem("--rule", f"{text!r} is none", f"Use {known}; shares are from 0 to 1"),))
    return LowConfidence(share) if word == "low_confidence" else Sampled(share)


def _print(dataset: Dataset, *, as_json: bool) -> None:
    if as_json:
        print_json(dataset)
        return
    told = f"{dataset.name} (version {dataset.version}) from {dataset.prompt}: {', '.join(dataset.rules) or 'no rules'}"
    counts = f"{dataset.training_examples} for training, {dataset.held_out_examples} held out, {dataset.pending} wait, {dataset.disputed} disputed"
    console().print(visible(told), soft_wrap=True)
    console().print(counts, soft_wrap=True)
