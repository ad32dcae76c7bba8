"""`plimsoll prompts versions | move | override | rollback | moves`: versions of prompts, models and routes, and the labels that point at them."""

from typing import Annotated

import typer

from plimsoll_client.cli.evaluations import Subject
from plimsoll_client.cli.options import AsJson, Data, Limit
from plimsoll_client.cli.output import console, print_json, print_list, table, visible, when
from plimsoll_client.cli.session import on_mesh
from plimsoll_client.labels import EntryKind, LabelMove, Moved

Name = Annotated[str, typer.Argument(metavar="NAME", help="Of the prompt, model or route", show_default=False)]
AnyName = Annotated[str, typer.Argument(metavar="[NAME]", help="[default: all]", show_default=False)]
Of = Annotated[Subject, typer.Option("--of", help="What NAME is")]
Label = Annotated[str, typer.Option("--label", help="The label")]
To = Annotated[str, typer.Option("--to", metavar="DIGEST", help="As `plimsoll prompts versions` shows it", show_default=False)]


def list_versions(name: AnyName = "", of: Of = Subject.PROMPT, limit: Limit = 50, data: Data = None, as_json: AsJson = False) -> None:
    """List the versions of a prompt, model or route with their digests, newest first; without a name, the newest of each."""
    found = on_mesh(data, lambda mesh: mesh.labels.versions(EntryKind(of.value), name, limit=limit))
    rows = ((one.name, str(one.version), ", ".join(one.labels), when(one.created_at), one.created_by, one.digest) for one in found)
    made = table(("name", "version", "labels", "registered", "by", "digest"), rows, right=("version",))
    print_list(found, made, as_json=as_json, empty="There are none.")


def move_label(
    name: Name,
    to: To,
    label: Label = "production",
    report: Annotated[
        str, typer.Option("--report", metavar="DIGEST", help="Of a passed evaluation; a protected label needs it", show_default=False)
    ] = "",
    of: Of = Subject.PROMPT,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Point a label at a version. A protected one moves only with the report of a passed evaluation."""
    done = on_mesh(data, lambda mesh: mesh.labels.move(EntryKind(of.value), name, label, to, report_digest=report))
    _print_moved(name, label, done, as_json=as_json)


def override_label(
    name: Name,
    to: To,
    reason: Annotated[str, typer.Option("--reason", help="Why, for those who read the record", show_default=False)],
    label: Label = "production",
    of: Of = Subject.PROMPT,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Point a protected label at a version without a report: for administrators; who did so, and why, is recorded."""
    done = on_mesh(data, lambda mesh: mesh.labels.override(EntryKind(of.value), name, label, to, reason=reason))
    _print_moved(name, label, done, as_json=as_json)


def roll_back_label(
    name: Name,
    label: Label = "production",
    reason: Annotated[str, typer.Option("--reason", help="For those who read the record")] = "",
    of: Of = Subject.PROMPT,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Point a label back at the version that it had pointed at before."""
    move = on_mesh(data, lambda mesh: mesh.labels.roll_back(EntryKind(of.value), name, label, reason=reason))
    if as_json:
        print_json(move)
    else:
        _print_move(move)


def list_moves(name: AnyName = "", of: Of = Subject.PROMPT, limit: Limit = 50, data: Data = None, as_json: AsJson = False) -> None:
    """List how labels moved, by whom and on what grounds, newest first."""
    found = on_mesh(data, lambda mesh: mesh.labels.moves(EntryKind(of.value), name, limit=limit))
    rows = (
        (
            when(one.moved_at),
            one.name,
            one.label,
            f"{one.from_version or '-'} to {one.to_version}",
            str(one.grounds),
            one.moved_by,
            one.reason,
        )
        for one in found
    )
    made = table(("when", "name", "label", "versions", "grounds", "by", "why"), rows)
    print_list(found, made, as_json=as_json, empty="No label moved yet.")


def _print_moved(name: str, label: str, done: Moved, *, as_json: bool) -> None:
    if as_json:
        print_json(done)
    elif done.moved:
        _print_move(done.move)
    else:
        console().print(visible(f"{name}: {label} was there already"), soft_wrap=True)


def _print_move(move: LabelMove) -> None:
    told = f"{move.name}: {move.label} points at version {move.to_version}"
    before = f", before at {move.from_version}" if move.from_version else ""
    console().print(visible(f"{told}{before} ({move.grounds})"), soft_wrap=True)
