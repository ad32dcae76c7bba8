"""Effective arguments."""

import copy

from plimsoll_runtime.json_types import JsonObject
from plimsoll_tool_dispatcher.domain.defaults import with_defaults

SCHEMA: JsonObject = {
    "type": "object",
    "properties": {
        "limit": {"type": "integer", "default": 10},
        "page": {"type": "object", "properties": {"size": {"default": 20}, "token": {"type": "string"}}},
        "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}},
        "options": {"$ref": "#/$defs/options"},
    },
    "allOf": [{"properties": {"order": {"default": "newest"}}}],
    "anyOf": [{"properties": {"maybe": {"default": 1}}}, {}],
    "$defs": {"tag": {"properties": {"weight": {"default": 1}}}, "options": {"default": {"deep": {}}}},
}


def test_absent_properties_get_their_defaults() -> None:
    assert with_defaults({}, SCHEMA) == {"limit": 10, "order": "newest", "options": {"deep": {}}}


def test_what_was_sent_is_kept() -> None:
    sent: JsonObject = {"limit": None, "order": "", "options": {}, "more": 1}
    assert with_defaults(sent, SCHEMA) == sent


def test_objects_and_arrays_that_are_there_are_completed_inside() -> None:
    sent: JsonObject = {"page": {"token": "t"}, "tags": [{}, {"weight": 3}, "odd"]}
    completed = with_defaults(sent, SCHEMA)
    assert completed["page"] == {"token": "t", "size": 20}
    assert completed["tags"] == [{"weight": 1}, {"weight": 3}, "odd"]


def test_neither_the_arguments_nor_the_schema_are_changed() -> None:
    sent: JsonObject = {"page": {}, "tags": [{}]}
    sent_before, schema_before = copy.deepcopy(sent), copy.deepcopy(SCHEMA)
    completed = with_defaults(sent, SCHEMA)
    options = completed["options"]
    assert isinstance(options, dict)
    options["deep"] = "changed"
    assert (sent, SCHEMA) == (sent_before, schema_before)


def test_a_default_that_would_contain_itself_is_taken_once() -> None:
    endless: JsonObject = {"type": "object", "properties": {"next": {"$ref": "#", "default": {}}}}
    assert with_defaults({}, endless) == {"next": {}}
