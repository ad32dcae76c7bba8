"""No false alarms: what has a value for some input is never called a mistake, and its value is of the shape that was foretold."""

from hypothesis import given, settings
from hypothesis import strategies as st
from plimsoll_graph.cost import growth
from plimsoll_graph.expression import Expression, ExpressionBroken, ExpressionFailed, compile_expression
from plimsoll_graph.inference import Inferred, infer
from plimsoll_graph.schema_shapes import schema_shape
from plimsoll_graph.shapes import constant, fits
from plimsoll_graph.syntax import parsed
from plimsoll_runtime.json_types import JsonObject, JsonValue

FIELDS: dict[str, JsonObject] = {
    "text": {"type": "string"},
    "number": {"type": "integer"},
    "share": {"type": "number"},
    "flag": {"type": "boolean"},
    "list": {"type": "array", "items": {"type": "integer"}},
    "words": {"type": "array", "items": {"type": "string"}},
    "maybe": {"type": ["string", "null"]},
    "either": {"type": ["string", "integer"]},
    "word": {"enum": ["a", "b", 3]},
    "thing": {"type": "object", "properties": {"name": {"type": "string"}, "size": {"type": "integer"}}, "additionalProperties": False},
    "free": {},
}
_TEXT = st.sampled_from(["", "a", "b", "name", "3", "2026-01-01T00:00:00Z", "1s", "true", "ä"])
_INT = st.integers(-2, 4)
_FREE: st.SearchStrategy[JsonValue] = st.recursive(
    st.none() | st.booleans() | _INT | _TEXT | st.just(1.5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_TEXT, inner, max_size=2),
    max_leaves=4,
)
STATES: st.SearchStrategy[JsonObject] = st.fixed_dictionaries(
    {
        "text": _TEXT,
        "number": _INT | st.just(2.0),
        "share": _INT | st.just(0.5),
        "flag": st.booleans(),
        "list": st.lists(_INT, max_size=3),
        "words": st.lists(_TEXT, max_size=3),
        "maybe": _TEXT | st.none(),
        "either": _TEXT | _INT,
        "word": st.sampled_from(["a", "b", 3]),
        "thing": st.fixed_dictionaries({}, optional={"name": _TEXT, "size": _INT}),
        "free": _FREE,
    }
)

_ATOMS = st.sampled_from(
    [
        *(f"state.{name}" for name in FIELDS),
        "state.thing.name",
        "state.thing.size",
        "state.free.a",
        "state",
        "1",
        "2.5",
        "'a'",
        "true",
        "null",
        *(
            "[]",
            "[1, 2]",
            "['a', 1]",
            "{}",
            "{'a': 1}",
            "b'x'",
            "1u",
            "duration('1s')",
            "timestamp('2026-01-01T00:00:00Z')",
            "optional.none()",
        ),
    ]
)
_STRICT = (
    *(f"({{0}} {operator} {{1}})" for operator in ("+", "-", "*", "/", "%", "==", "!=", "<", ">=", "in")),
    "!{0}",
    "-{0}",
    "{0}[{1}]",
    "{0}.name",
    "{0}.?name",
    "{0}[?{1}]",
    "has({0}.name)",
    "size({0})",
    "string({0})",
    "int({0})",
    "double({0})",
    "bool({0})",
    "timestamp({0})",
    "duration({0})",
    "type({0}) == {1}",
    "dyn({0})",
    "[{0}, {1}]",
    "{{'name': {0}, 'k': {1}}}",
    "{{{0}: {1}}}",
    "[?{0}]",
    "{0}.contains({1})",
    "{0}.startsWith({1})",
    "{0}.matches({1})",
    "{0}.split({1})",
    "{0}.join({1})",
    "{0}.join()",
    "{0}.replace({1}, {2})",
    "{0}.substring({1})",
    "{0}.indexOf({1})",
    "{0}.charAt({1})",
    "{0}.trim()",
    "{0}.lowerAscii()",
    "{0}.reverse()",
    "{0}.format({1})",
    "'%s'.format([{0}])",
    "strings.quote({0})",
    "math.greatest({0}, {1})",
    "math.least({0})",
    "math.ceil({0})",
    "math.abs({0})",
    "math.isNaN({0})",
    "math.sign({0})",
    "{0}.getHours()",
    "{0}.getFullYear('UTC')",
    "{0}.value()",
    "{0}.hasValue()",
    "optional.of({0})",
    "optional.ofNonZeroValue({0})",
    "uint({0})",
    "bytes({0})",
    "string(bytes({0}))",
)
# Forms that need not come to all of their parts: what is wrong in a part that is never reached is a mistake all the same.
_LAZY = (
    "({0} && {1})",
    "({0} || {1})",
    "({0} ? {1} : {2})",
    "{0}.map(v, {1})",
    "{0}.map(v, v)",
    "{0}.filter(v, v == {1})",
    "{0}.filter(v, {1})",
    "{0}.exists(v, v == {1})",
    "{0}.all(v, {1})",
    "{0}.exists_one(v, v == {1})",
    "{0}.map(v, {1}, {2})",
    "{0}.orValue({1})",
    "{0}.or({1})",
    "{0}.optMap(v, {1})",
    "{0}.optMap(v, v)",
    "{0}.optFlatMap(v, {1})",
)


@st.composite
def _expressions(draw: st.DrawFn, forms: tuple[str, ...], depth: int = 3) -> str:
    if depth == 0 or draw(st.integers(0, 3)) == 0:
        return draw(_ATOMS)
    return draw(st.sampled_from(forms)).format(*(draw(_expressions(forms, depth - 1)) for _ in range(3)))


def _foretold(text: str) -> tuple[Expression, Inferred, float] | None:
    try:
        expression = compile_expression(text)
    except ExpressionBroken:
        return None
    tree = parsed(expression)
    state = schema_shape({"type": "object", "properties": dict(FIELDS), "additionalProperties": False})
    return expression, infer(tree, {"state": state}, {}), growth(tree)


def _value(expression: Expression, state: JsonObject) -> JsonValue | ExpressionFailed:
    try:
        return expression.evaluate({"state": state})
    except ExpressionFailed as error:
        return error


@settings(max_examples=200)
@given(_expressions(_STRICT), st.lists(STATES, min_size=3, max_size=3))
def test_what_has_a_value_is_never_called_a_mistake(text: str, states: list[JsonObject]) -> None:
    foretold = _foretold(text)
    # A field that nothing can have is a mistake also where has(…) or .? would ask for it in vain.
    if foretold is not None and any("has no field" not in fault.message for fault in foretold[1].faults):
        for state in states:
            value = _value(foretold[0], state)
            assert isinstance(value, ExpressionFailed), (text, state, value, foretold[1].faults)


@settings(max_examples=200)
@given(_expressions((*_STRICT, *_LAZY, *_LAZY)), st.lists(STATES, min_size=3, max_size=3))
def test_a_value_is_of_the_shape_and_within_the_size_that_were_foretold(text: str, states: list[JsonObject]) -> None:
    foretold = _foretold(text)
    if foretold is None:
        return
    expression, inferred, most = foretold
    for state in states:
        value = _value(expression, state)
        if not isinstance(value, ExpressionFailed):
            assert fits(constant(value), inferred.shape) == "", (text, state, value, inferred.shape)
            assert len(repr(value)) < 100 * (len(repr(state)) + len(text)) * most, (text, state)
