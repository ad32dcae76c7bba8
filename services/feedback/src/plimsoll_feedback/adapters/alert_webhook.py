"""The webhook for alerts over HTTP: only to addresses that may be called, without redirects, in bounded time and size."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final, Self

from plimsoll_runtime.egress import EgressGuard, EgressRules
from plimsoll_runtime.outbound_http import HttpLimits, HttpRequest, OutboundHttp

_LIMITS: Final = HttpLimits(connect_s=5.0, total_s=15.0, answer_bytes=1024 * 1024, redirects=0)


class AlertWebhook:
    """The Receiver of alerts. Every address is judged as it is connected to."""

    def __init__(self, http: OutboundHttp) -> None:
        self._http = http

    @classmethod
    @asynccontextmanager
    async def opened(cls, rules: EgressRules) -> AsyncIterator[Self]:
        """Sends inside the block."""
        async with OutboundHttp(EgressGuard(rules), _LIMITS) as http:
            yield cls(http)

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        """The status of the answer."""
        return (await self._http.send(HttpRequest(method="POST", url=url, headers=headers, body=body))).status
