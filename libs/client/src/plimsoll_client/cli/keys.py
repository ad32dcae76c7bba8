"""`plimsoll keys`, `plimsoll usage`, `plimsoll whoami`: who may ask, who asks, and how much."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from plimsoll_client.cli.options import AsJson, Data
from plimsoll_client.cli.output import console, error_console, print_json, print_list, table, visible, when
from plimsoll_client.cli.session import on_mesh
from plimsoll_client.keys import ApiKey, BudgetUse, NewApiKey

app = typer.Typer()
group = typer.Typer(help="API keys: make, list, rotate, revoke.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(group, name="keys")

KeyId = Annotated[str, typer.Argument(metavar="KEY", help="As `plimsoll keys list` shows it: key_…", show_default=False)]


@group.command()
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the key is for; records name it", show_default=False)],
    scopes: Annotated[
        str, typer.Option("--scopes", help="Roles (viewer, operator, admin) or scopes, with commas between them", show_default=False)
    ],
    days: Annotated[int, typer.Option("--days", help="Days that it works [default: for ever]", show_default=False)] = 0,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and print it, once."""
    expires_at = datetime.now(UTC) + timedelta(days=days) if days else None
    wanted = tuple(word.strip() for word in scopes.split(",") if word.strip())
    _print_new(on_mesh(data, lambda mesh: mesh.keys.create(name, wanted, expires_at)), as_json=as_json)


@group.command("list")
def list_keys(data: Data = None, as_json: AsJson = False) -> None:
    """List the tenant's keys, revoked and expired ones too."""
    found = on_mesh(data, lambda mesh: mesh.keys.list())
    rows = ((key.key_id, key.name, _state(key), when(key.last_used_at), key.created_by, " ".join(key.scopes)) for key in found)
    print_list(found, table(("key", "name", "state", "last used", "made by", "scopes"), rows), as_json=as_json, empty="There are no keys.")


@group.command()
def rotate(
    key_id: KeyId,
    overlap: Annotated[
        float | None, typer.Option("--overlap", metavar="HOURS", help="How long the old key works on [default: 24]", show_default=False)
    ] = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Make a successor of a key and print it, once."""
    overlap_s = None if overlap is None else overlap * 3600
    _print_new(on_mesh(data, lambda mesh: mesh.keys.rotate(key_id, overlap_s)), as_json=as_json)


@group.command()
def revoke(key_id: KeyId, data: Data = None, as_json: AsJson = False) -> None:
    """Take a key back; it stops working within five seconds."""
    revoked = on_mesh(data, lambda mesh: mesh.keys.revoke(key_id))
    if as_json:
        print_json(revoked)
    else:
        console().print(f"{visible(revoked.key_id)}: {_state(revoked)}", soft_wrap=True)


@app.command()
def usage(
    days: Annotated[int, typer.Option("--days", help="Days back from today")] = 30, data: Data = None, as_json: AsJson = False
) -> None:
    """Show how much was asked, by key and day, and what is spent of the budgets."""
    told = on_mesh(data, lambda mesh: mesh.keys.usage(days))
    if as_json:
        print_json(told)
        return
    rows = ((one.day, one.key_id, one.name, str(one.requests), str(one.refused)) for one in told.keys)
    print_list(
        list(told.keys), table(("day", "key", "name", "requests", "over a limit"), rows), as_json=False, empty="Nothing was asked yet."
    )
    if told.budgets:
        spent = ((one.scope, one.subject, one.period, _of(one.spent_tokens, one.max_tokens), _money(one)) for one in told.budgets)
        console().print(table(("budget", "of", "period", "tokens", "dollars"), spent))


@app.command()
def whoami(data: Data = None, as_json: AsJson = False) -> None:
    """Show who you are to the gateway, and what you may do."""
    caller = on_mesh(data, lambda mesh: mesh.keys.caller())
    if as_json:
        print_json(caller)
        return
    console().print(f"{visible(caller.name)} ({visible(caller.key_id)}) of {visible(caller.tenant)}", style="bold", soft_wrap=True)
    console().print(visible(" ".join(caller.scopes)), soft_wrap=True)


def _print_new(new: NewApiKey, *, as_json: bool) -> None:
    if as_json:
        print_json(new)
        return
    console().print(visible(new.text), soft_wrap=True)
    error_console().print(f"{visible(new.key.key_id)}: {_state(new.key)}. This is the only time that the key is shown.", soft_wrap=True)


def _state(key: ApiKey) -> str:
    if key.revoked_at is not None:
        return f"revoked {when(key.revoked_at)}"
    if key.expires_at is None:
        return "good"
    return f"{'expired' if key.expires_at <= datetime.now(UTC) else 'expires'} {when(key.expires_at)}"


def _of(spent: int, cap: int) -> str:
    return f"{spent:,} of {cap:,}" if cap else f"{spent:,}"


def _money(one: BudgetUse) -> str:
    spent, cap = one.spent_cost_micros / 1e6, one.max_cost_micros / 1e6
    return f"{spent:.4f} of {cap:.2f}" if cap else f"{spent:.4f}"
