"""Checking a graph as a whole: every mistake at once, each with its place, and what is doubtful besides."""

from dataclasses import dataclass, replace

from plimsoll_graph.branches import branch_mistakes
from plimsoll_graph.cycles import cycle_mistakes
from plimsoll_graph.declaration import read_graph
from plimsoll_graph.graph import Graph
from plimsoll_graph.meaning import meaning_mistakes
from plimsoll_graph.order import stated
from plimsoll_graph.routes import route_mistakes
from plimsoll_graph.schema_check import schema_mistakes, schema_warnings
from plimsoll_graph.yaml_source import Mistake, Source, read_yaml

_TOLD_MOST = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """`graph` is None when there are mistakes; warnings never stand in the way. `source` knows the lines, for what is found out later."""

    source: Source
    graph: Graph | None
    mistakes: tuple[Mistake, ...]
    warnings: tuple[Mistake, ...]


def check(text: str, source_name: str) -> Checked:
    """Read a graph from YAML or JSON text and check all of it. Never raises."""
    source = read_yaml(text, source_name or "agent.yaml")
    if source.value is None or (source.mistakes and not source.keys):
        mistakes = source.mistakes or (source.mistake((), "is empty", "declare an agent"),)
        return Checked(source=source, graph=None, mistakes=mistakes, warnings=())
    if not isinstance(source.value, dict):
        mistakes = (source.mistake((), "is not a mapping", "an agent begins with `agent: name`"),)
        return Checked(source=source, graph=None, mistakes=mistakes, warnings=())
    return check_source(source)


def check_source(source: Source) -> Checked:
    """Check a graph that was read already, or built."""
    graph, mistakes = read_graph(source)
    broken = list(schema_mistakes(graph, source))
    mistakes += broken
    for found in (route_mistakes, branch_mistakes, cycle_mistakes):
        mistakes += found(graph, source)
    warnings = list(schema_warnings(graph, source))
    if not broken:  # of a broken schema nothing follows
        more, doubtful = meaning_mistakes(graph, source)
        mistakes += more
        warnings += doubtful
    told = {mistake.path for mistake in mistakes}
    return Checked(
        source=source,
        graph=None if mistakes else replace(graph, canonical=stated(graph.canonical)),
        mistakes=_told(mistakes, source),
        warnings=_told([warning for warning in warnings if warning.path not in told], source),
    )


def _told(found: list[Mistake], source: Source) -> tuple[Mistake, ...]:
    """Each once, in the order of their lines, and no more than anybody reads."""
    each = sorted(dict.fromkeys(found), key=_order)
    if len(each) > _TOLD_MOST:
        each[_TOLD_MOST:] = [source.mistake((), f"has {len(each) - _TOLD_MOST} more of these", "mend the first ones")]
    return tuple(each)


def _order(mistake: Mistake) -> tuple[int, int, str]:
    place = mistake.place
    return (place.line, place.column, mistake.path) if place else (0, 0, mistake.path)
