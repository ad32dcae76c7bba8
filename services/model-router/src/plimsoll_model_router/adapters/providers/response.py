"""HTTP/1.1 responses, read bit by bit in whatever pieces they come. Pure: bytes in, head and body out."""

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

_HEAD_CAP = 64 * 1024
_NO_BODY = frozenset({204, 304})


class BadResponse(Exception):
    """What came is not HTTP as it should be."""


class ResponseReader:
    """One response to a POST.

    Attributes:
    headers  names in lower case; those that came more than once are joined
    pieces   of the body, for whoever reads to take; `held` bytes of it
    done     the response is whole
    """

    __slots__ = ("_head_size", "_keeps", "_parser", "_strayed", "done", "has_head", "headers", "held", "pieces", "status")

    def __init__(self) -> None:
        self._parser: HttpResponseParser | None = HttpResponseParser(self)
        self._head_size = 0
        self._keeps = self._strayed = False
        self.status = 0
        self.headers: dict[str, str] = {}
        self.pieces: list[bytes] = []
        self.held = 0
        self.has_head = self.done = False

    def feed(self, data: bytes) -> None:
        """Raises BadResponse."""
        if self._parser is None:
            self._strayed = True
            return
        headless = not self.has_head
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            if not self.done:
                raise BadResponse("what came is no HTTP response") from error
            self._strayed = True  # behind a whole response: it stands, its connection does not
        if self.done:
            self._parser = None  # it knows us, we know it: nobody should have to find that out
        if headless:
            self._look_at_head(len(data))

    def _look_at_head(self, size: int) -> None:
        self._head_size += size
        if not self.has_head and self._head_size > _HEAD_CAP:
            raise BadResponse("the head is too long")
        if self.headers.get("content-encoding", "identity").strip().lower() not in {"identity", ""}:
            raise BadResponse("the body is encoded, which nobody asked for")

    def end(self) -> None:
        """The connection ended. Raises BadResponse when the response had not."""
        if self.has_head and not self.done and not self._tells_its_length:
            self.done = True
        if not self.done:
            raise BadResponse("the connection ended in the middle")

    def taken(self) -> bytes:
        """The pieces that came, which are the reader's now."""
        piece = self.pieces[0] if len(self.pieces) == 1 else b"".join(self.pieces)
        self.pieces, self.held = [], 0
        return piece

    @property
    def leaves_open(self) -> bool:
        """Whether another request may follow on the connection."""
        return self.done and self._keeps and not self._strayed

    @property
    def _tells_its_length(self) -> bool:
        return "content-length" in self.headers or "transfer-encoding" in self.headers or self.status in _NO_BODY

    def on_message_begin(self) -> None:
        if self.done:
            self._strayed = True

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.has_head:  # nor what comes behind the body
            key, told = name.decode("latin-1").lower(), value.decode("latin-1")
            self.headers[key] = f"{self.headers[key]}, {told}" if key in self.headers else told

    def on_headers_complete(self) -> None:
        if self.done or self._parser is None:
            return
        status = self._parser.get_status_code()
        if status < 200:  # 100 Continue and the like: the response comes behind it
            self.headers.clear()
            return
        self.status, self.has_head = status, True
        self._keeps = self._tells_its_length and self._parser.should_keep_alive()

    def on_body(self, body: bytes) -> None:
        if not self.done:
            self.pieces.append(body)
            self.held += len(body)

    def on_message_complete(self) -> None:
        self.done = self.has_head
