"""Publishing to streams: many messages at once on one connection, in their order, each answered by the server.

The client library has the same, but turns a cancellation into an error of its own and loses a slot for good with every
answer that never comes; so the protocol is spoken here: a reply subject per message, and one future for all that went together.
"""

import asyncio
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson
from nats.aio.client import Client
from nats.aio.msg import Msg

from plimsoll_runtime.bus.messages import MessageTooLarge
from plimsoll_runtime.errors import Unavailable

_FRAME_BYTES = len("NATS/1.0\r\n\r\n")  # around all headers; a header has four more around it


@dataclass(frozen=True, slots=True)
class Publication:
    """What goes over the wire."""

    subject: str
    payload: bytes
    headers: Mapping[str, str]

    @property
    def size(self) -> int:
        """Bytes that count against the server's limit."""
        return len(self.payload) + _FRAME_BYTES + sum(len(name) + len(value.encode()) + 4 for name, value in self.headers.items())


@dataclass(slots=True, kw_only=True)
class _Batch:
    """Messages that were published together: `left` are not answered yet, `problem` is the first that an answer told of."""

    left: int
    answered: asyncio.Future[None]
    problem: str = ""

    def note(self, problem: str) -> None:
        """One more answer."""
        self.left -= 1
        self.problem = self.problem or problem
        if not self.left and not self.answered.done():
            self.answered.set_result(None)


class Publisher:
    """Publishes and matches the answers."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._inbox = client.new_inbox()
        self._tokens = itertools.count()
        self._waiting: dict[str, _Batch] = {}

    async def listen(self) -> None:
        """Hear the answers; called once, before anything is published."""
        await self._client.subscribe(f"{self._inbox}.*", cb=self._answered)

    async def publish(self, publications: Sequence[Publication]) -> None:
        """Publish and wait, without limit, until the streams have them all.

        Raises MessageTooLarge before anything is sent, and Unavailable when the connection is away or one was not taken.
        """
        for publication in publications:
            if publication.size > self._client.max_payload:
                raise MessageTooLarge(f"{publication.size} bytes for {publication.subject}: the server takes {self._client.max_payload}")
        if not self._client.is_connected:  # the library would keep them and send them at any time later, when they were sent again already
            raise Unavailable("NATS cannot be reached", reason="NATS_UNAVAILABLE", retry_after_s=1.0)
        if not publications:
            return
        batch = _Batch(left=len(publications), answered=asyncio.get_running_loop().create_future())
        tokens = [str(next(self._tokens)) for _ in publications]
        self._waiting.update(dict.fromkeys(tokens, batch))
        try:
            for token, publication in zip(tokens, publications, strict=True):
                reply, headers = f"{self._inbox}.{token}", dict(publication.headers)
                await self._client.publish(publication.subject, publication.payload, reply=reply, headers=headers)
            await batch.answered
        finally:
            for token in tokens:
                self._waiting.pop(token, None)
        if batch.problem:
            raise Unavailable(f"a message was not taken: {batch.problem}", reason="NATS_REFUSED", retry_after_s=1.0)

    async def _answered(self, message: Msg) -> None:
        batch = self._waiting.pop(message.subject.rpartition(".")[2], None)
        if batch is not None:
            batch.note(_problem(message))


def _problem(message: Msg) -> str:
    """What the answer complains of; empty when the stream has the message."""
    if message.headers:  # only the server's "503 no responders" has any
        return "no stream has this subject"
    error = orjson.loads(message.data).get("error")
    return str(error.get("description", "")) or "for no reason" if error else ""
