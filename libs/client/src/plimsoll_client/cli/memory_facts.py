"""`plimsoll memory thread|facts|forget`: what conversations left."""

from typing import Annotated

import typer
from plimsoll_runtime.errors import FieldProblem

from plimsoll_client.cli.options import AsJson, Data
from plimsoll_client.cli.output import console, one_line, print_json, print_list, print_table, prose, table, visible, when
from plimsoll_client.cli.session import on_mesh
from plimsoll_client.conversation import Fact, ThreadMemory
from plimsoll_client.errors import BadInput

_FACTS = ("fact", "about", "attribute", "says", "from", "times", "state")
Thread = Annotated[str, typer.Option("--thread", help="What was learned in this thread")]
Subject = Annotated[str, typer.Option("--subject", help="What is known about it")]


def thread(
    thread_id: Annotated[str, typer.Argument(metavar="THREAD", help="Its name, as `plimsoll threads list` shows it", show_default=False)],
    tokens: Annotated[int, typer.Option("--tokens", help="How much of it at most", min=64, max=1_000_000)] = 4000,
    query: Annotated[str, typer.Option("--query", help="Also recall older turns that match")] = "",
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """What agents are shown of a conversation: its latest turns, a summary of those before, facts."""
    found = on_mesh(data, lambda mesh: mesh.memory.thread(thread_id, max_tokens=tokens, query=query))
    if as_json:
        print_json(found)
    else:
        _print_thread(found)


def facts(
    subject: Subject = "",
    thread_id: Thread = "",
    superseded: Annotated[bool, typer.Option("--superseded", help="Also those that others took the place of")] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", help="At most this many", min=1, max=10_000)] = 100,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """List facts about a subject, or learned in a thread, the latest first."""
    _one_of(subject, thread_id)
    found = on_mesh(data, lambda mesh: mesh.memory.facts(subject=subject, thread_id=thread_id, superseded=superseded, limit=limit))
    print_list(found, table(_FACTS, map(_fact_row, found), right=("times",)), as_json=as_json, empty="No facts are known.")


def forget(
    subject: Subject = "",
    thread_id: Thread = "",
    fact: Annotated[str, typer.Option("--fact", help="The fact of this id, and those that it superseded")] = "",
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Forget a conversation with what was learned in it, all facts about a subject, or one fact."""
    _one_of(subject, thread_id, fact)
    found = on_mesh(data, lambda mesh: mesh.memory.forget(thread_id=thread_id, subject=subject, fact_id=fact))
    if as_json:
        print_json(found)
    else:
        console().print(f"forgot {found.turns} turns and {found.facts} facts")


def _one_of(*given: str) -> None:
    if sum(map(bool, given)) != 1:
        names = "--subject, --thread or --fact" if len(given) == 3 else "--subject or --thread"
        raise BadInput(problems=(FieldProblem(names, "is missing, or there are several", "say one of them"),))


def _print_thread(found: ThreadMemory) -> None:
    out = console()
    if found.summary:
        out.print(f"of the {found.turns_total - len(found.turns)} turns before:", style="bold")
        prose(out, visible(found.summary))
    for turn in found.recalled:
        out.print(f"recalled {turn.number}  {turn.origin}: {one_line(turn.text, 160)}", style="dim", soft_wrap=True)
    for turn in found.turns:
        out.print(f"{turn.number}  {turn.origin}  {when(turn.created_at)}", style="bold", soft_wrap=True)
        prose(out, visible(turn.text))
    if found.facts:
        print_table(table(_FACTS, map(_fact_row, found.facts), right=("times",)))
    if not found.turns_total and not found.facts:
        out.print("Nothing is remembered of this thread.")


def _fact_row(one: Fact) -> tuple[str, ...]:
    state = f"superseded by {one.superseded_by}" if one.superseded_by else "holds"
    return one.id, one.subject or "(thread)", one.attribute or "-", one_line(one.text), one.origin, str(one.times), state
