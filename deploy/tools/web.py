"""Pages of the web as text, through the egress guard."""

import codecs
import ipaddress
import re
from html.parser import HTMLParser
from typing import TypeAlias

from plimsoll_runtime.egress import EgressGuard, EgressRefused, EgressRules, HostUnknown
from plimsoll_runtime.errors import PlimsollError
from plimsoll_runtime.outbound_http import AnswerUnfit, HttpAnswer, HttpLimits, HttpRequest, OutboundHttp, RequestUnfit, Unreachable
from plimsoll_tool_dispatcher.handler import ToolContext, ToolRejected, ToolUnavailable

Arguments: TypeAlias = "dict[str, str | int]"

MAX_BYTES = 5 * 1024 * 1024
_READABLE = re.compile(r"text/[a-z0-9.+-]+|application/(?:[a-z0-9.+-]+\+)?(?:json|xml|javascript|yaml|x-yaml)")
_HIDDEN = frozenset({"script", "style", "noscript", "template", "svg", "iframe", "object", "head"})
_BLOCKS = frozenset(
    {"p", "div", "br", "li", "tr", "h1", "h2", "h3", "h4", "h5", "h6", "section", "article", "table", "blockquote", "pre", "hr"}
)


async def web_fetch(arguments: Arguments, context: ToolContext) -> dict[str, str | int | bool]:
    """The readable text of a page."""
    limits = HttpLimits(total_s=max(0.1, context.deadline_s - 0.5), answer_bytes=MAX_BYTES)
    headers = {"accept": "text/html, text/plain, application/json;q=0.9, application/xml;q=0.8, */*;q=0.1"}
    try:
        async with OutboundHttp(EgressGuard(rules_of(context.credentials["web_origins"])), limits) as http:
            answer = await http.send(HttpRequest(url=str(arguments["url"]), headers=headers))
    except EgressRefused as error:
        raise ToolRejected("EGRESS_REFUSED", error.message) from error
    except (HostUnknown, Unreachable) as error:
        raise ToolUnavailable(error.reason, error.message) from error
    except (AnswerUnfit, RequestUnfit) as error:
        raise ToolRejected(error.reason, error.message) from error
    except PlimsollError as error:
        raise ConnectionError(error.reason) from error
    return _told(answer, int(arguments["from_character"]), int(arguments["characters"]))


def rules_of(text: str) -> EgressRules:
    """Origins and networks behind `allow:`, between spaces or commas. Raises ToolRejected when the operator's list is wrong."""
    mark, _, listed = text.partition(":")
    words = listed.replace(",", " ").split()
    networks = [word for word in words if _is_network(word)]
    wrong = ToolRejected("MISCONFIGURED", "the list of web origins has a mistake; the operator has to mend it")
    if mark.strip() != "allow":
        raise wrong
    try:
        return EgressRules.parse([word for word in words if word not in networks], networks)
    except ValueError as error:
        raise wrong from error


def _told(answer: HttpAnswer, first: int, characters: int) -> dict[str, str | int | bool]:
    media = answer.headers.get("content-type", "text/plain").partition(";")[0].strip().lower()
    if answer.status in {429, 503}:
        raise ToolUnavailable(f"HTTP_{answer.status}", f"the server answered {answer.status}")
    if answer.body and _READABLE.fullmatch(media) is None:
        raise ToolRejected("NOT_TEXT", f"the page is {media[:80]}, which has no text to read")
    text, title = _decoded(answer), ""
    if media == "text/html":
        page = _Page()
        page.feed(text)
        page.close()
        text, title = page.text(), page.title.strip()[:300]
    text = text.replace("\0", "\N{REPLACEMENT CHARACTER}")
    return {
        "url": answer.url,
        "status": answer.status,
        "media": media,
        "title": title.replace("\0", ""),
        "text": text[first : first + characters],
        "more": len(text) > first + characters,
    }


def _decoded(answer: HttpAnswer) -> str:
    found = re.search(r"charset=[\"']?([A-Za-z0-9_-]{1,40})", answer.headers.get("content-type", ""))
    try:
        codec = codecs.lookup(found[1] if found else "utf-8").name
        return answer.body.decode(codec, "replace")
    except (LookupError, ValueError, TypeError):
        return answer.body.decode("utf-8", "replace")


class _Page(HTMLParser):  # the library asks for a subclass
    """What people would read of a page: no scripts, no styles, blocks on lines of their own."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.title = ""
        self._pieces: list[str] = []
        self._hidden: list[str] = []
        self._in_title = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in_title = tag == "title" and not self.title
        if tag == "body":
            self._hidden.clear()
        if tag in _HIDDEN:
            self._hidden.append(tag)
        elif tag in _BLOCKS:
            self._pieces.append("\n")

    def handle_endtag(self, tag: str) -> None:
        self._in_title = False
        if tag in self._hidden:
            del self._hidden[self._hidden.index(tag) :]
        elif tag in _BLOCKS:
            self._pieces.append("\n")

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title += data
        elif not self._hidden:
            self._pieces.append(data)

    def text(self) -> str:
        lines = (re.sub(r"\s+", " ", line).strip() for line in "".join(self._pieces).split("\n"))
        return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def _is_network(word: str) -> bool:
    try:
        ipaddress.ip_network(word)
    except ValueError:
        return False
    return "/" in word
