"""A run's journal as server-sent events: resumable, with a heartbeat and an end, in bounded memory.

    id: 7
    event: stepFinished
    data: {"runId":"run_…","seq":"7",…,"stepFinished":{…}}

`id` is the entry's seq, which comes back as Last-Event-ID; `event` is the kind, which is also the key in `data`. After the
run's last entry comes `event: end`; a stream that breaks says why as `event: problem`; neither has an id, so the cursor stays.
A stream that ends without either was cut: come again with the cursor.

With `tokens=true`, `event: tokensReceived` brings text of a step under way and `event: tokensRetracted` takes it back. They are no
part of the journal and have no id either: whoever comes again gets the entries after the cursor without gap or repeat, and the text
of the step under way anew, with its attempt and offset.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from typing import TypeAlias

from plimsoll.gateway.v1 import runs_pb2
from plimsoll.orchestrator.v1 import run_events_pb2

from plimsoll_gateway.service.inbox import Inbox
from plimsoll_gateway.transport.departure import Departure

Write: TypeAlias = Callable[[bytes], Awaitable[None]]

_WAITING = 16  # entries read ahead of the client
_OPEN_S = 1.0  # the answer begins after this at the latest, entry or not

_OPENING = b"retry: 1000\n\n"
_HEARTBEAT = b": still here\n\n"
_END = b"event: end\ndata: {}\n\n"

PROVISIONAL = frozenset({"tokens_received", "tokens_retracted"})
"""Kinds of event that are told beside the journal: their seq is that of the entry before, so it must not become the cursor."""


class _Ended:
    """The run's last entry was sent."""


class _Leaving:
    """The gateway stops; the client comes again elsewhere."""


_Item: TypeAlias = "runs_pb2.FollowRunResponse | Exception | _Ended | _Leaving"


class EventStream:
    """Turns a run's entries into events."""

    def __init__(
        self,
        to_json: Callable[[run_events_pb2.RunEvent], bytes],
        to_problem: Callable[[Exception], bytes],
        departure: Departure,
        *,
        heartbeat_s: float,
    ) -> None:
        self._to_json = to_json
        self._to_problem = to_problem
        self._departure = departure
        self._heartbeat_s = heartbeat_s

    async def send(self, entries: AsyncGenerator[runs_pb2.FollowRunResponse, None], write: Write) -> None:
        """Write events until the run, the gateway or the client ends it. A client that is gone ends `entries` too.

        Raises the error of `entries` when it comes before anything was written: then it can still be the whole answer.
        """
        waiting: Inbox[_Item] = Inbox(_WAITING)
        with self._departure.heard_by(lambda: waiting.add(_Leaving())):
            async with asyncio.TaskGroup() as group:
                reading = group.create_task(_read(entries, waiting))
                try:
                    await self._write(waiting, write)
                finally:
                    reading.cancel()

    async def _write(self, waiting: Inbox[_Item], write: Write) -> None:
        batch = await _batch(waiting, _OPEN_S)
        if batch and isinstance(batch[0], Exception):
            raise batch[0]
        await write(_OPENING)
        while True:
            await write(b"".join(map(self._text, batch)))
            if batch and not isinstance(batch[-1], runs_pb2.FollowRunResponse):
                return
            del batch  # what was told is not kept while nothing happens, here and in each that handed it on
            batch = await _batch(waiting, self._heartbeat_s)
            if not batch:
                await write(_HEARTBEAT)

    def _text(self, item: _Item) -> bytes:
        match item:
            case runs_pb2.FollowRunResponse():
                return self._event(item.event)
            case Exception():
                return b"event: problem\ndata: " + self._to_problem(item) + b"\n\n"
            case _Ended():
                return _END
            case _Leaving():
                return b""

    def _event(self, event: run_events_pb2.RunEvent) -> bytes:
        member = event.WhichOneof("event")
        kind = run_events_pb2.RunEvent.DESCRIPTOR.fields_by_name[member].json_name if member else "message"
        data = b"\ndata: ".join(self._to_json(event).splitlines())  # a caller's own JSON may hold line breaks between its tokens
        cursor = b"" if member in PROVISIONAL else b"id: %d\n" % event.seq
        return b"%sevent: %s\ndata: %s\n\n" % (cursor, kind.encode(), data)


async def _read(entries: AsyncGenerator[runs_pb2.FollowRunResponse, None], waiting: Inbox[_Item]) -> None:
    async with aclosing(entries) as answers:
        try:
            async for answer in answers:
                await waiting.put(answer)
                del answer
        except Exception as error:  # noqa: BLE001 - whatever broke the stream is told to the client as what it is
            await waiting.put(error)
        else:
            await waiting.put(_Ended())


async def _batch(waiting: Inbox[_Item], within_s: float) -> list[_Item]:
    """What waits, at least one item, none behind a last one; nothing after `within_s`."""
    batch: list[_Item] = []
    with suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            batch.append(await waiting.get())
        while len(waiting) and isinstance(batch[-1], runs_pb2.FollowRunResponse):
            batch.append(waiting.take())
    return batch
