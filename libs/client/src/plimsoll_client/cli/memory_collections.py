"""`plimsoll memory`: what collections hold, how they are set up, and how their searches go."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from plimsoll_runtime.errors import FieldProblem

from plimsoll_client.cli.options import AsJson, Data
from plimsoll_client.cli.output import console, print_json, print_list, print_table, seconds, table, visible, when
from plimsoll_client.cli.session import on_mesh
from plimsoll_client.errors import BadInput
from plimsoll_client.files import read_given, text_of
from plimsoll_client.knowledge import Collection
from plimsoll_client.labelled import read_queries
from plimsoll_client.retrieval import Quality, QualityWindow

if TYPE_CHECKING:
    from plimsoll_client.mesh import Mesh

Name = Annotated[str, typer.Argument(metavar="COLLECTION", help="Its name", show_default=False)]


def collections(data: Data = None, as_json: AsJson = False) -> None:
    """List the collections."""
    found = on_mesh(data, lambda mesh: mesh.memory.collections())
    rows = ((c.name, str(c.documents), str(c.chunks), _embedder(c), c.reranker or "-", when(c.created_at)) for c in found)
    made = table(("collection", "documents", "passages", "embedder", "reranker", "made"), rows, right=("documents", "passages"))
    print_list(found, made, as_json=as_json, empty="There are no collections.")


def documents(
    collection: Name,
    limit: Annotated[int, typer.Option("--limit", "-n", help="At most this many", min=1, max=1_000_000)] = 1000,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """List the documents of a collection, by source."""
    found = on_mesh(data, lambda mesh: mesh.memory.documents(collection, limit=limit))
    rows = ((d.source, d.id, str(d.version), str(d.chunks), str(d.size_bytes), when(d.updated_at)) for d in found)
    made = table(("source", "document", "version", "passages", "bytes", "stored"), rows, right=("version", "passages", "bytes"))
    print_list(found, made, as_json=as_json, empty="It holds no documents.")


def delete(
    collection: Name,
    document: Annotated[str, typer.Argument(metavar="[DOCUMENT]", help="Its id or its source; none: see --all", show_default=False)] = "",
    all_: Annotated[bool, typer.Option("--all", help="The collection with all that it holds")] = False,
    data: Data = None,
) -> None:
    """Forget a document, or a whole collection: text, passages, vectors and what was learned of them."""
    if bool(document) == all_:
        remedy = "name a document, or say --all for the whole collection"
        raise BadInput("what is to be forgotten is not clear", problems=(FieldProblem("DOCUMENT", "and --all: one is needed", remedy),))
    told = on_mesh(data, lambda mesh: _delete(mesh, collection, document))
    console().print(visible(told), soft_wrap=True)


def configure(
    collection: Name,
    embedder: Annotated[str, typer.Option("--embedder", help="One that memory is configured with; works in the background")] = "",
    reranker: Annotated[str, typer.Option("--reranker", help="One that memory is configured with, or none")] = "",
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Set how a collection is embedded and reranked. A new embedder works in the background while the old one serves."""
    found = on_mesh(data, lambda mesh: mesh.memory.configure(collection, embedder=embedder, reranker=reranker))
    if as_json:
        print_json(found)
        return
    console().print(f"{visible(found.name)}: {visible(_embedder(found))}; reranker: {visible(found.reranker) or 'none'}", soft_wrap=True)


def quality(collection: Name, data: Data = None, as_json: AsJson = False) -> None:
    """How the searches of a collection went lately, without labels, and what drifts."""
    found = on_mesh(data, lambda mesh: mesh.memory.quality(collection))
    if as_json:
        print_json(found)
    else:
        _print_quality(found)


def put_queries(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its name", show_default=False)],
    collection: Name,
    queries: Annotated[str, typer.Argument(metavar="FILE|-", help="Labelled queries, one JSON object a line", show_default=False)],
    data: Data = None,
) -> None:
    """Keep labelled queries under a name; `plimsoll memory eval` takes the name as @NAME."""
    labelled = read_queries(queries, text_of(read_given(queries)))
    kept = on_mesh(data, lambda mesh: mesh.memory.put_query_set(name, collection, labelled))
    console().print(f"{visible(kept.name)}: {kept.queries} queries, {kept.judgements} judgements", soft_wrap=True)


def list_queries(data: Data = None, as_json: AsJson = False) -> None:
    """List the labelled queries that are kept."""
    found = on_mesh(data, lambda mesh: mesh.memory.query_sets())
    rows = ((q.name, q.collection, str(q.queries), str(q.judgements), when(q.updated_at)) for q in found)
    made = table(("name", "collection", "queries", "judgements", "stored"), rows, right=("queries", "judgements"))
    print_list(found, made, as_json=as_json, empty="No labelled queries are kept.")


def delete_queries(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its name", show_default=False)],
    data: Data = None,
) -> None:
    """Forget the labelled queries of a name."""
    on_mesh(data, lambda mesh: mesh.memory.delete_query_set(name))


async def _delete(mesh: "Mesh", collection: str, document: str) -> str:
    if not document:
        return f"forgot {collection} with {await mesh.memory.delete_collection(collection)} documents"
    found = await mesh.memory.documents(collection, limit=1_000_000) if not document.startswith("doc_") else []
    await mesh.memory.delete(collection, next((one.id for one in found if one.source == document), document))
    return f"forgot {Path(document).name if found else document}"


def _embedder(one: Collection) -> str:
    if not one.next_embedder:
        return one.embedder
    return f"{one.embedder} → {one.next_embedder} ({100 * one.reembedded // max(one.chunks, 1)} %)"


def _print_quality(found: Quality) -> None:
    columns = ("from", "searches", "empty", "too few", "failed", "degraded", "similarity", "used", "median")
    print_table(table(columns, map(_window_row, found.windows), right=columns[1:]))
    if found.drifts:
        rows = ((d.signal, f"{d.usual:.3f}", f"{d.value:.3f}", f"{d.sigmas:.1f}", when(d.since)) for d in found.drifts)
        print_table(table(("drifts", "usual", "now", "standard errors", "since"), rows, right=("usual", "now", "standard errors")))


def _window_row(one: QualityWindow) -> tuple[str, ...]:
    shares = (f"{share:.0%}" for share in (one.empty, one.under_returned, one.failed, one.degraded))
    used = f"{one.used:.0%} of {one.reported}" if one.reported else "-"
    return when(one.started_at), str(one.searches), *shares, f"{one.best_similarity:.2f}", used, seconds(one.median_duration_s)
