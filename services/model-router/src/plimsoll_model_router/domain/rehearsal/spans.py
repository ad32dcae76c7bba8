"""Typed values in running text: numbers, dates, addresses, identifiers, names; each with the place where it stands."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date

import jsonschema_rs

from plimsoll_model_router.domain.rehearsal.facts import Scalar

_NUMBER = re.compile(
    r"(?<![\w.,/-])[-−]?\d{1,3}(?:[ ,.’']\d{3})+(?:[.,]\d{1,2})?(?![\w/-])|(?<![\w.,/-])[-−]?\d+(?:[.,]\d+)?(?![\w/-]|[.,]\d)"
)
_EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+")
_URI = re.compile(r"https?://[^\s<>\"')\]]+[^\s<>\"')\].,;:!?]")
_UUID = re.compile(r"\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b")
_MOMENT = re.compile(r"\b\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:Z|[+-]\d{2}:?\d{2})?")
_ISO = re.compile(r"\b(\d{4})-(\d{1,2})-(\d{1,2})\b")
_NUMERIC_DATE = re.compile(r"(?<![\d.])(\d{1,2})([./-])(\d{1,2})\2(\d{4})(?!\d)")
_MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December")
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_CALENDAR = frozenset(_MONTHS + _DAYS)
_MONTH = "(" + "|".join(f"{name[:3]}(?:{name[3:]})?" for name in _MONTHS) + r")\.?"
_DAY_FIRST = re.compile(rf"\b(\d{{1,2}})(?:st|nd|rd|th)?\.?\s+(?:of\s+)?{_MONTH},?\s+(\d{{4}})\b", re.IGNORECASE)
_MONTH_FIRST = re.compile(rf"\b{_MONTH}\s+(\d{{1,2}})(?:st|nd|rd|th)?,?\s+(\d{{4}})\b", re.IGNORECASE)
_IDENTIFIER = re.compile(r"(?<![\w@.,/-])#?(?=[\w/-]*\d)[A-Za-z0-9]+(?:[-_/][A-Za-z0-9]+)*(?![\w@-]|[.,]\d)")
_QUOTED = re.compile(r"[\"“«]([^\"”»\n]{1,200})[\"”»]")
_NAME = re.compile(r"\b[A-Z][\w'’&-]*(?:[ \t]+(?:(?:of|de|van|von|the|&)[ \t]+)?[A-Z][\w'’&-]*)+|(?<=[a-z,;:] )[A-Z][a-z][\w'’-]+")
_NUMBER_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_NUMBER_WORD = re.compile(r"\b(" + "|".join(_NUMBER_WORDS) + r")\b", re.IGNORECASE)


_TEXT_CAP = 100_000  # characters searched for patterns


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A value and where in the text it stands."""

    value: Scalar
    start: int
    end: int


def numbers(text: str) -> list[Span]:
    """Numbers that are not part of a date or an identifier; `1,250.50` and `1.250,50` are the same. Number words come last."""
    taken = [span for finder in (dates, moments) for span in finder(text)]
    found = [
        Span(value=parse_number(match[0]), start=match.start(), end=match.end())
        for match in _NUMBER.finditer(text)
        if not any(span.start <= match.start() < span.end for span in taken)
    ]
    spoken = [
        Span(value=_NUMBER_WORDS.index(match[1].lower()), start=match.start(), end=match.end()) for match in _NUMBER_WORD.finditer(text)
    ]
    return found + spoken


def parse_number(text: str) -> int | float:
    """The number that a text writes, with either decimal sign."""
    plain = re.sub(r"[ ’']", "", text.replace("−", "-"))
    mark = max(plain.rfind("."), plain.rfind(","))
    if mark < 0:
        return int(plain)
    grouped = len(plain) - mark - 1 == 3 and (plain.count(plain[mark]) > 1 or (plain.lstrip("-")[0] != "0" and plain[mark] == ","))
    digits = plain.replace(",", "").replace(".", "")
    if grouped and plain.count(".") * plain.count(",") == 0:
        return int(digits)
    whole, fraction = plain[:mark].replace(",", "").replace(".", ""), plain[mark + 1 :]
    return float(f"{whole}.{fraction}")


def dates(text: str) -> list[Span]:
    """Days, as ISO 8601 text. Of `03/04/2026` the first number is the day, unless it cannot be."""
    found = []
    for pattern, order in ((_ISO, (1, 2, 3)), (_DAY_FIRST, (3, 2, 1)), (_MONTH_FIRST, (3, 1, 2)), (_NUMERIC_DATE, (4, 3, 1))):
        for match in pattern.finditer(text):
            year, month, day = (_month(match[group]) if group == order[1] else int(match[group]) for group in order)
            if pattern is _NUMERIC_DATE and month > 12:
                month, day = day, month
            try:
                value = date(year, month, day).isoformat()
            except ValueError:
                continue
            found.append(Span(value=value, start=match.start(), end=match.end()))
    return sorted(found, key=lambda span: span.start)


