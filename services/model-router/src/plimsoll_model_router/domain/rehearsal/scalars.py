"""Finding one value of an answer in the context, by what its schema asks for, and how sure the finding is."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from plimsoll_runtime.json_types import JsonValue

from plimsoll_model_router.domain.rehearsal import learned, spans
from plimsoll_model_router.domain.rehearsal.classify import Label
from plimsoll_model_router.domain.rehearsal.context import Context
from plimsoll_model_router.domain.rehearsal.facts import Passage
from plimsoll_model_router.domain.rehearsal.field import (
    ANSWER_WORDS,
    Field,
    dressed,
    key_words,
    likeness,
    line_label,
    singular,
    spoken_near,
    unclaimed,
)
from plimsoll_model_router.domain.rehearsal.fits import Fits
from plimsoll_model_router.domain.rehearsal.quote import Library
from plimsoll_model_router.domain.rehearsal.schema import Option, Schema
from plimsoll_model_router.domain.rehearsal.spans import Span
from plimsoll_model_router.domain.rehearsal.text import STOP_WORDS, sentences, vocabulary, words
from plimsoll_model_router.domain.rehearsal.values import as_typed, coerced, fits

# How sure each way of finding a value is.
NAMED = 0.95  # it stands under the field's own name
ALIKE = 0.75  # it stands under a similar name
ALONE = 0.8  # the text holds one value of this kind
NEAR = 0.7  # the nearest of several to the field's name
FIRST = 0.3  # the first of several
LEARNED = 0.85  # it stands where the examples' values stand
MENTIONED = 0.85  # the text names this choice and no other
WHOLE = 0.6  # the request itself
CHANCE = 0.02  # it says nothing

NOTHING = "The context holds nothing that answers this."

_IDENTIFIER_WORDS = vocabulary("id ids identifier number no nr code key reference ref sku iban")
_WHOLE_WORDS = vocabulary("query question message request search input content")
_SUMMARY_WORDS = vocabulary("summary abstract overview gist")
_TITLE_WORDS = vocabulary("title subject heading headline topic")
_NEGATIONS = vocabulary("no not never without isn't don't doesn't didn't won't can't cannot nor none neither hasn't haven't wasn't")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A value and how sure it is, 0 to 1."""

    value: JsonValue
    confidence: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """A sentence, how sure it is that it belongs here, and whether that is more likely than not."""

    text: str
    confidence: float
    likely: bool


