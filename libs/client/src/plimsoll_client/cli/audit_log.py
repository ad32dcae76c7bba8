"""`plimsoll audit-log`: what people did, what was denied, and whether the record of it is as it was written."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

import typer

from plimsoll_client.audit import AuditedService, AuditVerdict
from plimsoll_client.cli.exits import Exit
from plimsoll_client.cli.options import AsJson, Data, Limit
from plimsoll_client.cli.output import one_line, pretty, print_json, print_list, print_table, table, when
from plimsoll_client.cli.session import on_mesh
from plimsoll_client.errors import BadInput

app = typer.Typer()


class Keeper(StrEnum):
    """Who keeps a log."""

    GATEWAY = "gateway"
    TOOL_DISPATCHER = "tool-dispatcher"
    MODEL_ROUTER = "model-router"
    FEEDBACK = "feedback"


@app.command("audit-log")
def audit_log(
    service: Annotated[Keeper | None, typer.Option("--service", help="Only this one's log", show_default=False)] = None,
    action: Annotated[str, typer.Option("--action", help="Only this, such as label.overridden", show_default=False)] = "",
    subject: Annotated[str, typer.Option("--subject", help="Only about this, such as dataset:sorting", show_default=False)] = "",
    verify: Annotated[bool, typer.Option("--verify", help="Recompute the chains and say where one is broken")] = False,
    known: Annotated[
        str, typer.Option("--known", metavar="SEQ:HASH", help="With --verify: an entry that the log has to hold still", show_default=False)
    ] = "",
    limit: Limit = 50,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """List what people did and what was denied, newest first, from the audit logs of all services."""
    of = AuditedService(service.value) if service is not None else None
    if verify:
        _verify(of, known, data, as_json=as_json)
        return
    if known:
        raise BadInput("--known is for --verify", remedy="Give both")
    found = on_mesh(data, lambda mesh: mesh.audit.entries(service=of, action=action, subject=subject, limit=limit))
    rows = (
        (when(one.at), one.service, str(one.seq), one.action, one.subject, one.actor, one_line(pretty(one.details)) if one.details else "")
        for one in found
    )
    made = table(("when", "kept by", "entry", "what", "about", "who", "details"), rows, right=("entry",))
    print_list(found, made, as_json=as_json, empty="Nobody did anything that is kept here.")


def _verify(of: AuditedService | None, known: str, data: Data, *, as_json: bool) -> None:
    seq, noted = _entry(known, of)
    verdicts = on_mesh(data, lambda mesh: mesh.audit.verify(service=of, known_seq=seq, known_hash=noted))
    if as_json:
        print_json(list(verdicts))
    else:
        rows = ((one.service, str(one.entries), _told(one), one.head_hash) for one in verdicts)
        print_table(table(("kept by", "entries", "verdict", "hash of the last"), rows, right=("entries",)))
    if not _all_intact(verdicts):
        raise typer.Exit(Exit.OTHER)


def _entry(known: str, of: AuditedService | None) -> tuple[int, str]:
    """The entry that somebody noted: its place and its hash."""
    if not known:
        return 0, ""
    if of is None:
        raise BadInput("--known is an entry of one service", remedy="Name it with --service")
    seq, _, noted = known.partition(":")
    if not (seq.isascii() and seq.isdigit() and 0 < int(seq[:20]) < 2**63 and noted):
        raise BadInput(f"--known is {known!r}", remedy="Give the number and the hash of an entry, as 7:3f0c…")
    return int(seq), noted


def _told(verdict: AuditVerdict) -> str:
    return "intact" if verdict.intact else f"broken: entry {verdict.broken_at} {verdict.problem}"


def _all_intact(verdicts: Sequence[AuditVerdict]) -> bool:
    return all(one.intact for one in verdicts)
