"""A file becomes an agent's input: JSON is the input itself, anything else fills the field that the agent declares for it."""

import base64

import orjson
from plimsoll_runtime.json_types import JsonObject

from plimsoll_client.errors import BadInput
from plimsoll_client.files import STDIN, GivenFile, binary_kind, refused, text_of
from plimsoll_client.models import Accepts


def input_from_file(file: GivenFile, accepts: Accepts, agent: str) -> JsonObject:
    """The input that `file` means to `agent`. Raises BadInput with what the agent takes instead.

    A `.json` file, and a JSON object on standard input, is the whole input. Text fills the agent's text field, a binary file
    its base64 field, and the file's name the name field.
    """
    if file.name.lower().endswith(".json"):
        return _object(file)
    if file.name == STDIN and (found := _json_object(file.content)) is not None:
        return found
    if kind := binary_kind(file.content):
        return _binary(file, kind, accepts, agent)
    if accepts.text_field:
        return {accepts.text_field: text_of(file), **_named(file, accepts)}
    if accepts.base64_field:
        return _in_base64(file, accepts)
    raise refused(file.name, f"is a plain file, and agent {agent} takes no plain files", _json_remedy(agent))


def _binary(file: GivenFile, kind: str, accepts: Accepts, agent: str) -> JsonObject:
    if accepts.base64_field:
        return _in_base64(file, accepts)
    if accepts.text_field:
        raise refused(
            file.name,
            f"is {kind}, and agent {agent} takes text (its field {accepts.text_field!r})",
            "Give a text file, or a .json file with the whole input",
        )
    raise refused(file.name, f"is {kind}, and agent {agent} takes no plain files", _json_remedy(agent))


def _in_base64(file: GivenFile, accepts: Accepts) -> JsonObject:
    return {accepts.base64_field: base64.b64encode(file.content).decode(), **_named(file, accepts)}


def _named(file: GivenFile, accepts: Accepts) -> JsonObject:
    return {accepts.name_field: "stdin" if file.name == STDIN else file.name} if accepts.name_field else {}


def _object(file: GivenFile) -> JsonObject:
    try:
        found = orjson.loads(text_of(file))
    except orjson.JSONDecodeError as error:
        raise _not_json(file, error) from error
    if not isinstance(found, dict):
        raise refused(file.name, "holds JSON that is not an object", "Give one object: {…}")
    return found


def _not_json(file: GivenFile, error: orjson.JSONDecodeError) -> BadInput:
    return refused(file.name, f"is not JSON: {error.msg} (line {error.lineno}, column {error.colno})", "Correct it there")


def _json_object(content: bytes) -> "JsonObject | None":
    try:
        found = orjson.loads(content)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None


def _json_remedy(agent: str) -> str:
    return f"Give a .json file with the whole input; `plimsoll agents show {agent}` prints its schema"