def moments(text: str) -> list[Span]:
    """Times of day with their date, as RFC 3339 asks for; without a zone they are UTC."""
    found = []
    for match in _MOMENT.finditer(text):
        value = match[0].replace(" ", "T")
        clock = value[11:]
        zone = re.search(r"Z$|[+-]\d{2}:?\d{2}$", clock)
        bare = clock[: zone.start()] if zone else clock
        full = f"{value[:11]}{bare}{':00' if bare.count(':') == 1 else ''}{zone[0] if zone else 'Z'}"
        found.append(Span(value=re.sub(r"([+-]\d{2})(\d{2})$", r"\1:\2", full), start=match.start(), end=match.end()))
    return found


def emails(text: str) -> list[Span]:
    return list(_plain(_EMAIL, text))


def uris(text: str) -> list[Span]:
    return list(_plain(_URI, text))


def uuids(text: str) -> list[Span]:
    return list(_plain(_UUID, text))


def identifiers(text: str) -> list[Span]:
    """Words with a digit in them, such as `AC-1042`; dates and amounts with decimals are not among them."""
    taken = dates(text)
    return [
        Span(value=match[0].lstrip("#"), start=match.start(), end=match.end())
        for match in _IDENTIFIER.finditer(text)
        if not any(span.start <= match.start() < span.end for span in taken)
    ]


def quoted(text: str) -> list[Span]:
    return [Span(value=match[1].strip(), start=match.start(), end=match.end()) for match in _QUOTED.finditer(text)]


def names(text: str) -> list[Span]:
    """Runs of capitalised words, and single ones inside a sentence; days and months are none, nor is a leading article."""
    found = []
    for match in _NAME.finditer(text):
        start = match.start() + (
            len(lead[0]) if (lead := re.match(r"(?:The|This|That|A|An|In|On|At|By|For|If|It|We|You)\s+", match[0])) else 0
        )
        value = re.sub(r"['’]s?$", "", text[start : match.end()])
        if value and value[0].isupper() and value.split()[0] not in _CALENDAR:
            found.append(Span(value=value, start=start, end=match.end()))
    return found


def by_format(name: str) -> Callable[[str], list[Span]] | None:
    """The finder for a JSON Schema `format`; None when there is none."""
    return {"date": dates, "date-time": moments, "email": emails, "uri": uris, "url": uris, "uuid": uuids}.get(name)


def by_pattern(pattern: str, text: str) -> list[Span]:
    """Words (or up to four of them, when the pattern has white space) that match a JSON Schema pattern.

    The pattern is tried by an engine that needs linear time, whoever wrote it; one that the engine does not know finds nothing.
    """
    matches = matcher(pattern)
    if matches is None:
        return []
    tokens = list(re.finditer(r"\S+", text[:_TEXT_CAP]))
    widest = 4 if " " in pattern or r"\s" in pattern else 1
    found: list[Span] = []
    for at in range(len(tokens)):
        for width in range(min(widest, len(tokens) - at), 0, -1):
            whole = _trimmed(text, tokens[at].start(), tokens[at + width - 1].end())
            places = [place for place in (*_pieces(text, *whole), whole) if 0 < place[1] - place[0] <= 200 and matches(text[slice(*place)])]
            if places:
                start, end = places[0]
                found.append(Span(value=text[start:end], start=start, end=end))
                break
    return found


def matcher(pattern: str) -> Callable[[str], bool] | None:
    """Whether a text has a match of the pattern in it, in linear time; None for patterns beyond that."""
    try:
        validator = jsonschema_rs.validator_for({"type": "string", "pattern": pattern}, pattern_options=jsonschema_rs.RegexOptions())
    except ValueError:
        return None
    return lambda text: bool(validator.is_valid(text))


def shape(identifier: str) -> str:
    """What an identifier looks like: `AC-1042` and `BX-77` are both `A-9`."""
    return re.sub(r"\d+", "9", re.sub(r"[^\W\d_]+", "A", identifier))


def _plain(pattern: re.Pattern[str], text: str) -> Iterator[Span]:
    for match in pattern.finditer(text):
        yield Span(value=match[0], start=match.start(), end=match.end())


def _month(text: str) -> int:
    return int(text) if text.isdigit() else next(at for at, name in enumerate(_MONTHS, start=1) if name[:3].lower() == text[:3].lower())


def _pieces(text: str, start: int, end: int) -> list[tuple[int, int]]:
    """The parts of a word between its marks, such as `BX-7` in `order:BX-7`."""
    parts = [(start + part.start(), start + part.end()) for part in re.finditer(r"[^:=,;/|]+", text[start:end])]
    return parts if len(parts) > 1 else []


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    while start < end and text[start] in "\"'“”‘’([{<#*":
        start += 1
    while end > start and text[end - 1] in "\"'“”‘’)]}>.,;:!?*":
        end -= 1
    return start, end
