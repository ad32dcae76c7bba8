"""Expressions: names that exist, types that fit. What fails for certain is a mistake, what could be right is none."""

import pytest
from plimsoll_graph.check import Checked, check

GRAPH = """
agent: typed
input:
  type: object
  additionalProperties: false
  properties: {text: {type: string}, number: {type: integer}, list: {type: array, items: {type: string}}}
state:
  type: object
  properties:
    text: {type: string}
    number: {type: integer}
    share: {type: number}
    flag: {type: boolean}
    list: {type: array, items: {type: string}}
    maybe: {type: [string, "null"]}
    either: {type: [string, integer]}
    word: {type: string, enum: [red, green]}
    free: {description: anything}
    thing: {type: object, additionalProperties: false, required: [name], properties: {name: {type: string}, size: {type: integer}}}
    open: {type: object, properties: {name: {type: string}}}
    things: {type: array, items: {$ref: "#/$defs/thing"}}
  $defs: {thing: {type: object, additionalProperties: false, properties: {name: {type: string}}}}
start: one
output: {out: state.text}
nodes:
  one:
    model: {prompt: p, variables: {x: VARIABLE}, output: {type: object, additionalProperties: false, properties: {label: {enum: [a, b]}}}}
    require: [REQUIRE]
    ensure: [ENSURE]
    save: {FIELD: SAVE}
    next: end
"""
_PLACES = {"VARIABLE": "state.text", "REQUIRE": "'true'", "ENSURE": "'true'", "FIELD": "text", "SAVE": "result.text"}


def checked(**places: str) -> Checked:
    text = GRAPH
    for place, value in (_PLACES | {name: repr(value) for name, value in places.items() if name != "FIELD"}).items():
        text = text.replace(place, value)
    return check(text.replace("text: " + repr(places.get("SAVE")), f"{places.get('FIELD', 'text')}: " + repr(places.get("SAVE"))), "t.yaml")


def problems(expression: str) -> list[str]:
    return [mistake.problem for mistake in checked(VARIABLE=expression).mistakes]


def warnings(expression: str) -> list[str]:
    found = checked(VARIABLE=expression)
    assert not found.mistakes
    return [warning.problem for warning in found.warnings]


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("state.nothing", "state has no field 'nothing'"),
        ("has(state.nothing)", "state has no field 'nothing'"),
        ("state['nothing']", "state has no field 'nothing'"),
        ("state.?nothing.orValue(1)", "state has no field 'nothing'"),
        ("input.share", "input has no field 'share'"),
        ("run.user", "run has no field 'user'"),
        ("state.thing.weight", "state.thing has no field 'weight'"),
        ("state.things[0].weight", "state.things[0] has no field 'weight'"),
        ("state.things.map(t, t.weight)", "t has no field 'weight'"),
        ("state.text.name", "state.text is a text and has no field 'name'"),
        ("state.text + 1", "'+' does not take a text and a whole number"),
        ("state.text + state.flag", "'+' does not take a text and true or false"),
        ("state.thing + state.thing", "'+' does not take an object and an object"),
        ("-state.text", "'-' does not take a text"),
        ("!state.number", "'!' does not take a number"),
        ("state.text < 1", "'<' does not take a text and a whole number"),
        ("state.text && state.flag", "state.text is a text, where true or false belongs"),
        ("state.number ? 1 : 2", "state.number is a number, where true or false belongs"),
        ("'a' in state.text", "'in' looks into a list or an object, and state.text is a text"),
        ("size(state.number)", "'size' does not take a number"),
        ("state.number.contains('a')", "'contains' does not take a number and 'a'"),
        ("state.list.contains('a')", "'contains' does not take a list and 'a'"),
        ("state.text.map(c, c)", "state.text is a text, and only lists and objects have parts to go through"),
        ("state.list.map(s, s + 1)", "'+' does not take a text and a whole number"),
        ("state.list.filter(s, s)", "s is a text, where true or false belongs"),
        ("state.things.exists(t, t.name)", "t.name is a text, where true or false belongs"),
        ("state.list['a']", "a list's places are numbers, and the index is 'a'"),
        ("state.number[0]", "state.number is a number and has no parts"),
        ("string(state.list)", "'string' does not take a list"),
        ("string(null)", "'string' does not take null"),
        ("{1: 'a'}", "a key is not a text"),
        ("duration('1s')", "is a duration, which is no JSON value"),
        ("timestamp(state.text)", "is a timestamp, which is no JSON value"),
        ("b'raw'", "is bytes, which is no JSON value"),
        ("[state.nothing]", "state has no field 'nothing'"),
        ("state.free ? state.nothing : 1", "state has no field 'nothing'"),
        ("result.text", "'result' does not exist here"),
        ("item", "'item' does not exist here"),
        ("index + 1", "'index' does not exist here"),
        ("acc", "'acc' does not exist here"),
        ("signal.payload", "'signal' does not exist here"),
        ("failure.reason", "'failure' does not exist here"),
        ("attempts > 1", "'attempts' does not exist here"),
        ("[state.text]" + ".map(a, a + a + a + a)" * 7, "could make a value thousands of times as large as what it reads"),
        ("state.text" + ".replace('a', 'bbbb')" * 7, "could make a value thousands of times as large as what it reads"),
    ],
)
def test_what_fails_for_certain_is_a_mistake(expression: str, problem: str) -> None:
    assert problems(expression) == [problem]


