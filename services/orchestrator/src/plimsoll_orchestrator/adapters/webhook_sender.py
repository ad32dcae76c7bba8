"""Webhooks over HTTP: only to addresses that may be called, without redirects, in bounded time and size."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Self

from plimsoll_runtime.clock import Clock
from plimsoll_runtime.deadline import within
from plimsoll_runtime.egress import EgressGuard, EgressRefused, EgressRules, HostUnknown
from plimsoll_runtime.errors import FieldProblem
from plimsoll_runtime.outbound_http import HttpLimits, HttpRequest, OutboundHttp
from plimsoll_runtime.retry import retry_after_s

from plimsoll_orchestrator.errors import InvalidWebhook
from plimsoll_orchestrator.ports.webhooks import Answer

_RESOLVE_CAP_S = 5.0
_LIMITS = HttpLimits(connect_s=5.0, total_s=15.0, answer_bytes=1024 * 1024, redirects=0)


class WebhookSender:
    """The WebhookReceivers. An address is judged when the webhook is put, and again, as it is connected to, whenever something is sent."""

    def __init__(self, guard: EgressGuard, http: OutboundHttp, clock: Clock) -> None:
        self._guard = guard
        self._http = http
        self._clock = clock

    @classmethod
    @asynccontextmanager
    async def opened(cls, rules: EgressRules, clock: Clock) -> AsyncIterator[Self]:
        """Sends inside the block."""
        guard = EgressGuard(rules)
        async with OutboundHttp(guard, _LIMITS) as http:
            yield cls(guard, http, clock)

    async def judge(self, url: str) -> None:
        try:
            target = self._guard.target(url)
            async with within(_RESOLVE_CAP_S):
                await self._guard.addresses(target.host or "", target.port or 0)
        except EgressRefused as error:
            raise InvalidWebhook(problems=(FieldProblem("webhook.url", error.message, error.remedy),), reason=error.reason) from error
        except HostUnknown as error:
            problem = FieldProblem("webhook.url", error.message, "check the spelling, or wait until its name is known")
            raise InvalidWebhook(problems=(problem,), reason=error.reason) from error

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        answer = await self._http.send(HttpRequest(method="POST", url=url, headers=headers, body=body))
        return Answer(status=answer.status, retry_after_s=retry_after_s(answer.headers.get("retry-after"), self._clock.now()))
