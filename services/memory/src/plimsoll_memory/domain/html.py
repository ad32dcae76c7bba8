"""HTML as text and blocks: what a reader of the page would see, without scripts, styles and markup."""

from dataclasses import dataclass, field
from html.parser import HTMLParser

from plimsoll_memory.domain.block import Block, BlockKind
from plimsoll_memory.domain.media import clean

_SILENT = frozenset({"script", "style", "noscript", "template", "svg"})
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_BLOCKS = (
    "address article aside blockquote body center dd details dialog div dl dt fieldset figcaption figure footer form header hr html"
    " legend li main nav ol p section summary ul"
)
_BREAKS = frozenset(_BLOCKS.split())


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """The visible text of an HTML document; `title` is empty when the page has none."""

    title: str
    text: str
    blocks: tuple[Block, ...]


def read_html(markup: str) -> Page:
    """Read any markup, however broken; what cannot be understood is text or nothing."""
    reader = _PageReader()
    reader.feed(markup)
    reader.close()
    return reader.page()


@dataclass(slots=True)
class _Draft:
    """The block being collected."""

    kind: BlockKind = BlockKind.PROSE
    level: int = 0
    parts: list[str] = field(default_factory=list)


class _PageReader(HTMLParser):
    """Collects text into blocks. Tables are one block, cells apart by ` | `; preformatted text keeps its lines."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._title: list[str] = []
        self._texts: list[str] = []
        self._blocks: list[Block] = []
        self._length = 0
        self._draft = _Draft()
        self._silent = ""
        self._silent_depth = 0
        self._in_title = False
        self._tables = 0

    def page(self) -> Page:
        self._flush(_Draft())
        return Page(title=" ".join(clean("".join(self._title)).split()), text="\n\n".join(self._texts), blocks=tuple(self._blocks))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self._silent:
            self._silent_depth += tag == self._silent
        elif tag in _SILENT:
            self._silent, self._silent_depth = tag, 1
        elif tag == "title":
            self._in_title = True
        elif tag == "table":
            self._tables += 1
            if self._tables == 1:
                self._flush(_Draft(kind=BlockKind.UNIT))
        elif self._tables:
            self._draft.parts += {"tr": ["\n"], "td": [" | "], "th": [" | "], "br": [" "]}.get(tag, [" "])
        else:
            self._start_block(tag)

    def handle_endtag(self, tag: str) -> None:
        if self._silent:
            self._silent_depth -= tag == self._silent
            if not self._silent_depth:
                self._silent = ""
        elif tag == "title":
            self._in_title = False
        elif tag == "table" and self._tables:
            self._tables -= 1
            if not self._tables:
                self._flush(_Draft())
        elif not self._tables and (tag in _BREAKS or tag in _HEADINGS or tag == "pre"):
            self._flush(_Draft())

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self._title.append(data)
        elif not self._silent:
            self._draft.parts.append(data if self._draft.kind is BlockKind.LINES else data.replace("\n", " "))

    def _start_block(self, tag: str) -> None:
        self._in_title = False  # also when nobody closed it
        if tag in _HEADINGS:
            self._flush(_Draft(kind=BlockKind.HEADING, level=_HEADINGS[tag]))
        elif tag == "pre":
            self._flush(_Draft(kind=BlockKind.LINES))
        elif tag in _BREAKS:
            self._flush(_Draft(parts=["- "] if tag == "li" else []))
        elif tag == "br":
            self._draft.parts.append("\n")

    def _flush(self, following: _Draft) -> None:
        """Close the block being collected and begin the next."""
        draft, self._draft = self._draft, following
        text = _tidied(draft)
        if not text or text == "-":
            return
        start = self._length
        end = start + len(text)
        title = text.replace("\n", " ") if draft.kind is BlockKind.HEADING else ""
        self._blocks.append(Block(kind=draft.kind, start=start, end=end, level=draft.level, title=title))
        self._texts.append(text)
        self._length = end + 2


def _tidied(draft: _Draft) -> str:
    raw = clean("".join(draft.parts))
    if draft.kind is BlockKind.LINES:
        return raw.strip()
    lines = (" ".join(line.split()).removeprefix("| ") for line in raw.split("\n"))
    return "\n".join(line for line in lines if line)
