"""Whether a value is JSON, strictly: no guess is made about anything else that a serialiser might accept."""

import math

_DEEPEST = 200


def unfitness(value: object) -> str:
    """Why JSON cannot carry the value, with the place; an empty text when it can."""
    open_ends: list[tuple[str, int, object]] = [("result", 0, value)]
    while open_ends:
        where, depth, item = open_ends.pop()
        if depth > _DEEPEST:
            return f"{where} is nested deeper than {_DEEPEST} levels"
        match item:
            case None | bool() | str() | int():
                continue
            case float():
                if not math.isfinite(item):
                    return f"{where} is a number that is not finite"
            case list():
                open_ends.extend((f"{where}[{index}]", depth + 1, inner) for index, inner in enumerate(item))
            case dict():
                for key, inner in item.items():
                    if not isinstance(key, str):
                        return f"{where} has a key that is not text but {type(key).__name__}"
                    open_ends.append((f"{where}.{key}", depth + 1, inner))
            case _:
                return f"{where} is a {type(item).__name__}"
    return ""
