"""`plimsoll memory eval`: how good the answers of a collection are."""

from collections.abc import Sequence
from typing import Annotated

import typer

from plimsoll_client.cli.options import AsJson, Data
from plimsoll_client.cli.output import console, error_console, print_json, print_table, table, visible
from plimsoll_client.cli.session import on_mesh
from plimsoll_client.files import read_given, text_of
from plimsoll_client.labelled import read_configuration, read_queries
from plimsoll_client.retrieval import Comparison, Evaluation, Measure


def evaluate(
    collection: Annotated[str, typer.Argument(metavar="COLLECTION", help="Its name", show_default=False)],
    queries: Annotated[
        str, typer.Argument(metavar="FILE|-|@NAME", help="Labelled queries, one JSON object a line; or a kept set", show_default=False)
    ],
    at: Annotated[list[int] | None, typer.Option("--at", metavar="K", help="Depth of the measures; may come often", min=1, max=100)] = None,
    with_: Annotated[str, typer.Option("--with", metavar="JSON", help="How to search: vector_weight, text_weight, rerank, exact")] = "",
    against: Annotated[str, typer.Option("--against", metavar="JSON", help="Another way to search, to compare with")] = "",
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Measure precision, recall, MRR and nDCG on labelled queries, each with its 95 % interval.

    A line of the file: {"query": "…", "relevant": ["SOURCE", …]}.
    """
    kept = queries.removeprefix("@") if queries.startswith("@") else ""
    labelled = [] if kept else read_queries(queries, text_of(read_given(queries)))
    configuration = read_configuration("--with", with_) if with_ else None
    baseline = read_configuration("--against", against) if against else None
    found = on_mesh(
        data,
        lambda mesh: mesh.memory.evaluate(
            collection, labelled, query_set=kept, ks=at or (), configuration=configuration, baseline=baseline
        ),
    )
    if as_json:
        print_json(found)
    else:
        _print(found)


def _print(found: Evaluation) -> None:
    how = " and ".join(one for one in (found.embedder or "full text alone", found.reranker) if one)
    console().print(f"{visible(found.collection)}: {found.queries} queries, {visible(how)}", style="bold", soft_wrap=True)
    print_table(table(("measure", "value", "95 % interval"), map(_measure_row, found.measures), right=("value",)))
    if found.comparisons:
        columns = ("measure", "difference", "95 % interval", "won", "lost", "tied", "verdict")
        print_table(table(columns, map(_comparison_row, found.comparisons), right=("difference", "won", "lost", "tied")))
    missed = [one.query_id for one in found.worst if not one.first_rank]
    _note("nothing relevant found for", missed)
    _note("left out", found.left_out)


def _measure_row(one: Measure) -> tuple[str, ...]:
    return f"{one.name}@{one.k}", f"{one.value:.3f}", f"{one.low:.3f} to {one.high:.3f}"


def _comparison_row(one: Comparison) -> tuple[str, ...]:
    interval = f"{one.low:+.3f} to {one.high:+.3f}"
    return f"{one.name}@{one.k}", f"{one.difference:+.3f}", interval, str(one.wins), str(one.losses), str(one.ties), one.verdict


def _note(what: str, items: Sequence[str]) -> None:
    notes = error_console()
    for item in items[:10]:
        notes.print(f"{what}: {visible(item)}", style="dim", soft_wrap=True)
    if len(items) > 10:
        notes.print(f"… and {len(items) - 10} more", style="dim")
