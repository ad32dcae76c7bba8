"""Owns the check of what was extracted from a document, and putting it together: nothing counts that the text does not say."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime

from plimsoll_runtime.json_types import JsonValue
from plimsoll_tool_dispatcher.handler import ToolContext

MAX_SENTENCES = 40
SHORTEST_SENTENCE = 3  # words
MONTHS = "January|February|March|April|May|June|July|August|September|October|November|December"
DAYS_AND_MONTHS = frozenset([*MONTHS.split("|"), "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"])
DATES = (
    (re.compile(r"\b\d{4}-\d{2}-\d{2}\b"), ("%Y-%m-%d",)),
    (re.compile(rf"\b\d{{1,2}}(?:st|nd|rd|th)? (?:{MONTHS}) \d{{4}}\b", re.IGNORECASE), ("%d %B %Y",)),
    (re.compile(rf"\b(?:{MONTHS}) \d{{1,2}}(?:st|nd|rd|th)?, \d{{4}}\b", re.IGNORECASE), ("%B %d, %Y",)),
    (re.compile(r"\b\d{1,2}\.\d{1,2}\.\d{4}\b"), ("%d.%m.%Y",)),
    (re.compile(r"\b\d{1,2}/\d{1,2}/\d{4}\b"), ("%d/%m/%Y", "%m/%d/%Y")),
)
AMOUNT = re.compile(r"(?:USD|EUR|GBP|CHF|[$€£])\s?\d[\d,]*(?:\.\d{2})?")
CODE = re.compile(r"\b[A-Z]{2,6}-\d{2,8}\b")
SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
WORD = re.compile(r"\w+")
LEAD = re.compile(r"^(?:\[[^\]]*\]\s*|(?:Dear|Attn\.?|To:)\s+)+")
TITLE = re.compile(r"^(?:Mr|Mrs|Ms|Dr|Prof|Captain)\.?\s+")
LIST_MARK = re.compile(r"^(?:[-*•]|\d+[.)])\s+")
PARTICLES = frozenset({"and", "de", "del", "der", "di", "la", "le", "of", "the", "van", "von"})
SAME_SHARE = 0.9  # of a quoted sentence's words must stand in the text, in order; the rest may be line breaks and hyphens
FIELDS = {"main_point": "main_point", "duties": "duty", "parties": "party", "dates": "date", "amounts": "amount", "codes": "code"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A section of the document as it was read."""

    number: int
    heading: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One value and the section that says it; `by` tells whether the model or a pattern found it."""

    section: int
    field: str
    value: str
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentence:
    """A sentence for the report; `place` counts those of its section from 0."""

    source: str
    text: str
    field: str
    place: int


def dates_in(text: str) -> Iterator[date]:
    """Every day that a text names in a usual notation; a notation that can be read in two ways gives both."""
    for pattern, forms in DATES:
        for found in pattern.findall(text):
            plain = re.sub(r"(?<=\d)(?:st|nd|rd|th)\b", "", found)
            for form in forms:
                try:
                    yield datetime.strptime(plain, form).date()  # noqa: DTZ007 - a calendar day has no zone
                except ValueError:
                    continue


def amount_key(value: str) -> tuple[str, str]:
    """(currency, number) of an amount, so that $1,200 and USD 1200.00 are the same."""
    currency = {"USD": "$", "EUR": "€", "GBP": "£"}.get(value[:3], value[:3] if value[:1].isalpha() else value[:1])
    number = re.sub(r"[^\d.]", "", value)
    return currency, f"{float(number):.2f}" if re.fullmatch(r"\d+(\.\d+)?", number) else number


def says(text: str, sentence: str) -> bool:
    """Whether a text contains a sentence, but for white space, case and punctuation."""
    have, want = WORD.findall(text.casefold()), WORD.findall(sentence.casefold())
    if not want:
        return False
    if f" {' '.join(want)} " in f" {' '.join(have)} ":
        return True
    position, found = 0, 0
    for word in want:
        if word in have[position : position + 12]:
            position = have.index(word, position) + 1
            found += 1
        elif not found and word in have:
            position, found = have.index(word) + 1, 1
    return found >= SAME_SHARE * len(want)


def plain(section: Section) -> str:
    """Heading and text of a section in one line, so that a value may run over a line's end."""
    return " ".join(f"{section.heading} {section.text}".split())


