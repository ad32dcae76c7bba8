"""The root command: ours, and those that other distributions contribute through the entry points `plimsoll.commands`."""

import os
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import cast

import typer
from plimsoll_runtime.errors import PlimsollError, unwrap

from plimsoll_client.cli import (
    alerts,
    approvals,
    audit_log,
    catalog,
    datasets,
    doctor,
    evaluations,
    feedback,
    keys,
    memory,
    running,
    runs,
    schedules,
    signals,
    threads,
    traces,
    webhooks,
)
from plimsoll_client.cli.exits import Exit, as_problem, exit_code, explained, identified
from plimsoll_client.cli.output import error_console, print_json, visible
from plimsoll_client.cli.program import spelled

GROUP = "plimsoll.commands"
_OURS = (
    running.app,
    runs.app,
    threads.app,
    approvals.app,
    schedules.app,
    webhooks.app,
    catalog.app,
    memory.app,
    feedback.app,
    signals.app,
    traces.app,
    alerts.app,
    datasets.app,
    evaluations.app,
    keys.app,
    audit_log.app,
    doctor.app,
)
_COMPLETING = "_PLIMSOLL_COMPLETE"


def main() -> None:
    """Run the command line and exit."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its own notes about connections are not for our users
    sys.exit(invoke(sys.argv[1:], os.environ))


def invoke(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run one command line; the exit code says how it ended, and standard error why."""
    app = root()
    if not _is_ours(argv) or _COMPLETING in environ:
        for entry in entry_points(group=GROUP):
            _contribute(app, entry)
    try:
        app(args=list(argv), prog_name="plimsoll")
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else Exit.DONE
    except (PlimsollError, BaseExceptionGroup) as error:
        return _report(error, as_json="--json" in argv)
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.OTHER
    return Exit.DONE


def root() -> typer.Typer:
    """Our own commands. Plain help: the boxed one takes 0.3 s longer to print."""
    app = typer.Typer(
        name="plimsoll",
        help=spelled("Run AI agents on a Plimsoll mesh. Begin with `plimsoll up --agents DIR`, or `plimsoll demo`."),
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for ours in _OURS:
        app.add_typer(ours)
    return app


def _is_ours(argv: Sequence[str]) -> bool:
    """Whether the first word names a command of ours: then nobody else's code needs loading."""
    named = {group.name for ours in _OURS for group in ours.registered_groups}
    called = {command.name or command.callback.__name__ for ours in _OURS for command in ours.registered_commands if command.callback}
    return bool(argv) and argv[0] in named | called


def _contribute(app: typer.Typer, entry: EntryPoint) -> None:
    """Add a distribution's commands; one that cannot be loaded must not take the others with it."""
    try:
        app.add_typer(cast("typer.Typer", entry.load()))
    except (ImportError, AttributeError) as error:
        error_console().print(f"plimsoll: the commands of {entry.value} cannot be loaded: {error}")


def _report(error: BaseException, *, as_json: bool) -> int:
    leaf = unwrap(error)
    if not isinstance(leaf, PlimsollError):
        raise error
    if as_json:
        print_json(as_problem(leaf))
    out = error_console()
    for index, line in enumerate(explained(leaf)):
        told = visible(spelled(line))
        out.print(f"plimsoll: {told}" if index == 0 else told, soft_wrap=True, style="red" if index == 0 else None)
    out.print(visible(identified(leaf)), soft_wrap=True, style="dim")
    return exit_code(leaf)