@pytest.mark.parametrize(
    "expression",
    [
        "state.text + 'x' + string(state.number)",
        "state.number + 1",
        "state.share * 2.0",
        "state.share * 2",
        "state.maybe + '!'",
        "state.maybe == null ? 'none' : state.maybe",
        "state.either + 1",
        "state.either + 'x'",
        "has(state.text) ? state.text : null",
        "state.flag ? 'a' : state.number",
        "state.free.deep.deeper[0] + 1",
        "state.free + state.text",
        "state.free ? 1 : 2",
        "state.open.anything + 1",
        "state.open['any' + 'thing']",
        "state.thing[state.text]",
        "state.thing.size > 3 && state.thing.name != ''",
        "state.things.filter(t, has(t.name)).map(t, t.name).join(', ')",
        "state.list.exists(s, s.startsWith('a')) || state.list.all(s, size(s) > 1)",
        "state.list.map(s, {'name': s, 'size': size(s)})[0].size",
        "state.list + ['x'] + state.list.filter(s, s != 'y')",
        "[].map(x, x + 1)",
        "[1, 'a', null][state.number]",
        "state.?maybe.orValue('x')",
        "state.?free.?deep.hasValue()",
        "state.?number.optMap(n, n + 1).orValue(0)",
        "{'a': 1, ?'b': state.?free}",
        "math.greatest(state.number, state.share, 3)",
        "'%s has %d'.format([state.text, state.number])",
        "state.text.split(',').map(p, p.trim()).filter(p, p != '')",
        "string(timestamp(state.text) + duration('1h'))",
        "timestamp(state.text) < timestamp('2026-01-01T00:00:00Z')",
        "timestamp(state.text).getHours() + 1",
        "int(state.text) + state.number",
        "dyn(state.text) + 1",
        "type(state.free) == string",
        "state.word == 'red'",
        "state.word in ['red', 'blue']",
        "'name' in state.thing",
        "size(state) + size(state.thing)",
        "state.thing.map(k, k + '!')",
        "run.thread == '' ? run.tenant : run.id + string(run.attempt)",
        "state.text.replace('&', '&amp;').replace('<', '&lt;').replace('>', '&gt;')",
        "input.list[0] + input.text",
        "1 / 0",  # fails, but as an expression may: when it is evaluated
    ],
)
def test_what_could_be_right_is_accepted(expression: str) -> None:
    assert warnings(expression) == []


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("state.word == 'blue'", "compares 'green' or 'red' with 'blue', which are never equal"),
        ("state.text == 1", "compares a text with a whole number, which are never equal"),
        ("state.text == null", "compares a text with null, which are never equal"),
        ("state.word in ['blue', 'pink']", "looks for 'green' or 'red' among items that are 'blue' or 'pink'"),
        ("state.number + 0.5", "'+' does not take a whole number and a decimal number"),
    ],
)
def test_what_is_doubtful_is_a_warning(expression: str, problem: str) -> None:
    assert warnings(expression) == [problem]


@pytest.mark.parametrize("expression", ["state.text", "state.number + 1", "'yes'", "[true]", "null"])
def test_a_condition_is_true_or_false(expression: str) -> None:
    for place, path in (("REQUIRE", "nodes.one.require[0]"), ("ENSURE", "nodes.one.ensure[0]")):
        assert [mistake.path for mistake in checked(**{place: expression}).mistakes] == [path]


@pytest.mark.parametrize("expression", ["state.flag", "state.free", "has(state.text)", "result.output.label == 'a'"])
def test_what_may_be_true_or_false_is_a_condition(expression: str) -> None:
    assert not checked(ENSURE=expression).mistakes


