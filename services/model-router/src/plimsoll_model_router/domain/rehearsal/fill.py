"""Filling a whole answer by its schema: objects, lists and the values inside them, each with how sure it is."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from plimsoll_runtime.json_types import JsonObject, JsonValue

from plimsoll_model_router.domain.rehearsal import spans
from plimsoll_model_router.domain.rehearsal.context import Context
from plimsoll_model_router.domain.rehearsal.facts import Passage, facts_in
from plimsoll_model_router.domain.rehearsal.field import Field
from plimsoll_model_router.domain.rehearsal.fits import Fits
from plimsoll_model_router.domain.rehearsal.quote import Library
from plimsoll_model_router.domain.rehearsal.sample import smallest
from plimsoll_model_router.domain.rehearsal.scalars import Found, Scalars
from plimsoll_model_router.domain.rehearsal.schema import Schema
from plimsoll_model_router.domain.rehearsal.text import content_words, vocabulary, words
from plimsoll_model_router.domain.rehearsal.values import as_typed
from plimsoll_model_router.domain.rehearsal.values import fits as within_bounds

MADE_UP = 0.02  # how sure a value is that the context says nothing about
_ENOUGH = 0.25  # an optional value that is less sure stays out
_DEPTH_CAP = 8
_ITEMS_CAP = 50
_SOURCE_WORDS = vocabulary("source sources citation citations reference references")
_ITEM = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s+(.+)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """A value that follows its schema; `made_up` names the required values that the context did not give."""

    value: JsonValue
    confidence: float
    made_up: tuple[str, ...] = ()


class Filler:
    """Fills schemas from one context."""

    def __init__(self, context: Context, fits: Fits) -> None:
        self._context = context
        self._fits = fits
        self._library = Library(context.passages or (*context.told, Passage(text=context.request)))
        self._scalars = Scalars(context, fits, self._library)

    def fill(self, schema: JsonObject) -> Filled:
        """A value for the whole schema. Where nothing is found it is the smallest allowed one, and the confidence says so."""
        whole = Field(schema=Schema.whole(schema), path=())
        return self._found(whole, 0) or Filled(value=smallest(whole.schema), confidence=MADE_UP, made_up=("answer",))

    def _found(self, field: Field, depth: int) -> Filled | None:
        schema = field.schema
        if depth > _DEPTH_CAP:
            return None
        if schema.variants and not schema.options:
            return self._best_variant(field, depth)
        match schema.types[:1]:
            case ("object",):
                return self._object(field, depth)
            case ("array",):
                return self._list(field, depth)
            case _:
                found = self._scalars.find(field)
                return Filled(value=found.value, confidence=found.confidence) if found else None

    def _best_variant(self, field: Field, depth: int) -> Filled | None:
        filled = [self._found(replace(field, schema=variant), depth + 1) for variant in field.schema.variants]
        known = [one for one in filled if one is not None]
        return max(known, key=lambda one: (not one.made_up, one.confidence), default=None)

    def _object(self, field: Field, depth: int) -> Filled | None:
        schema = field.schema
        value: JsonObject = {}
        sure: list[float] = []
        made_up: list[str] = []
        siblings = frozenset(schema.properties)
        for name, inner in schema.properties.items():
            if _is_confidence(name, inner):
                continue
            required = name in schema.required
            found = self._found(Field(schema=inner, path=(*field.path, name), siblings=siblings), depth + 1)
            if found is not None and (required or (found.confidence >= _ENOUGH and not found.made_up)):
                value[name] = found.value
                sure.append(found.confidence)
                made_up += [f"{name}.{inside}" for inside in found.made_up]
            elif required:
                value[name] = smallest(inner)
                sure.append(MADE_UP if value[name] is not None else 0.5)
                made_up += [name] if value[name] is not None else []
        if depth and not value:
            return None
        confidence = math.fsum(sure) / len(sure) if sure else MADE_UP
        for name, inner in schema.properties.items():
            if _is_confidence(name, inner):
                value[name] = round(confidence * (inner.bound("maximum") or 1), 3)
        return Filled(value=value, confidence=confidence, made_up=tuple(made_up))

    def _list(self, field: Field, depth: int) -> Filled | None:
        schema = field.schema
        found = self._items(field, depth)
        distinct: list[Found] = []
        for one in found:
            if all(one.value != other.value for other in distinct):
                distinct.append(one)
        kept = distinct[: min(schema.count("maxItems", _ITEMS_CAP), _ITEMS_CAP)]
        missing = schema.count("minItems", 0) - len(kept)
        if not kept and missing <= 0:
            return Filled(value=[], confidence=0.5)
        kept += [Found(value=smallest(schema.items), confidence=MADE_UP)] * max(0, missing)
        confidence = math.fsum(one.confidence for one in kept) / len(kept)
        return Filled(value=[one.value for one in kept], confidence=confidence, made_up=("items",) if missing > 0 else ())

    def _items(self, field: Field, depth: int) -> list[Found]:
        inner = field.schema.items
        if field.own_words & _SOURCE_WORDS and inner.types[:1] in {(), ("string",)}:
            quotation = self._library.quote(self._context.question)
            return [Found(value=source, confidence=quotation.confidence) for source in quotation.sources]
        if inner.options:
            return self._chosen(Field(schema=inner, path=field.path))
        if inner.types[:1] == ("object",):
            return self._objects(Field(schema=inner, path=field.path), depth)
        return self._values(Field(schema=inner, path=field.path))

    def _chosen(self, field: Field) -> list[Found]:
        """Every option that the text names; when it names none, the best one."""
        text = " ".join(words(self._context.request))
        named = [o for o in field.schema.options if re.search(rf"\b{re.escape(' '.join(words(str(o.value))))}\b", text)]
        if named:
            return [Found(value=option.value, confidence=0.8) for option in named]
        found = self._scalars.find(field)
        return [found] if found and found.confidence >= _ENOUGH else []

    def _values(self, field: Field) -> list[Found]:
        """Every value of the wanted kind; for free text, list items under a fitting heading, else the sentences that fit best."""
        schema, text = field.schema, self._context.text
        pattern, finder = schema.text("pattern"), spans.by_format(schema.text("format"))
        if schema.types[:1] in {("number",), ("integer",)}:
            finder = spans.numbers
        elif pattern and finder is None:
            return [Found(value=span.value, confidence=0.8) for span in spans.by_pattern(pattern, text)]
        if finder is not None:
            typed = (as_typed(span.value, schema) for span in finder(text))
            return [Found(value=value, confidence=0.8) for value in typed if within_bounds(value, schema)]
        listed = self._listed(field)
        if listed:
            return [Found(value=item, confidence=0.7) for item in listed if within_bounds(item, schema)]
        chosen = [one for one in self._scalars.learned_sentences(field) if one.likely]
        if chosen:
            return [Found(value=one.text, confidence=one.confidence) for one in chosen if within_bounds(one.text, schema)]
        quotation = self._library.quote(f"{' '.join(sorted(field.words))} {self._context.question}")
        return [Found(value=s.text, confidence=quotation.confidence * 0.6) for s in quotation.sentences if within_bounds(s.text, schema)]

    def _listed(self, field: Field) -> list[str]:
        """`Parts: a, b and c`, or list items below a line that speaks of the field."""
        for fact in self._context.facts:
            if frozenset(words(fact.key)) & field.own_words and isinstance(fact.value, str) and re.search(r"[,;]", fact.value):
                return [part.strip() for part in re.split(r"[,;]\s*|\s+and\s+", fact.value) if part.strip()]
        for heading, items in _lists(self._context.text):
            if set(content_words(heading)) & (field.own_words | {f"{word}s" for word in field.own_words}):
                return items
        return []

    def _objects(self, field: Field, depth: int) -> list[Found]:
        """One object per record, list item or line that gives every required value."""
        only = _only_name(field)
        if only is not None:
            named = dict.fromkeys(str(span.value) for span in spans.names(self._context.request))
            return [Found(value={only: name}, confidence=0.6) for name in named if within_bounds(name, field.schema.properties[only])]
        found = []
        for number, record in enumerate(self._context.records[:_ITEMS_CAP], start=1):
            told = replace(
                self._context,
                facts=tuple(facts_in(record, number)),
                records=(),
                passages=(),
                told=(),
                text="",
                request="",
                question="",
                examples=(),
            )
            found += self._inner_object(field, told, depth)
        if found:
            return found
        lines = [item for _, items in _lists(self._context.text) for item in items] or self._context.request.splitlines()
        for line in [line for line in lines if line.strip()][:_ITEMS_CAP]:
            told = replace(self._context, facts=(), records=(), passages=(), told=(), text=line, request=line, question=line, examples=())
            found += self._inner_object(field, told, depth)
        return found

    def _inner_object(self, field: Field, told: Context, depth: int) -> list[Found]:
        filled = Filler(told, self._fits)._found(Field(schema=field.schema, path=()), depth + 1)  # noqa: SLF001 - the same class
        if filled is None or filled.made_up or not filled.value:
            return []
        return [Found(value=filled.value, confidence=filled.confidence)]


def _only_name(field: Field) -> str | None:
    """The one property of objects that are nothing but a name."""
    properties = field.schema.properties
    name, schema = next(iter(properties.items()), ("", field.schema))
    if len(properties) != 1 or schema.types[:1] != ("string",):
        return None
    return name if Field(schema=schema, path=(name,)).is_name else None


def _is_confidence(name: str, schema: Schema) -> bool:
    return name == "confidence" and schema.types[:1] == ("number",)


def _lists(text: str) -> Iterator[tuple[str, list[str]]]:
    """Every list in a text with the line above it."""
    heading, items = "", list[str]()
    for line in [*text.splitlines(), ""]:
        match = _ITEM.match(line)
        if match:
            items.append(match[1].strip())
        elif line.strip() or items:
            if items:
                yield heading, items
            heading, items = line, []
