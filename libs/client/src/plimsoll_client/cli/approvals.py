"""`plimsoll approvals`: what runs ask people, and the answers."""

from typing import TYPE_CHECKING, Annotated

import typer
from plimsoll_runtime.errors import NotFound
from plimsoll_runtime.json_types import parse_object

from plimsoll_client.cli.options import AsJson, Data, Limit
from plimsoll_client.cli.output import as_json_line, console, one_line, pretty, print_json, print_list, table, visible, when
from plimsoll_client.cli.session import on_mesh
from plimsoll_client.models import Approval, ApprovalStatus

if TYPE_CHECKING:
    from rich.console import Console

app = typer.Typer()
group = typer.Typer(help="What runs ask people, and the answers.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(group, name="approvals")

Id = Annotated[str, typer.Argument(metavar="APPROVAL", help="Its id, as `plimsoll approvals list` shows it", show_default=False)]
Comment = Annotated[str, typer.Option("--comment", help="Why; kept with the decision")]


@group.command("list")
def list_approvals(
    every: Annotated[bool, typer.Option("--all", help="Also those that are decided")] = False,
    run: Annotated[str, typer.Option("--run", help="Only those of this run")] = "",
    limit: Limit = 50,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """List pending approvals, oldest first."""
    status = None if every else ApprovalStatus.PENDING
    found = on_mesh(data, lambda mesh: mesh.approvals.list(status=status, run_id=run, limit=limit))
    rows = ((a.id, a.status, f"{len(a.approved_by)}/{a.quorum}", a.run_id, a.agent, a.node, when(a.asked_at), call_line(a)) for a in found)
    made = table(("approval", "status", "yes", "run", "agent", "node", "asked", "would execute"), rows)
    print_list(found, made, as_json=as_json, empty="Nothing waits for an approval.")


@group.command()
def show(approval: Id, data: Data = None, as_json: AsJson = False) -> None:
    """Show exactly what would execute."""
    found = on_mesh(data, lambda mesh: mesh.approvals.list(status=None, limit=10_000))
    chosen = next((each for each in found if each.id == approval), None)
    if chosen is None:
        raise NotFound(f"there is no approval {approval}", reason="APPROVAL_NOT_FOUND", remedy="See `plimsoll approvals list --all`")
    if as_json:
        print_json(chosen)
    else:
        print_question(console(), chosen)


@group.command()
def approve(approval: Id, comment: Comment = "", data: Data = None, as_json: AsJson = False) -> None:
    """Let exactly the proposed call execute, once, as soon as enough people have."""
    _print_decided(on_mesh(data, lambda mesh: mesh.approvals.approve(approval, comment=comment)), as_json=as_json)


@group.command()
def reject(approval: Id, comment: Comment = "", data: Data = None, as_json: AsJson = False) -> None:
    """Refuse the proposed call, or take back an approval of yours that is not used yet; the run goes on by its route for that."""
    _print_decided(on_mesh(data, lambda mesh: mesh.approvals.reject(approval, comment=comment)), as_json=as_json)


@group.command()
def edit(
    approval: Id,
    arguments: Annotated[str, typer.Option("--arguments", help="All arguments of the call, as a JSON object")],
    comment: Comment = "",
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Refuse the proposed call as it is; the run asks anew about it with these arguments."""
    instead = parse_object(arguments, field="--arguments")
    _print_decided(on_mesh(data, lambda mesh: mesh.approvals.propose(approval, instead, comment=comment)), as_json=as_json)


def call_line(approval: Approval) -> str:
    """What would execute, on one line."""
    if approval.proposal is None:
        return one_line(approval.summary)
    return one_line(f"{approval.proposal.tool} {as_json_line(approval.proposal.arguments)}")


def approvers(approval: Approval) -> str:
    """How many have approved, who, and who may not."""
    names = f" ({', '.join(approval.approved_by)})" if approval.approved_by else ""
    without = ", none of them who asked for the run" if approval.proposal is not None and approval.proposal.four_eyes else ""
    return f"by {len(approval.approved_by)} of {approval.quorum}{names}{without}"


def print_question(out: "Console", approval: Approval, *, most_lines: int | None = None) -> None:
    """Everything that a person needs to decide: who asks, why, and exactly what would execute. `most_lines` is for those who only look on."""
    out.print(f"{approval.agent} asks for approval {approval.id} ({approval.status})", style="bold")
    facts = [("run", approval.run_id), ("node", approval.node), ("asked", when(approval.asked_at)), ("expires", when(approval.expires_at))]
    if approval.summary:
        facts.append(("summary", approval.summary))
    if approval.proposal is not None and approval.proposal.message:
        facts.append(("why", approval.proposal.message))
    if approval.quorum > 1 or (approval.proposal is not None and approval.proposal.four_eyes):
        facts.append(("approved", approvers(approval)))
    if approval.decided_at is not None:
        facts.append(("decided", f"{when(approval.decided_at)} by {approval.decided_by} {approval.comment}".rstrip()))
    for name, value in facts:
        out.print(f"  {name:<10} {visible(value)}", soft_wrap=True)
    call = approval.proposal
    if approval.details not in (None, {}) and not (call and approval.details == {"tool": call.tool, "arguments": call.arguments}):
        out.print("  details")
        _print_indented(out, pretty(approval.details), most_lines)
    if call is not None:
        out.print(f"  would execute {visible(call.tool)} with exactly", style="bold")
        _print_indented(out, pretty(call.arguments), most_lines)


def _print_indented(out: "Console", text: str, most_lines: int | None) -> None:
    lines = text.splitlines()
    for line in lines[:most_lines]:
        out.print(f"    {line}", soft_wrap=True)
    if most_lines is not None and len(lines) > most_lines:
        out.print(f"    … {len(lines) - most_lines} more lines", style="dim")


def _print_decided(decided: Approval, *, as_json: bool) -> None:
    if as_json:
        print_json(decided)
    elif decided.status is ApprovalStatus.PENDING:
        console().print(f"{decided.id} is approved {visible(approvers(decided))}; run {decided.run_id} waits for more people.")
    else:
        console().print(f"{decided.id} is {decided.status}. What its run makes of it: plimsoll watch {decided.run_id}", soft_wrap=True)
