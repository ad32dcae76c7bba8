"""`plimsoll memory`: documents in, passages out."""

from typing import Annotated

import typer
from plimsoll_runtime.json_types import parse_object

from plimsoll_client.cli import memory_collections, memory_facts
from plimsoll_client.cli.memory_eval import evaluate
from plimsoll_client.cli.memory_ingest import ingest
from plimsoll_client.cli.options import AsJson, Data
from plimsoll_client.cli.output import console, error_console, print_json, visible
from plimsoll_client.cli.session import on_mesh
from plimsoll_client.knowledge import Found

app = typer.Typer()
group = typer.Typer(help="Documents in, passages out; what conversations left.", no_args_is_help=True, rich_markup_mode=None)
queries = typer.Typer(help="Labelled queries that are kept under a name.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(group, name="memory")
group.command()(ingest)
group.command("eval")(evaluate)
group.command()(memory_collections.collections)
group.command()(memory_collections.documents)
group.command()(memory_collections.delete)
group.command()(memory_collections.configure)
group.command()(memory_collections.quality)
group.command()(memory_facts.thread)
group.command()(memory_facts.facts)
group.command()(memory_facts.forget)
group.add_typer(queries, name="queries")
queries.command("put")(memory_collections.put_queries)
queries.command("list")(memory_collections.list_queries)
queries.command("delete")(memory_collections.delete_queries)

Name = Annotated[str, typer.Argument(metavar="COLLECTION", help="Its name", show_default=False)]


@group.command()
def search(
    collection: Name,
    query: Annotated[str, typer.Argument(metavar="QUERY", help="Words, or a question", show_default=False)],
    limit: Annotated[int, typer.Option("--limit", "-n", help="At most this many", min=1, max=100)] = 5,
    where: Annotated[str, typer.Option("--filter", metavar="JSON", help="An object that the metadata must hold")] = "{}",
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Find passages by words and by meaning."""
    wanted = parse_object(where, field="--filter")
    found = on_mesh(data, lambda mesh: mesh.memory.search(collection, query, limit=limit, filter=wanted))
    if as_json:
        print_json(found)
    else:
        _print_found(found)


def _print_found(found: Found) -> None:
    out = console()
    for index, passage in enumerate(found.passages, 1):
        headings = " › ".join(passage.headings)
        out.print(f"{index}. {visible(passage.source)}  {visible(headings)}  ({passage.score:.4f})", style="bold", soft_wrap=True)
        for line in visible(passage.text).splitlines():
            out.print(f"   {line}", soft_wrap=True)
    receipt = found.receipt
    notes = error_console()
    notes.print(
        f"{receipt.returned} of {receipt.requested} asked for; {receipt.text_candidates} candidates by words, "
        f"{receipt.vector_candidates} by meaning ({'exact' if receipt.exact else 'approximate'}, {receipt.embedder})",
        style="dim",
    )
    for reason in receipt.skipped:
        notes.print(f"left out: {visible(reason)}", style="dim")