@pytest.mark.parametrize(
    ("field", "expression", "problem"),
    [
        ("number", "result.text", "is a text, where a number belongs"),
        ("text", "result.confidence", "is a number, where a text belongs"),
        ("flag", "result.output.label", "is 'a' or 'b', where true or false belongs"),
        ("text", "result.output.colour", "result.output has no field 'colour'"),
        ("text", "result.answer", "result has no field 'answer'"),
        ("word", "'blue'", "is 'blue', where 'green' or 'red' belongs"),
        ("word", "result.output.label", "is 'a' or 'b', where 'green' or 'red' belongs"),
        ("thing", "{'name': 1}", "has the field 'name', which is a whole number, where a text belongs"),
        ("thing", "{'name': 'x', 'colour': 'y'}", "has the field 'colour', which does not belong there"),
        ("thing", "{'size': 1}", "lacks the field 'name'"),
        ("list", "result.text.size()", "is a whole number, where a list belongs"),
        ("number", "1.5", 'does not fit state.number: the value is not of type "integer"'),
    ],
)
def test_what_cannot_be_saved_is_told(field: str, expression: str, problem: str) -> None:
    assert [mistake.problem for mistake in checked(FIELD=field, SAVE=expression).mistakes] == [problem]


@pytest.mark.parametrize(
    ("field", "expression"),
    [
        ("number", "double(result.confidence)"),
        ("share", "result.confidence"),
        ("maybe", "has(state.text) ? state.text : null"),
        ("free", "result"),
        ("thing", "{'name': result.text}"),
        ("word", "result.text"),
        ("word", "'red'"),
        ("list", "[]"),
    ],
)
def test_what_may_fit_can_be_saved(field: str, expression: str) -> None:
    assert not checked(FIELD=field, SAVE=expression).mistakes


KINDS = """
agent: kinds
input: {type: object, properties: {list: {type: array, items: {type: integer}}}}
state:
  type: object
  properties: {list: {type: array, items: {type: integer}}, text: {type: string}, number: {type: integer}, any: {}}
start: n
concurrency: {key: KEY}
nodes:
  n: NODE
"""


@pytest.mark.parametrize(
    ("node", "problem"),
    [
        ("{wait: {for: 1s}, save: {text: result.when}, next: end}", "result has no field 'when'"),
        ("{wait: {signal: s}, save: {text: result.who}, next: end}", "result has no field 'who'"),
        ("{wait: {signal: s, where: signal.from == 'x'}, next: end}", "signal has no field 'from'"),
        ("{wait: {until: state.number}, next: end}", "is a number, where a text belongs"),
        ("{approve: {summary: state.number}, next: end}", "is a number, where a text belongs"),
        (
            "{approve: {summary: state.text}, ensure: [result.decision == 1], save: {number: result.comment}, next: end}",
            "is a text, where a number",
        ),
        ("{retrieve: {collection: c, query: state.list}, next: end}", "is a list, where a text belongs"),
        ("{retrieve: {collection: c, query: state.text}, save: {text: result.passages}, next: end}", "is a list, where a text belongs"),
        ("{retrieve: {thread: true}, save: {text: result.passages}, next: end}", "result has no field 'passages'"),
        ("{remember: {thread: true, turns: [{user: state.number}]}, next: end}", "is a number, where a text belongs"),
        (
            "{remember: {thread: true, facts: [{text: state.text}]}, save: {text: result.turns}, next: end}",
            "is a whole number, where a text",
        ),
        ("{map: {over: state.text, do: {set: {a: item}}}, next: end}", "is a text, where a list belongs"),
        ("{map: {over: state.list, do: {set: {a: item + 'x'}}}, next: end}", "'+' does not take a number and 'x'"),
        (
            "{map: {over: state.list, do: {set: {a: item}}}, save: {any: 'result.items[0].b'}, next: end}",
            "result.items[0] has no field 'b'",
        ),
        ("{map: {over: state.list, do: {set: {a: item}}}, save: {any: result.reduced}, next: end}", "result has no field 'reduced'"),
        ("{map: {over: state.list, reduce: {initial: '0', each: acc + item.b}, do: {set: {a: item}}}, next: end}", "item has no field 'b'"),
        ("{map: {over: item, do: {set: {a: item}}}, next: end}", "'item' does not exist here"),
        ("{map: {over: state.list, do: {model: {prompt: p, variables: {x: acc}}}}, next: end}", "'acc' does not exist here"),
        ("{agent: {prompt: p, tools: [t]}, save: {text: 'result.calls[0].name'}, next: end}", "result.calls[0] has no field 'name'"),
        ("{set: {text: result.x}, next: end}", "'result' does not exist here"),
        ("{set: {text: [state.text]}, next: end}", "is a list, where a text belongs"),
        ("{set: {number: '1.5'}, next: end}", 'does not fit state.number: the value is not of type "integer"'),
        ("{tool: {name: t}, undo: {name: u, arguments: {x: result.id}}, next: end}", "'result' does not exist here"),
        ("{handle: [{when: failure.kind == 'x', fail: true}, {fail: true}]}", "failure has no field 'kind'"),
        ("{handle: [{when: attempts, fail: true}, {fail: true}]}", "is a whole number, where true or false belongs"),
        ("{handle: [{escalate: attempts}]}", "is a whole number, where a text belongs"),
    ],
)
def test_the_results_of_kinds_are_known(node: str, problem: str) -> None:
    [mistake] = check(KINDS.replace("NODE", node).replace("KEY", "input.list"), "k.yaml").mistakes
    assert mistake.problem.startswith(problem)


