"""`plimsoll alerts` and `plimsoll monitors`: whether things are as they were."""

from enum import StrEnum
from typing import Annotated

import typer

from plimsoll_client.cli.options import AsJson, Data, Limit
from plimsoll_client.cli.output import console, print_json, print_list, table, visible, when
from plimsoll_client.cli.session import on_mesh
from plimsoll_client.monitors import Alert, AlertStatus

app = typer.Typer()
alerts = typer.Typer(help="What left its baseline: list, acknowledge, resolve.", no_args_is_help=True, rich_markup_mode=None)
monitors = typer.Typer(help="What is watched, and against which baseline.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(alerts, name="alerts")
app.add_typer(monitors, name="monitors")

AlertId = Annotated[str, typer.Argument(metavar="ALERT", help="Its id, as `plimsoll alerts list` shows it", show_default=False)]
Subject = Annotated[str, typer.Option("--of", metavar="NAME", help="Only of this agent, prompt or collection")]
Comment = Annotated[str, typer.Option("--comment", help="Why, for those who read it later")]


class Standing(StrEnum):
    """The words that --status takes."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"


@alerts.command("list")
def list_alerts(
    status: Annotated[Standing | None, typer.Option("--status", help="How far people are with it", show_default=False)] = None,
    subject: Subject = "",
    limit: Limit = 50,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """List alerts, newest first."""
    wanted = AlertStatus(status.value) if status else None
    found = on_mesh(data, lambda mesh: mesh.alerts.list(subject=subject, status=wanted, limit=limit))
    rows = ((alert.id, str(alert.status), when(alert.raised_at), f"{alert.subject_kind} {alert.subject}", alert.summary) for alert in found)
    print_list(found, table(("alert", "status", "raised", "of", "what"), rows), as_json=as_json, empty="There are no alerts.")


@alerts.command()
def acknowledge(alert: AlertId, comment: Comment = "", data: Data = None, as_json: AsJson = False) -> None:
    """Say that somebody looks into it."""
    _print_settled(on_mesh(data, lambda mesh: mesh.alerts.acknowledge(alert, comment=comment)), as_json=as_json)


@alerts.command()
def resolve(alert: AlertId, comment: Comment = "", data: Data = None, as_json: AsJson = False) -> None:
    """Say that it is settled; the monitor watches on from here."""
    _print_settled(on_mesh(data, lambda mesh: mesh.alerts.resolve(alert, comment=comment)), as_json=as_json)


@monitors.command("list")
def list_monitors(subject: Subject = "", limit: Limit = 100, data: Data = None, as_json: AsJson = False) -> None:
    """List what is watched, with its baseline and what it is now."""
    found = on_mesh(data, lambda mesh: mesh.monitors.list(subject=subject, limit=limit))
    rows = (
        (
            monitor.id,
            str(monitor.phase),
            " ".join(filter(None, (monitor.measure, monitor.category))),
            f"{monitor.baseline_mean:.3f} of {monitor.baseline_size}",
            f"{monitor.live_mean:.3f} of {monitor.live_size}",
            f"{monitor.evidence:.3g} / {1 / monitor.alpha:.3g}" if monitor.alpha else "-",
            " ".join(filter(None, (monitor.subject_kind, monitor.subject, monitor.version[:12]))),
        )
        for monitor in found
    )
    made = table(("monitor", "phase", "measure", "baseline", "now", "evidence", "of"), rows)
    print_list(found, made, as_json=as_json, empty="Nothing is watched yet: monitors begin with the first runs.")


@monitors.command()
def reset(
    monitor: Annotated[str, typer.Argument(metavar="MONITOR", help="Its id, as `plimsoll monitors list` shows it", show_default=False)],
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Forget a baseline: what comes next is the new normal."""
    told = on_mesh(data, lambda mesh: mesh.monitors.reset(monitor))
    if as_json:
        print_json(told)
    else:
        console().print(visible(f"{told.id}: {told.phase}"), soft_wrap=True)


def _print_settled(alert: Alert, *, as_json: bool) -> None:
    if as_json:
        print_json(alert)
    else:
        console().print(visible(f"{alert.id}: {alert.status} by {alert.settled_by or '-'}"), soft_wrap=True)
