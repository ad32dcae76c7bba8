"""What nodes result in, by kind, and what the names in expressions hold: the shapes that the engine keeps to."""

from collections.abc import Callable, Mapping
from typing import assert_never

from plimsoll_runtime.failures import Category
from plimsoll_runtime.json_types import JsonObject

from plimsoll_graph.graph import (
    AgentNode,
    ApproveNode,
    DecideNode,
    FailurePolicy,
    HandleNode,
    Kind,
    MapNode,
    ModelNode,
    ParallelNode,
    RecallNode,
    RememberNode,
    RetrieveNode,
    SetNode,
    SignalNode,
    SubgraphNode,
    TimerNode,
    ToolNode,
)
from plimsoll_graph.schema_shapes import schema_shape
from plimsoll_graph.shapes import ANY_JSON, BOOL, INT, NULL, NUMBER, STRING, Shape, join, list_of, object_of, of_kind, word
from plimsoll_graph.shapes import Kind as ValueKind

RUN = object_of({"id": STRING, "agent": STRING, "tenant": STRING, "attempt": INT, "thread": STRING})
FAILURE = object_of(
    {
        "category": join(word(category.value) for category in Category),
        "reason": STRING,
        "message": STRING,
        "retryable": BOOL,
        "where": STRING,
        "node": STRING,
    }
)
SIGNAL = object_of({"name": STRING, "payload": ANY_JSON, "by": STRING})
# Objects that memory, a model or a tool may add to: what is known of them is known, what is not may be anything.
_OPEN = of_kind(ValueKind.MAP)


def result_shape(  # noqa: C901, PLR0912 - a case for each kind reads best in one place
    kind: Kind, filled: Callable[[SetNode], Shape], reduced: Shape, *, whole: bool
) -> Shape:
    """What `result` holds after a node of this kind. `filled` and `reduced` are the shapes of a body's fields and of a reducer's value."""
    match kind:
        case ModelNode(output=output):
            return object_of(_answer(output, whole=whole))
        case AgentNode(output=output):
            call = object_of({"tool": STRING, "arguments": _OPEN, "ok": BOOL, "content": ANY_JSON})
            return object_of({**_answer(output, whole=whole), "turns": INT, "calls": list_of(call)})
        case ToolNode() | SubgraphNode():
            return ANY_JSON
        case RetrieveNode():
            return object_of({"passages": list_of(_PASSAGE), "receipt": _OPEN})
        case RecallNode():
            return object_of(
                {"turns": list_of(_TURN), "summary": join([STRING, NULL]), "facts": list_of(_FACT), "recalled": list_of(_OPEN)}
            )
        case RememberNode():
            left_out = list_of(object_of({"text": STRING, "reason": STRING}))
            return object_of({"turns": INT, "facts": INT, "left_out": left_out})
        case MapNode():
            return _map(kind, filled, reduced, whole=whole)
        case ParallelNode(branches=branches):
            branch = object_of({"status": STRING, "failure": _OPEN}, sure=["status"])
            failures = list_of(object_of({"branch": STRING, **_FAILED}))
            return object_of({"branches": object_of(dict.fromkeys(branches, branch)), "failures": failures})
        case ApproveNode():
            return object_of({"decision": join(map(word, ("approved", "rejected", "expired"))), "by": STRING, "comment": STRING})
        case TimerNode():
            return object_of({"at": STRING})
        case SignalNode():
            return SIGNAL
        case SetNode() | DecideNode() | HandleNode():
            return NULL
        case _:
            assert_never(kind)


_FAILED: Mapping[str, Shape] = {"category": STRING, "reason": STRING, "message": STRING}
_PASSAGE = Shape(
    kinds=_OPEN.kinds,
    fields={"text": STRING, "source": STRING, "document_id": STRING, "title": STRING, "score": NUMBER},
)
_TURN = Shape(kinds=_OPEN.kinds, fields={"origin": STRING, "text": STRING})
_FACT = Shape(kinds=_OPEN.kinds, fields={"text": STRING})


def _answer(output: JsonObject | None, *, whole: bool) -> dict[str, Shape]:
    return {
        "text": STRING,
        "output": ANY_JSON if output is None else schema_shape(output, whole=whole),
        "confidence": NUMBER,
        "model": STRING,
        "rehearsal": BOOL,
    }


def _map(kind: MapNode, filled: Callable[[SetNode], Shape], reduced: Shape, *, whole: bool) -> Shape:
    item = filled(kind.body) if isinstance(kind.body, SetNode) else result_shape(kind.body, filled, reduced, whole=whole)
    items = item if kind.policy is FailurePolicy.FAIL else join([item, NULL])
    fields = {"items": list_of(items), "failures": list_of(object_of({"index": INT, **_FAILED}))}
    return object_of({**fields, "reduced": reduced} if kind.reduce is not None else fields)
