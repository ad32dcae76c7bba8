"""Whether plain JSON has the shape that an official SDK's own types give it, unknown fields included."""

import types
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, NotRequired, Required, TypeAlias, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from typing_extensions import TypeAliasType, get_type_hints, is_typeddict

Hint: TypeAlias = Any  # a type, as it stands in an annotation
_WRAPPERS = (Required, NotRequired, Annotated)
_PLAIN = {str: str, bool: bool, int: int, float: (int, float)}


def mismatch(value: Any, hint: Hint, where: str = "") -> str:
    """What is wrong with the value, and where; empty when the type allows it."""
    hint = _unwrapped(hint)
    if hint in (Any, object):
        return ""
    if is_typeddict(hint):
        return _typed_dict(value, hint, where)
    if get_origin(hint) is not None:
        return _composed(value, hint, where)
    if hint in _PLAIN:
        fits = isinstance(value, _PLAIN[hint]) and (hint is bool or not isinstance(value, bool))
        return "" if fits else f"{where}: {value!r} is no {hint.__name__}"
    if hint in (None, type(None)):
        return "" if value is None else f"{where}: is not null"
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        return _model(value, hint, where)
    return f"{where}: nobody knows the type {hint!r}"


def _unwrapped(hint: Hint) -> Hint:
    while get_origin(hint) in _WRAPPERS or isinstance(hint, TypeAliasType):
        hint = hint.__value__ if isinstance(hint, TypeAliasType) else get_args(hint)[0]
    return hint


def _composed(value: Any, hint: Hint, where: str) -> str:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        found = [mismatch(value, one, where) for one in arguments]
        return "" if "" in found else max(found, key=len)
    if origin is Literal:
        return "" if value in arguments else f"{where}: {value!r} is none of {arguments}"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return "" if isinstance(value, dict) else f"{where}: is not an object"
    if (isinstance(origin, type) and issubclass(origin, Iterable)) or getattr(origin, "__name__", "") == "SequenceNotStr":
        if not isinstance(value, list):
            return f"{where}: is not a list"
        return next((told for at, one in enumerate(value) if (told := mismatch(one, arguments[0], f"{where}[{at}]"))), "")
    return f"{where}: nobody knows the type {hint!r}"


def _typed_dict(value: Any, hint: Hint, where: str) -> str:
    if not isinstance(value, dict):
        return f"{where}: is not an object"
    hints = get_type_hints(hint, include_extras=True)
    # Where annotations are strings, a class cannot tell which of its keys are required: the resolved hints do.
    required = {key for key, one in hints.items() if get_origin(one) is Required} | hint.__required_keys__
    missing = [key for key in required if key not in value and get_origin(hints[key]) is not NotRequired]
    unknown = [key for key in value if key not in hints]
    open_ended = getattr(hint, "__pydantic_config__", {}).get("extra") == "allow"
    if missing or (unknown and not open_ended):
        return f"{where}: misses {missing}, has unknown {unknown} for {hint.__name__}"
    return next((told for key, one in value.items() if key in hints and (told := mismatch(one, hints[key], f"{where}.{key}"))), "")


def _model(value: Any, hint: type[BaseModel], where: str) -> str:
    try:
        hint.model_validate(value)
    except ValidationError as error:
        return f"{where}: {error}"
    return ""
