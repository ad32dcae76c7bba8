"""Labelled queries as a file of JSON lines, and search configurations as JSON. Every refusal names the line and what to do."""

from collections.abc import Iterator

from plimsoll_runtime.errors import FieldProblem, Invalid
from plimsoll_runtime.json_types import JsonObject, JsonValue, parse_json, parse_object

from plimsoll_client.errors import BadInput
from plimsoll_client.retrieval import Judgement, LabelledQuery, SearchConfiguration

_SHAPE = 'write {"query": "…", "relevant": ["SOURCE", {"source": "…", "grade": 2, "span": [0, 100]}]}, one a line'
_KNOWN = frozenset({"name", "vector_weight", "text_weight", "rerank", "exact"})


def read_queries(name: str, text: str) -> list[LabelledQuery]:
    """One query a line: `query`, `relevant`, and if wanted `id` and `filter`. Raises BadInput with every line that is wrong."""
    queries: list[LabelledQuery] = []
    problems: list[FieldProblem] = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                queries.append(_query(number, line))
            except Invalid as error:
                problems += [FieldProblem(f"{name}:{number}", one.problem, one.remedy or _SHAPE) for one in error.problems]
    if not queries and not problems:
        problems.append(FieldProblem(name, "holds no query", _SHAPE))
    if problems:
        raise BadInput(f"{name} is not a set of labelled queries", problems=problems[:20])
    return queries


def read_configuration(option: str, text: str) -> SearchConfiguration:
    """A JSON object; its text becomes the name when it gives none. Raises BadInput."""
    value = parse_object(text, field=option)
    unknown = sorted(value.keys() - _KNOWN)
    if unknown:
        raise _bad(option, f"holds {', '.join(unknown)}", f"use {', '.join(sorted(_KNOWN))}")
    return SearchConfiguration(
        name=str(value.get("name", text))[:100],
        vector_weight=_weight(option, value, "vector_weight"),
        text_weight=_weight(option, value, "text_weight"),
        rerank=_flag(option, value, "rerank"),
        exact=bool(_flag(option, value, "exact")),
    )


def _query(number: int, line: str) -> LabelledQuery:
    value = parse_json(line)
    if not isinstance(value, dict) or not isinstance(value.get("query"), str) or not isinstance(value.get("relevant"), list):
        raise _bad("line", "has no `query` or no `relevant`", _SHAPE)
    filter_ = value.get("filter", {})
    if not isinstance(filter_, dict):
        raise _bad("filter", "is no object", _SHAPE)
    relevant = value["relevant"]
    return LabelledQuery(
        id=str(value.get("id", number)),
        query=str(value["query"]),
        judgements=tuple(_judgements(relevant if isinstance(relevant, list) else [])),
        filter=filter_,
    )


def _judgements(relevant: list[JsonValue]) -> Iterator[Judgement]:
    for one in relevant:
        if isinstance(one, str):
            yield Judgement(source=one)
        elif isinstance(one, dict) and isinstance(one.get("source"), str):
            yield Judgement(source=str(one["source"]), grade=_integer(one.get("grade", 1)), span=_span(one.get("span", [0, 0])))
        else:
            raise _bad("relevant", "holds what is neither a source nor an object with one", _SHAPE)


def _span(value: JsonValue) -> tuple[int, int]:
    match value:
        case [int(start), int(end)]:
            return start, end
    raise _bad("span", "is not two whole numbers", _SHAPE)


def _integer(value: JsonValue) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise _bad("grade", "is no whole number", _SHAPE)


def _weight(option: str, value: JsonObject, name: str) -> float | None:
    found = value.get(name)
    if found is None or (isinstance(found, int | float) and not isinstance(found, bool)):
        return found
    raise _bad(option, f"has {name} that is no number", "use 0 to 100")


def _flag(option: str, value: JsonObject, name: str) -> bool | None:
    found = value.get(name)
    if found is None or isinstance(found, bool):
        return found
    raise _bad(option, f"has {name} that is neither true nor false", "use true or false")


def _bad(field: str, problem: str, remedy: str) -> BadInput:
    return BadInput(f"{field} {problem}", problems=(FieldProblem(field, problem, remedy),), remedy=remedy)
