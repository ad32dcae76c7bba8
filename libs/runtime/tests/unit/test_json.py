"""JSON as values, and its canonical text after RFC 8785."""

import json
import math
import struct

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plimsoll_runtime.errors import Invalid
from plimsoll_runtime.json_types import JsonValue, canonical, digest, dump_json, parse_json, parse_object

texts = st.text(st.characters(exclude_categories=["Cs"]))
scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False) | texts
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(texts, inner, max_size=5), max_leaves=20)

# RFC 8785, appendix B: the double as hex, and its text
NUMBERS = [
    ("0000000000000000", "0"),
    ("8000000000000000", "0"),
    ("0000000000000001", "5e-324"),
    ("8000000000000001", "-5e-324"),
    ("7fefffffffffffff", "1.7976931348623157e+308"),
    ("ffefffffffffffff", "-1.7976931348623157e+308"),
    ("4340000000000000", "9007199254740992"),
    ("c340000000000000", "-9007199254740992"),
    ("4430000000000000", "295147905179352830000"),
    ("44b52d02c7e14af5", "9.999999999999997e+22"),
    ("44b52d02c7e14af6", "1e+23"),
    ("44b52d02c7e14af7", "1.0000000000000001e+23"),
    ("444b1ae4d6e2ef4e", "999999999999999700000"),
    ("444b1ae4d6e2ef4f", "999999999999999900000"),
    ("444b1ae4d6e2ef50", "1e+21"),
    ("3eb0c6f7a0b5ed8c", "9.999999999999997e-7"),
    ("3eb0c6f7a0b5ed8d", "0.000001"),
    ("41b3de4355555553", "333333333.3333332"),
    ("41b3de4355555554", "333333333.33333325"),
    ("41b3de4355555555", "333333333.3333333"),
    ("41b3de4355555556", "333333333.3333334"),
    ("41b3de4355555557", "333333333.33333343"),
    ("becbf647612f3696", "-0.0000033333333333333333"),
    ("43143ff3c1cb0959", "1424953923781206.2"),
]


@pytest.mark.parametrize(("bits", "text"), NUMBERS)
def test_numbers_are_written_as_the_standard_asks(bits: str, text: str):
    [number] = struct.unpack(">d", bytes.fromhex(bits))
    assert canonical(number) == text


@pytest.mark.parametrize(
    ("number", "text"), [(1e-7, "1e-7"), (-1.5e-7, "-1.5e-7"), (1.5e-6, "0.0000015"), (4.35, "4.35"), (1e20, "1" + "0" * 20)]
)
def test_small_and_large_numbers_change_their_form_where_ecmascript_does(number: float, text: str):
    assert canonical(number) == text


def test_the_example_of_the_standard_comes_out_as_it_says():
    """RFC 8785, 3.2.3 and 3.2.4."""
    source = r"""{
        "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
        "literals": [null, true, false]
    }"""
    assert canonical(parse_json(source)) == (
        r'{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        r'"string":"€$\u000f\nA' + "'" + r'B\"\\\\\"/"}'
    )


def test_keys_are_sorted_by_utf_16_not_by_code_point():
    source = {"€": 1, "\r": 2, "\ufb33": 3, "1": 4, "\U0001f600": 5, "\x80": 6, "ö": 7}
    assert list(orjson.loads(canonical(source)).values()) == [2, 4, 6, 7, 1, 5, 3]


def doubles(value: JsonValue) -> JsonValue:
    """The value as a reader sees it who knows no numbers but doubles."""
    match value:
        case bool() | None | str():
            return value
        case int() | float():
            return float(value)
        case list():
            return [doubles(item) for item in value]
        case dict():
            return {key: doubles(item) for key, item in value.items()}


@given(values)
def test_canonical_text_holds_the_same_value_and_is_its_own_canonical_text(value: JsonValue):
    text = canonical(value)
    assert json.loads(text, parse_int=float) == doubles(value)
    assert canonical(orjson.loads(text)) == text


@given(st.dictionaries(texts, scalars, min_size=2))
def test_the_order_of_keys_makes_no_difference(value: dict[str, JsonValue]):
    assert digest(dict(reversed(list(value.items())))) == digest(value)


@given(values, values)
def test_a_digest_is_of_the_value(one: JsonValue, other: JsonValue):
    assert (digest(one) == digest(other)) == (canonical(one) == canonical(other))


def test_whole_numbers_keep_every_digit():
    assert (canonical(2**53 + 1), canonical(10**30)) == ("9007199254740993", "1" + "0" * 30)
    assert digest(2**53 + 1) != digest(2**53)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_there_is_no_number_that_is_not_finite(number: float):
    with pytest.raises(ValueError, match="not finite"):
        canonical(number)


# --- reading and writing -----------------------------------------------------------------------------------------------------


@given(values)
def test_what_is_written_is_read_again(value: JsonValue):
    assert parse_json(dump_json(value)) == value


@pytest.mark.parametrize("text", ["", "{", "[1,]", "NaN", "'single'", '{"a":1}{"b":2}', b"\xff"])
def test_what_is_no_json_is_refused_with_the_name_of_its_field(text: str | bytes):
    with pytest.raises(Invalid) as caught:
        parse_json(text, field="arguments")
    [problem] = caught.value.problems
    assert (caught.value.reason, problem.field, problem.remedy) == ("MALFORMED_JSON", "arguments", "send one JSON value")


@pytest.mark.parametrize("text", ["[]", "null", '"text"', "1"])
def test_what_is_no_object_is_refused_where_one_is_wanted(text: str):
    with pytest.raises(Invalid, match="state: is not a JSON object"):
        parse_object(text, field="state")
    assert parse_object("{}") == {}