def holds(section: Section, field: str, value: str) -> bool:
    """Whether a section says an extracted value."""
    text = plain(section)
    match field:
        case "date":
            return value in {day.isoformat() for day in dates_in(text)}
        case "amount":
            return amount_key(value) in {amount_key(found) for found in AMOUNT.findall(text)}
        case "code":
            return value in CODE.findall(text) or value in text
    return all(says(text, sentence) for sentence in SENTENCE_END.split(value) if WORD.search(sentence))


def is_name(section: Section, value: str) -> bool:
    """Whether a value can be the name of a person or an organisation, and not a heading or the first word of a sentence."""
    words = value.split()
    if not 1 <= len(words) <= 6 or value.casefold() in section.heading.casefold() or value.title() in DAYS_AND_MONTHS:
        return False
    if not all(word[0].isupper() or word[0] == "&" or word in PARTICLES for word in words) or not value[-1].isalnum():
        return False
    # A single capitalised word is a name only where no sentence begins with it.
    return len(words) > 1 or re.search(rf"[a-z,] {re.escape(value)}\b", section.text) is not None


def extracted(extract: Mapping[str, JsonValue]) -> Iterator[tuple[str, str]]:
    """(field, value) for everything that the model gave for a section."""
    for name, field in FIELDS.items():
        value = extract.get(name)
        for item in value if isinstance(value, list) else [value]:
            text = item.get("name") if isinstance(item, dict) else item
            if isinstance(text, str) and text.strip():
                yield field, LEAD.sub("", text.strip()) if field == "party" else text.strip()


