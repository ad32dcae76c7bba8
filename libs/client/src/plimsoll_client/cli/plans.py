"""`plimsoll improve plan | plans`: how prompts are improved, and when."""

from typing import Annotated

import typer

from plimsoll_client.cli.options import AsJson, Data
from plimsoll_client.cli.output import console, print_json, print_list, seconds, table, visible
from plimsoll_client.cli.session import on_mesh
from plimsoll_client.learning import ImprovementPlan


def plan(  # noqa: PLR0913, PLR0917 - one parameter per option of the command
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="Its name", show_default=False)],
    dataset: Annotated[str, typer.Option("--dataset", help="To learn from", show_default=False)],
    every_hours: Annotated[
        float | None, typer.Option("--every-hours", help="How often by itself [default: only by command]", min=0, show_default=False)
    ] = None,
    on_alert: Annotated[bool, typer.Option("--on-alert", help="Also while an alert about the prompt is open")] = False,
    label: Annotated[str, typer.Option("--label", help="That is moved [default: production]", show_default=False)] = "",
    new_examples: Annotated[
        int, typer.Option("--new-examples", help="That a try by itself needs [default: 20]", min=0, show_default=False)
    ] = 0,
    reflect: Annotated[
        str, typer.Option("--reflect", metavar="NAME@LABEL", help="Prompt by which a model rewrites instructions", show_default=False)
    ] = "",
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Set how a prompt is improved, and when."""
    wanted = ImprovementPlan(
        prompt=prompt,
        dataset=dataset,
        label=label,
        every_s=None if every_hours is None else every_hours * 3600,
        on_alert=on_alert,
        minimum_new_examples=new_examples,
        reflection_prompt=reflect,
    )
    kept = on_mesh(data, lambda mesh: mesh.improvements.put_plan(wanted))
    if as_json:
        print_json(kept)
    else:
        console().print(visible(f"{kept.prompt} from {kept.dataset}, {_when(kept)}"), soft_wrap=True)


def plans(data: Data = None, as_json: AsJson = False) -> None:
    """List how prompts are improved, and when."""
    found = on_mesh(data, lambda mesh: mesh.improvements.plans())
    rows = ((one.prompt, one.dataset, one.label, _when(one), one.reflection_prompt) for one in found)
    made = table(("prompt", "dataset", "label", "when", "reflects by"), rows)
    print_list(found, made, as_json=as_json, empty="There are no plans.")


def _when(one: ImprovementPlan) -> str:
    ways = [f"every {seconds(one.every_s)}"] if one.every_s is not None else []
    return " and ".join([*ways, *(["on alerts"] if one.on_alert else [])]) or "by command"
