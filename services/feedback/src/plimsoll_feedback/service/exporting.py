"""Exports every stored operation as a span: in the order in which they were stored, from where it left off, at most a batch at a time.

What is stored is not touched: a collector that is away holds up the export only. A span may be sent twice after a kill, with the same ids.
"""

from collections.abc import Callable, Sequence
from typing import Final

from plimsoll_runtime.ids import Ids
from plimsoll_runtime.logs import Log

from plimsoll_feedback.domain.spans import Profile, Span, span_of
from plimsoll_feedback.errors import SpansRefused
from plimsoll_feedback.ports.export import Collector, SurroundingsStore
from plimsoll_feedback.ports.feed import OperationFeed

FOLLOWER: Final = "export"
_BATCH: Final = 500


class Exporting:
    """Follows operations and sends their spans. Calls wait a moment, so that the step that they belong to is stored as well."""

    def __init__(
        self,
        feed: OperationFeed,
        surroundings: SurroundingsStore,
        collector: Collector,
        ids: Ids,
        log: Log,
        *,
        profile: Profile,
        settle_s: float,
        told: Callable[[int, int], None],
    ) -> None:
        self._feed = feed
        self._surroundings = surroundings
        self._collector = collector
        self._log = log
        self._profile = profile
        self._settle_s = settle_s
        self._told = told
        self._holder = ids.new("exp")

    async def export(self) -> bool:
        """Send the next batch; False when there was none. Raises what keeps the collector from taking it; nothing is lost then."""
        batch = await self._feed.claim(FOLLOWER, self._holder, _BATCH, self._settle_s)
        if batch is None:
            return False
        around = await self._surroundings.around(batch.rows)
        spans = [span_of(one, around[one.tenant, one.id], self._profile) for one in batch.rows]
        refused = await self._send(spans)
        await self._feed.move(batch.turn)
        self._told(len(spans) - refused, refused)
        if refused:
            self._log.warning("feedback.spans_refused", {"spans": len(spans), "refused": refused})
        return True

    async def _send(self, spans: Sequence[Span]) -> int:
        """How many were refused for good. A batch that is refused is halved until it is known which of its spans are at fault."""
        try:
            return await self._collector.send(spans)
        except SpansRefused:
            if len(spans) == 1:
                return 1
            half = len(spans) // 2
            return await self._send(spans[:half]) + await self._send(spans[half:])