def overlooked(section: Section, known: Sequence[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """(field, value) for what stands in a section and is not among the values known."""
    text = plain(section)
    amounts = {amount_key(value) for field, value in known if field == "amount"}
    for value in dict.fromkeys(AMOUNT.findall(text)):
        if amount_key(value) not in amounts:
            yield "amount", value
    # A day written as 3/4/2026 has two readings: a pattern cannot choose one, so it adds none.
    for pattern, forms in DATES:
        if len(forms) == 1:
            for day in dict.fromkeys(dates_in("\n".join(pattern.findall(text)))):
                if ("date", day.isoformat()) not in known:
                    yield "date", day.isoformat()
    for value in dict.fromkeys(CODE.findall(text)):
        if ("code", value) not in known:
            yield "code", value


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """An extracted value that does not count, and why: not_in_text or not_a_name."""

    section: int
    field: str
    value: str
    why: str


def check(sections: Sequence[Section], extracts: Mapping[int, Mapping[str, JsonValue]]) -> tuple[list[Fact], list[Dropped]]:
    """What the text confirms or adds, and what does not count. `extracts` are by section number."""
    kept: list[Fact] = []
    dropped: list[Dropped] = []
    for section in sections:
        confirmed: list[tuple[str, str]] = []
        for field, value in dict.fromkeys(extracted(extracts.get(section.number, {}))):
            if not holds(section, field, value):
                dropped.append(Dropped(section=section.number, field=field, value=value, why="not_in_text"))
            elif field == "party" and not is_name(section, value):
                dropped.append(Dropped(section=section.number, field=field, value=value, why="not_a_name"))
            else:
                confirmed.append((field, value))
        added = dict.fromkeys(overlooked(section, confirmed))
        kept += [Fact(section=section.number, field=field, value=value, by="model") for field, value in confirmed]
        kept += [Fact(section=section.number, field=field, value=value, by="pattern") for field, value in added]
    return kept, dropped


def merge_values(facts: Sequence[Fact]) -> list[tuple[str, str, list[int]]]:
    """(field, value, sections) with each value once: dates in order of time, amounts by size, the others by how often they are named."""
    found: dict[tuple[str, str], list[int]] = {}
    names: dict[tuple[str, str], str] = {}
    for fact in facts:
        if fact.field in {"party", "date", "amount", "code"}:
            key = (fact.field, "".join(amount_key(fact.value)) if fact.field == "amount" else TITLE.sub("", fact.value).casefold())
            names.setdefault(key, fact.value)
            if fact.section not in found.setdefault(key, []):
                found[key].append(fact.section)
    merged = [(field, names[field, key], where) for (field, key), where in found.items()]
    return sorted(merged, key=_rank)


def _rank(entry: tuple[str, str, list[int]]) -> tuple[str, float, str]:
    field, value, where = entry
    match field:
        case "date":
            return field, 0.0, value
        case "amount":
            number = re.sub(r"[^\d.]", "", value)
            return field, -float(number or 0), value
    return field, -float(len(where)), value


def merge_sentences(sections: Sequence[Section], facts: Sequence[Fact]) -> list[Sentence]:
    """The sentences that matter, each once, in reading order."""
    headings = {section.number: section.heading for section in sections}
    seen: dict[str, Sentence] = {}
    places: Counter[int] = Counter()
    for fact in facts:
        for part in SENTENCE_END.split(" ".join(fact.value.split())) if fact.field in {"main_point", "duty"} else ():
            text = LIST_MARK.sub("", part)
            if len(WORD.findall(text)) >= SHORTEST_SENTENCE and text.casefold() not in seen:
                source = f"section {fact.section}, {headings[fact.section]}"
                seen[text.casefold()] = Sentence(source=source, text=text, field=fact.field, place=places[fact.section])
                places[fact.section] += 1
    # A quotation that was cut to length ends in the beginning of a sentence, which may be there in full as well.
    return [one for one in seen.values() if not any(other.text != one.text and other.text.startswith(one.text) for other in seen.values())]


def fairly(sentences: Sequence[Sentence], most: int) -> list[Sentence]:
    """At most so many sentences, in reading order: the first of every section before the second of any."""
    chosen = sorted(range(len(sentences)), key=lambda at: (sentences[at].place, at))[:most]
    return [sentences[at] for at in sorted(chosen)]


def read_sections(value: JsonValue) -> list[Section]:
    """Sections as split_document gives them."""
    items = [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
    return [Section(number=int(str(item["number"])), heading=str(item["heading"]), text=str(item["text"])) for item in items]


def read_facts(value: JsonValue) -> list[Fact]:
    """Facts as check_facts gives them."""
    items = [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
    return [
        Fact(section=int(str(item["section"])), field=str(item["field"]), value=str(item["value"]), by=str(item["by"])) for item in items
    ]


async def check_facts(arguments: dict[str, JsonValue], context: ToolContext) -> JsonValue:
    """Holds the extracts against their sections."""
    sections, extracts = read_sections(arguments["sections"]), arguments["extracts"]
    read = dict(zip((section.number for section in sections), extracts if isinstance(extracts, list) else [], strict=True))
    kept, dropped = check(sections, {number: extract for number, extract in read.items() if isinstance(extract, dict)})
    return {
        "facts": [asdict(fact) for fact in kept],
        "dropped": [asdict(value) for value in dropped],
        "checked": sum(fact.by == "model" for fact in kept) + len(dropped),
        "unread": [number for number, extract in read.items() if extract is None],
    }


async def merge_facts(arguments: dict[str, JsonValue], context: ToolContext) -> JsonValue:
    """Each value once with its sections, and the sentences for the report."""
    facts = read_facts(arguments["facts"])
    sentences = merge_sentences(read_sections(arguments["sections"]), facts)
    return {
        "values": [{"field": field, "value": value, "sections": list[JsonValue](where)} for field, value, where in merge_values(facts)],
        "sentences": [{"source": one.source, "text": one.text, "field": one.field} for one in fairly(sentences, MAX_SENTENCES)],
        "left_off": max(0, len(sentences) - MAX_SENTENCES),
    }
