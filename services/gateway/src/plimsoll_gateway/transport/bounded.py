"""How large a request may be, over either protocol."""

from google.protobuf.message import Message

from plimsoll_gateway.errors import BodyTooLarge


class Bounded:
    _request_bytes: int

    def _must_fit(self, request: Message) -> None:
        if request.ByteSize() > self._request_bytes:
            raise BodyTooLarge(self._request_bytes)
