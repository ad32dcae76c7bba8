"""Reading JSON Schema: references resolved, alternatives told apart, choices with what they mean."""

from dataclasses import dataclass

from plimsoll_runtime.json_types import JsonObject, JsonValue

_DEPTH_CAP = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One of the values that a schema allows, with what it means."""

    value: JsonValue
    description: str = ""


@dataclass(frozen=True, slots=True)
class Schema:
    """A node of a schema, with the whole around it for references. Unknown keywords are left to the validator."""

    node: JsonObject
    root: JsonObject

    @staticmethod
    def whole(schema: JsonObject) -> "Schema":
        return Schema(_resolved(schema, schema, 0), schema)

    def _inner(self, value: JsonValue) -> "Schema":
        node = value if isinstance(value, dict) else {}
        return Schema(_resolved(node, self.root, 0), self.root)

    @property
    def types(self) -> tuple[str, ...]:
        """The types allowed, `null` left out; guessed from the other keywords when none is named."""
        match self.node.get("type"):
            case str(one):
                return (one,) if one != "null" else ()
            case list(several):
                return tuple(one for one in several if isinstance(one, str) and one != "null")
        if "properties" in self.node:
            return ("object",)
        return ("array",) if "items" in self.node else ()

    @property
    def nullable(self) -> bool:
        kind = self.node.get("type")
        return kind == "null" or (isinstance(kind, list) and "null" in kind) or any(v.nullable for v in self.variants)

    @property
    def options(self) -> tuple[Option, ...]:
        """The values to choose from; empty when the schema does not list them. `null` is not among them."""
        match self.node:
            case {"const": value}:
                return (Option(value=value, description=self.description),)
            case {"enum": list(values)}:
                meanings = self.node.get("enumDescriptions")
                told = meanings if isinstance(meanings, list) and len(meanings) == len(values) else [""] * len(values)
                return tuple(Option(value=v, description=str(d)) for v, d in zip(values, told, strict=True) if v is not None)
        inner = [variant.options for variant in self.variants]
        if inner and all(inner):
            return tuple(option for options in inner for option in options)
        return ()

    @property
    def variants(self) -> tuple["Schema", ...]:
        """The alternatives of `oneOf` or `anyOf`, `null` left out."""
        for key in ("oneOf", "anyOf"):
            alternatives = self.node.get(key)
            if isinstance(alternatives, list):
                inner = (self._inner(alternative) for alternative in alternatives)
                return tuple(one for one in inner if one.node.get("type") != "null" and one.node.get("const", 0) is not None)
        return ()

    @property
    def properties(self) -> dict[str, "Schema"]:
        found = self.node.get("properties")
        return {name: self._inner(value) for name, value in found.items()} if isinstance(found, dict) else {}

    @property
    def required(self) -> frozenset[str]:
        found = self.node.get("required")
        return frozenset(str(name) for name in found) if isinstance(found, list) else frozenset()

    @property
    def items(self) -> "Schema":
        return self._inner(self.node.get("items"))

    @property
    def description(self) -> str:
        told = [self.node.get("title"), self.node.get("description")]
        return " ".join(text for text in told if isinstance(text, str))

    @property
    def samples(self) -> tuple[JsonValue, ...]:
        """The `examples` that the schema gives."""
        found = self.node.get("examples")
        return tuple(found) if isinstance(found, list) else ()

    def text(self, key: str) -> str:
        value = self.node.get(key)
        return value if isinstance(value, str) else ""

    def count(self, key: str, default: int) -> int:
        value = self.node.get(key)
        return int(value) if isinstance(value, int | float) and not isinstance(value, bool) else default

    def bound(self, key: str) -> float | None:
        value = self.node.get(key)
        return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _resolved(node: JsonObject, root: JsonObject, depth: int) -> JsonObject:
    """The node with its `$ref` followed and its `allOf` merged; what cannot be followed stays as it is."""
    if depth > _DEPTH_CAP:
        return {}
    reference = node.get("$ref")
    if isinstance(reference, str) and reference.startswith("#"):
        target = _pointed(reference, root)
        own = {key: value for key, value in node.items() if key != "$ref"}
        return {**_resolved(target, root, depth + 1), **own}
    parts = node.get("allOf")
    if isinstance(parts, list):
        merged: JsonObject = {key: value for key, value in node.items() if key != "allOf"}
        for part in parts:
            if isinstance(part, dict):
                merged = _merged(merged, _resolved(part, root, depth + 1))
        return merged
    return node


def _pointed(reference: str, root: JsonObject) -> JsonObject:
    target: JsonValue = root
    for step in reference.lstrip("#/").split("/"):
        key = step.replace("~1", "/").replace("~0", "~")
        if key:
            target = target.get(key) if isinstance(target, dict) else None
    return target if isinstance(target, dict) else {}


def _merged(left: JsonObject, right: JsonObject) -> JsonObject:
    merged = {**right, **left}
    for key in ("properties", "required"):
        match left.get(key), right.get(key):
            case dict(one), dict(other):
                merged[key] = {**other, **one}
            case list(first), list(second):
                merged[key] = [*first, *(item for item in second if item not in first)]
    return merged