@pytest.mark.parametrize(
    "node",
    [
        "{map: {over: state.list, reduce: {initial: '0', each: acc + item.a + index}, do: {set: {a: item}}}, save: {number: result.reduced}, next: end}",
        "{map: {over: state.list, reduce: {initial: '[]', each: 'acc + [item]'}, do: {tool: {name: t}}}, save: {any: 'result.reduced[0].x'}, next: end}",
        "{map: {over: state.list, on_item_failure: collect, do: {set: {a: item}}}, save: {any: 'result.items[0].a'}, next: end}",
        "{approve: {summary: state.text}, ensure: [result.decision == 'approved'], save: {text: result.by}, next: end}",
        "{tool: {name: t}, save: {number: result.anything.at.all}, next: end}",
        "{tool: {name: t}, retry: {attempts: 2, on: [timeout]}, save: {text: 'failure == null ? null : failure.reason'}, next: end}",
        "{subgraph: {agent: a}, save: {any: result.x.y}, next: end}",
        "{wait: {signal: s, where: signal.payload.id == state.any}, save: {any: result.payload.x}, next: end}",
        "{retrieve: {collection: c, query: state.text}, save: {any: 'result.passages.map(p, p.metadata.x + p.text)'}, next: end}",
    ],
)
def test_what_kinds_may_result_in_is_accepted(node: str) -> None:
    found = check(KINDS.replace("NODE", node).replace("KEY", "input.list"), "k.yaml")
    assert not found.mistakes


def test_runs_queue_up_before_they_have_a_state() -> None:
    [mistake] = check(KINDS.replace("NODE", "{set: {number: 1}, next: end}").replace("KEY", "state.text"), "k.yaml").mistakes
    assert (mistake.path, mistake.problem) == ("concurrency.key", "'state' does not exist here")


def test_a_failure_is_seen_where_a_run_can_come_after_one() -> None:
    nodes = "{tool: {name: t}, on_failure: {any: b}, next: c}\n  b: {set: {text: failure.message}, next: d}\n  c: {set: {text: WHERE}, next: end}"
    nodes += "\n  d: {set: {text: failure.reason}, next: end}"
    text = KINDS.replace("NODE", nodes).replace("KEY", "input.list")
    assert not check(text.replace("WHERE", "state.text"), "k.yaml").mistakes
    assert [mistake.path for mistake in check(text.replace("WHERE", "failure.reason"), "k.yaml").mistakes] == ["nodes.c.set.text"]


def test_an_input_field_has_to_fit_the_state() -> None:
    text = KINDS.replace("NODE", "{set: {number: 1}, next: end}").replace("KEY", "input.list")
    [mistake] = check(text.replace("list: {type: array, items: {type: integer}}}}", "list: {type: string}}}", 1), "k.yaml").mistakes
    assert (mistake.path, mistake.problem) == ("input.properties.list", "is a text, where a list belongs in the state")


def test_the_column_of_a_mistake_is_the_character_that_is_wrong() -> None:
    text = KINDS.replace("NODE", "{set: {number: 'state.number + state.nothing'}, next: end}").replace("KEY", "input.list")
    [mistake] = check(text, "k.yaml").mistakes
    assert mistake.place is not None
    line = text.splitlines()[mistake.place.line - 1]
    assert line[mistake.place.column - 1 :].startswith("nothing")