class Scalars:
    """Fills single values from one context."""

    def __init__(self, context: Context, fits: Fits, library: Library) -> None:
        self._context = context
        self._fits = fits
        self._library = library
        self._favourite = _favourite_record(context)

    def find(self, field: Field) -> Found | None:
        """The value, or None when the context says nothing about it."""
        if field.schema.options:
            return self._choice(field, field.schema.options)
        match field.schema.types[:1]:
            case ("boolean",):
                return self._boolean(field)
            case ("number",) | ("integer",):
                return self._number(field)
            case ("string",) | ():
                return self._text(field)
            case _:
                return None

    def _choice(self, field: Field, options: Sequence[Option]) -> Found | None:
        seen = learned.seen_at(self._context.examples, field.path)
        positions = {str(option.value): at for at, option in enumerate(options)}
        examples = [(one.text, positions[str(one.value)]) for one in seen if str(one.value) in positions]
        if not examples:
            told = self._fact(field)
            if told and str(told.value) in positions:
                return Found(value=options[positions[str(told.value)]].value, confidence=told.confidence)
            mentioned = [option for option in options if _mentions(self._context.request, str(option.value))]
            if len(mentioned) == 1 and len(options) > 1:
                return Found(value=mentioned[0].value, confidence=MENTIONED)
        if len(options) == 1:
            return Found(value=options[0].value, confidence=1.0)
        labels = [Label(name=str(option.value), description=option.description) for option in options]
        choice = self._fits.classifier(labels, examples).choose(self._context.request)
        return Found(value=options[choice.label].value, confidence=choice.confidence)

    def _boolean(self, field: Field) -> Found | None:
        if any(isinstance(one.value, bool) for one in learned.seen_at(self._context.examples, field.path)):
            return self._choice(field, (Option(value=True, description=field.schema.description), Option(value=False)))
        told = self._fact(field)
        if told is not None:
            return told
        wanted = field.words - STOP_WORDS
        spoken = words(self._context.text)
        hits = [at for at, word in enumerate(spoken) if word[:5] in {want[:5] for want in wanted}]
        if not hits:
            return Found(value=False, confidence=0.5)
        denied = any(_NEGATIONS & set(spoken[max(0, at - 3) : at]) for at in hits)
        share = len({spoken[at][:5] for at in hits}) / len({want[:5] for want in wanted})
        return Found(value=not denied, confidence=0.5 + 0.4 * share)

    def _number(self, field: Field) -> Found | None:
        told = self._fact(field)
        if told is not None:
            return told
        return self._nearest(field, spans.numbers)

    def _text(self, field: Field) -> Found | None:
        schema, seen = field.schema, learned.seen_at(self._context.examples, field.path)
        finder = spans.by_format(schema.text("format"))
        pattern = schema.text("pattern")
        if finder is not None or pattern:
            search = finder or (lambda text: spans.by_pattern(pattern, text))
            return self._fact(field) or self._nearest(field, search)
        if learned.is_label(seen):
            return self._choice(field, [Option(value=value) for value in dict.fromkeys(str(one.value) for one in seen)])
        identifier = self._identifier(field)
        if identifier is not None or field.own_words & _IDENTIFIER_WORDS:
            return identifier
        sentences_chosen = self.learned_sentences(field)
        if sentences_chosen:
            return _clipped(sentences_chosen[0].text, sentences_chosen[0].confidence, schema)
        return self._fact(field) or self._learned(field, seen) or self._prose(field)

    def _identifier(self, field: Field) -> Found | None:
        samples = [value for value in field.schema.samples if isinstance(value, str)]
        samples += [str(span.value) for span in spans.identifiers(field.schema.description)]
        shapes = {spans.shape(sample) for sample in samples if any(c.isdigit() for c in sample)}
        if not shapes and not field.own_words & _IDENTIFIER_WORDS:
            return None
        told = self._fact(field)
        if told is not None and (not shapes or spans.shape(str(told.value)) in shapes):
            return told
        return self._nearest(field, lambda text: [s for s in spans.identifiers(text) if not shapes or spans.shape(str(s.value)) in shapes])

    def _learned(self, field: Field, seen: Sequence[learned.Seen]) -> Found | None:
        copied = [one for one in seen if one.stands_in_text]
        longest = max((len(str(one.value).split()) for one in copied), default=0)
        for anchor in learned.anchors(copied):
            value = learned.after_anchor(self._context.text, anchor, longest)
            if value and fits(value, field.schema):
                return Found(value=value, confidence=LEARNED)
        return None

    def learned_sentences(self, field: Field) -> list[Chosen]:
        """The sentences that look like those which the examples copied into the field, best first."""
        weighed = learned.copied_sentences(self._context.examples, field.path)
        pool = [passage.text for passage in self._context.passages] or [self._context.request]
        if not weighed:
            return []
        labels = (Label(name="", description=field.schema.description), Label(name=""))
        classifier = self._fits.classifier(labels, [(sentence, 0 if chosen else 1) for sentence, chosen in weighed])
        found = [(one, classifier.shares(one)) for text in pool for one in sentences(text)]
        judged = [Chosen(text=one, confidence=yes * min(1.0, len(one.split()) / 8), likely=yes > no) for one, (yes, no) in found]
        return sorted(judged, key=lambda one: -one.confidence)

    def _prose(self, field: Field) -> Found | None:
        own, request = field.own_words, self._context.request
        if own & _WHOLE_WORDS:
            return _clipped(" ".join(request.split()), WHOLE, field.schema)
        if field.is_name:
            if "\n" not in request and len(request.split()) < 15 and line_label(request):
                return _clipped(line_label(request), NEAR, field.schema)
            return self._nearest(field, spans.names) or self._nearest(field, spans.quoted)
        if own & _TITLE_WORDS:
            lines = [line.strip(" #*") for line in request.splitlines() if line.strip(" #*")]
            return _clipped(lines[0], NEAR, field.schema) if lines else None
        if own & _SUMMARY_WORDS:
            prose = "\n".join(line for line in request.splitlines() if not re.match(r"\s*[-*•#|]|[^.]{0,48}:\s", line))
            told = [s for s in sentences(prose) if s[-1] in ".!?" and len(s.split()) > 4] or sentences(request)
            return _clipped(" ".join(told[:2]), WHOLE, field.schema) if told else None
        return self._quoted(field)

    def _quoted(self, field: Field) -> Found | None:
        """What the passages say to the question; without a question, what the text itself says of the field."""
        question, answers = self._context.question, bool(field.own_words & ANSWER_WORDS)
        if self._context.passages and question:
            quotation = self._library.quote(question if answers else f"{' '.join(sorted(field.words))} {question}")
            found = _clipped(quotation.text if answers else quotation.plain, quotation.confidence, field.schema)
            return found or (_clipped(NOTHING, CHANCE, field.schema) if answers else None)
        quotation = self._library.quote(" ".join(sorted(field.words)))
        if quotation.sentences:
            return _clipped(quotation.plain, quotation.confidence / 2, field.schema)
        lead = self._context.told[:1] or tuple(Passage(text=text) for text in sentences(self._context.request)[:1])
        return _clipped(lead[0].text, FIRST, field.schema) if lead else None

    def _fact(self, field: Field) -> Found | None:
        """The value that stands under the field's name, or under one like it."""
        best: tuple[float, bool, Found] | None = None
        for fact in self._context.facts:
            score = likeness(field, fact)
            if score < 0.45 or (score < 1 and key_words(fact.key) in field.claimed):
                continue
            value = coerced(fact.value, field.schema)
            favoured = fact.record in {0, self._favourite}
            if value is not None and (best is None or (score, favoured) > best[:2]):
                best = (score, favoured, Found(value=value, confidence=NAMED if score >= 0.99 else ALIKE))
        return best[2] if best else None

    def _nearest(self, field: Field, finder: Callable[[str], list[Span]]) -> Found | None:
        """The span whose surroundings speak most of the field."""
        text = unclaimed(self._context.text, field)
        found = [span for span in finder(text) if fits(as_typed(span.value, field.schema), field.schema)]
        if not found:
            return None
        hints = set(field.words)
        for anchor in learned.anchors(learned.seen_at(self._context.examples, field.path)):
            hints |= set(singular(words(anchor)))
        scores = [spoken_near(text, span, field.own_words, hints - STOP_WORDS) + dressed(text, span, hints) for span in found]
        best = max(scores)
        value = as_typed(found[scores.index(best)].value, field.schema)
        if len({span.value for span in found}) == 1:
            return Found(value=value, confidence=ALONE)
        return Found(value=value, confidence=NEAR if best > 0 else FIRST)


def _clipped(text: str, confidence: float, schema: Schema) -> Found | None:
    """The text, cut at a word to the length allowed."""
    longest = schema.count("maxLength", len(text))
    if len(text) > longest:
        text = text[:longest].rsplit(" ", 1)[0] if " " in text[:longest] else text[:longest]
    return Found(value=text, confidence=confidence) if text and fits(text, schema) else None


def _favourite_record(context: Context) -> int:
    """The record that shares most with the request: of several orders, the one that was asked about."""
    asked = set(words(context.request))
    shared: dict[int, int] = {}
    for fact in context.facts:
        if fact.record:
            shared[fact.record] = shared.get(fact.record, 0) + len(asked & set(words(str(fact.value))))
    best = max(shared.values(), default=0)
    return next((record for record, count in shared.items() if count == best), 0)


def _mentions(text: str, option: str) -> bool:
    spoken = option.replace("_", " ").replace("-", " ")
    return bool(re.search(rf"(?<!\w){re.escape(spoken)}(?!\w)", text.replace("_", " ").replace("-", " "), re.IGNORECASE))
