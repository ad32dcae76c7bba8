"""`plimsoll webhooks`: who outside is told that runs finished, and what became of the telling."""

from enum import StrEnum
from typing import Annotated

import typer

from plimsoll_client.cli.options import AsJson, Data, Limit
from plimsoll_client.cli.output import console, error_console, one_line, print_json, print_list, table, visible, when
from plimsoll_client.cli.session import on_mesh
from plimsoll_client.models import RunStatus
from plimsoll_client.webhooks import DeliveryStatus, WebhookDraft

app = typer.Typer()
group = typer.Typer(help="Tell programs outside that runs finished.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(group, name="webhooks")

Name = Annotated[str, typer.Argument(metavar="NAME", help="The webhook's name", show_default=False)]


class Ending(StrEnum):
    """The words that --on takes."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Sent(StrEnum):
    """The words that --status takes."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"


@group.command()
def put(
    name: Name,
    url: Annotated[str, typer.Option("--url", help="Where to send; https", show_default=False)],
    agent: Annotated[str, typer.Option("--agent", help="Only runs of this agent")] = "",
    on: Annotated[
        list[Ending] | None, typer.Option("--on", help="Only runs that end like this; may be repeated", show_default=False)
    ] = None,
    disabled: Annotated[bool, typer.Option("--disabled", help="Keep it, and send nothing")] = False,
    rotate: Annotated[bool, typer.Option("--rotate", help="A new secret; the old one signs as well for a day")] = False,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Create a webhook, or change the one of this name to this. A secret made just now is printed, this once."""
    statuses = tuple(RunStatus(ending.value) for ending in on or ())
    draft = WebhookDraft(name=name, url=url, agent=agent, statuses=statuses, disabled=disabled)
    saved = on_mesh(data, lambda mesh: mesh.webhooks.put(draft, rotate=rotate))
    if as_json:
        print_json(saved)
        return
    notes = error_console()
    notes.print(f"{visible(saved.webhook.name)} sends to {visible(saved.webhook.draft.url)}", soft_wrap=True)
    if saved.secret:
        console().print(saved.secret, soft_wrap=True)
        notes.print("Check signatures with this secret (Standard Webhooks). It is shown this once.", soft_wrap=True)


@group.command("list")
def list_webhooks(limit: Limit = 100, data: Data = None, as_json: AsJson = False) -> None:
    """List webhooks."""
    found = on_mesh(data, lambda mesh: mesh.webhooks.list(limit=limit))
    rows = (
        (w.name, w.draft.agent or "all", ", ".join(w.draft.statuses) or "all", "disabled" if w.draft.disabled else "on", w.draft.url)
        for w in found
    )
    made = table(("webhook", "agents", "endings", "is", "sends to"), rows)
    print_list(found, made, as_json=as_json, empty="There are no webhooks. Make one with `plimsoll webhooks put`.")


@group.command()
def delete(name: Name, data: Data = None) -> None:
    """Delete a webhook, and what it had still to deliver."""
    on_mesh(data, lambda mesh: mesh.webhooks.delete(name))
    error_console().print(f"{visible(name)} is deleted.", soft_wrap=True)


@group.command()
def deliveries(
    webhook: Annotated[str, typer.Option("--webhook", help="Only to this webhook")] = "",
    run: Annotated[str, typer.Option("--run", help="Only about this run")] = "",
    status: Annotated[Sent | None, typer.Option("--status", help="dead: those that every try of failed", show_default=False)] = None,
    limit: Limit = 50,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """List what was sent, newest first."""
    wanted = DeliveryStatus(status.value) if status else None
    found = on_mesh(data, lambda mesh: mesh.webhooks.deliveries(webhook=webhook, run_id=run, status=wanted, limit=limit))
    rows = (
        (d.id, d.webhook, d.run_id, d.status, str(d.attempts), when(d.delivered_at or d.next_at), one_line(d.last_result)) for d in found
    )
    made = table(("delivery", "webhook", "run", "status", "tries", "delivered or next", "the last came to"), rows, right=("tries",))
    print_list(list(found), made, as_json=as_json, empty="Nothing was sent.")


@group.command()
def replay(
    delivery: Annotated[str, typer.Argument(metavar="DELIVERY", help="As `plimsoll webhooks deliveries` shows it", show_default=False)],
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Send a delivery once more, under the same id."""
    again = on_mesh(data, lambda mesh: mesh.webhooks.replay(delivery))
    if as_json:
        print_json(again)
    else:
        console().print(f"{again.id} is {again.status}.", soft_wrap=True)
