"""Whether a value is JSON, strictly: no guess is made about anything else that a serialiser might accept."""

import math

_DEEPEST = 200


def unfitness(value: object) -> str:
    """Why JSON, or a store on its way, cannot carry the value, with the place; an empty text when they can."""
    open_ends: list[tuple[str, int, object]] = [("result", 0, value)]
    while open_ends:
        where, depth, item = open_ends.pop()
        if depth > _DEEPEST:
            return f"{where} is nested deeper than {_DEEPEST} levels"
        match item:
            case list():
                open_ends.extend((f"{where}[{index}]", depth + 1, inner) for index, inner in enumerate(item))
            case dict():
                for key, inner in item.items():
                    if not isinstance(key, str):
                        return f"{where} has a key that is not text but {type(key).__name__}"
                    if "\0" in key:
                        return f"{where} has a key with the character U+0000, which no store takes"
                    open_ends.append((f"{where}.{key}", depth + 1, inner))
            case _ if problem := _scalar_unfitness(item):
                return f"{where} {problem}"
    return ""


def _scalar_unfitness(item: object) -> str:
    match item:
        case None | bool() | int():
            return ""
        case str():
            return "holds the character U+0000, which no store takes" if "\0" in item else ""
        case float():
            return "" if math.isfinite(item) else "is a number that is not finite"
    return f"is a {type(item).__name__}"
