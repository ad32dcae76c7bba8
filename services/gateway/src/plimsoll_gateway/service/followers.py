"""Those who follow the same run: once they have caught up with each other, one stream behind the door serves them all.

The first follower of a run has a stream of its own. Any other begins with one too, which tells it that the run is there and brings what
it missed; as soon as it has all that the shared stream has told so far, it takes its place there and ends its own. Entries carry their
position, so the change leaves no gap and repeats nothing. A follower that reads too slowly, and all of them when the shared stream
breaks, go on with streams of their own.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import aclosing
from contextvars import Context
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TypeAlias

from plimsoll.orchestrator.v1 import orchestrator_service_pb2 as pb
from plimsoll_runtime import logs
from plimsoll_runtime.context import acting_for, current_caller
from plimsoll_runtime.status import known

from plimsoll_gateway.ports import Orchestrator
from plimsoll_gateway.service.inbox import Inbox

_WAITING = 64  # entries that a follower may be behind the shared stream


class _Told(Enum):
    ENDED = auto()  # the run's last entry was told
    ALONE = auto()  # go on with a stream of your own


_Item: TypeAlias = "pb.FollowRunResponse | _Told"
_Key: TypeAlias = "tuple[str, str]"


@dataclass(slots=True, eq=False)
class _Feed:
    """One shared stream: everything up to `seq` was told to whoever had a place then."""

    key: _Key
    seq: int
    places: "set[_Place]" = field(default_factory=set)
    task: "asyncio.Task[None] | None" = None

    def tell(self, answer: pb.FollowRunResponse) -> None:
        self.seq = answer.event.seq
        for place in [*self.places]:
            if place.told.is_full:
                self.places.discard(place)
                place.told.add(_Told.ALONE)
            else:
                place.told.add(answer)

    def end(self, told: _Told) -> None:
        for place in self.places:
            place.told.add(told)
        self.places.clear()


@dataclass(slots=True, eq=False)
class _Place:
    """One follower's share of a feed: what was told and it has not read yet."""

    feed: _Feed
    told: "Inbox[_Item]" = field(default_factory=lambda: Inbox(_WAITING))


class Followers:
    """Streams are shared while `carry` runs; before and after, everybody has one of its own."""

    def __init__(self, orchestrator: Orchestrator, log: logs.Log) -> None:
        self._orchestrator = orchestrator
        self._log = log
        self._group: asyncio.TaskGroup | None = None
        self._feeds: dict[_Key, _Feed] = {}
        self._following: Counter[_Key] = Counter()

    async def carry(self, stop: asyncio.Event) -> None:
        """The shared streams run inside."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                await stop.wait()
            finally:
                self._group = None
                for feed in self._feeds.values():
                    feed.end(_Told.ALONE)
                    if feed.task is not None:
                        feed.task.cancel()

    async def follow(self, run_id: str, after_seq: int) -> AsyncGenerator[pb.FollowRunResponse, None]:
        """The run's entries after the cursor; ends after its last one. Raises what the orchestrator says."""
        key, seq, place = (current_caller().tenant, run_id), after_seq, None
        self._following[key] += 1
        try:
            async with aclosing(self._alone(run_id, seq)) as entries:
                async for entry in entries:
                    seq = entry.event.seq
                    yield entry
                    place = self._place(key, seq)  # before the own stream ends, which takes a moment: nothing told meanwhile is missed
                    if place is not None:
                        break
                else:
                    return
            del entry  # an idle follower keeps nothing of what it was told
            while isinstance(item := await place.told.get(), pb.FollowRunResponse):
                if item.event.seq > seq:
                    seq = item.event.seq
                    yield item
                del item
            if item is _Told.ENDED:
                return
            async with aclosing(self._alone(run_id, seq)) as entries:
                async for entry in entries:
                    yield entry
        finally:
            self._leave(key, place)

    def _alone(self, run_id: str, after_seq: int) -> AsyncGenerator[pb.FollowRunResponse, None]:
        return self._orchestrator.follow_run(pb.FollowRunRequest(run_id=run_id, after_seq=after_seq))

    def _place(self, key: _Key, seq: int) -> _Place | None:
        """A place in the shared stream for one who has everything up to `seq`; none while that is less than was told there."""
        feed = self._feeds.get(key)
        if feed is None and self._group is not None and self._following[key] > 1:
            feed = self._feeds[key] = _Feed(key, seq)
            feed.task = self._group.create_task(self._carried(feed), context=Context())
        if feed is None or seq < feed.seq:
            return None
        place = _Place(feed)
        feed.places.add(place)
        return place

    def _leave(self, key: _Key, place: _Place | None) -> None:
        self._following[key] -= 1
        if not self._following[key]:
            del self._following[key]
        if place is None:
            return
        place.feed.places.discard(place)
        if not place.feed.places and place.feed.task is not None:
            self._forget(place.feed)
            place.feed.task.cancel()

    async def _carried(self, feed: _Feed) -> None:
        tenant, run_id = feed.key
        told = _Told.ALONE
        try:
            with acting_for(tenant):
                async with aclosing(self._alone(run_id, feed.seq)) as entries:
                    async for entry in entries:
                        feed.tell(entry)
            told = _Told.ENDED
        except Exception as error:  # noqa: BLE001 - each follower meets it on its own stream, where it is told to the client
            self._log.info("followers.parted", {"run_id": run_id, "reason": known(error).reason})
        finally:
            self._forget(feed)
            feed.end(told)

    def _forget(self, feed: _Feed) -> None:
        if self._feeds.get(feed.key) is feed:
            del self._feeds[feed.key]
