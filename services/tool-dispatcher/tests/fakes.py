"""The ports in memory."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TypeAlias

from plimsoll_runtime.breaker import LocalBreaker, Open, Verdict
from plimsoll_runtime.failures import Category, Failure
from plimsoll_runtime.guard import Decision, Entered, Upstream
from plimsoll_runtime.json_types import JsonObject, JsonValue, digest
from plimsoll_runtime.limiter import LocalLimiter
from plimsoll_testkit.clock import FakeClock
from plimsoll_tool_dispatcher.domain.call import Secrets
from plimsoll_tool_dispatcher.domain.definition import definition_of
from plimsoll_tool_dispatcher.domain.effects import EffectClass, Mishap
from plimsoll_tool_dispatcher.domain.execution import Answered, Attempt, Invocation, Stopped
from plimsoll_tool_dispatcher.domain.policy import Policy
from plimsoll_tool_dispatcher.domain.registry import Barred, KeptVersion, Names, Resolved, Standing
from plimsoll_tool_dispatcher.domain.tool import Tool
from plimsoll_tool_dispatcher.handler import ToolContext, ToolRejected, ToolUnavailable
from plimsoll_tool_dispatcher.ports import Shelved

_BEGAN = datetime(2026, 1, 1, tzinfo=UTC)

Function: TypeAlias = Callable[[JsonObject, ToolContext], Awaitable[JsonValue]]


class FakeToolRegistry:
    """Tools as the test puts them there."""

    def __init__(self, tools: Iterable[Tool] = ()) -> None:
        self.tools: dict[str, Tool | Barred] = {tool.name: tool for tool in tools}

    def find(self, tenant: str, name: str) -> Resolved:
        return self.tools.get(name)

    def list(self, tenant: str) -> Sequence[Tool]:
        return [found for _, found in sorted(self.tools.items()) if isinstance(found, Tool)]


@dataclass
class FakePolicies:
    """The policy of the test."""

    policy: Policy

    def current(self) -> Policy:
        return self.policy


@dataclass
class FakeVault:
    """Credentials of the test; the version is their values."""

    values: dict[str, str] = field(default_factory=dict)

    def secrets(self, names: Sequence[str]) -> Secrets:
        there = {name: self.values[name] for name in names if name in self.values}
        return Secrets(values=there, missing=tuple(name for name in names if name not in there), version=digest(there) if there else "")


class FakeGate:
    """Limits and breakers that only this process knows, by the clock of the test."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self._limiter = LocalLimiter(clock)
        self._breakers: dict[str, LocalBreaker] = {}
        self.entered: list[Upstream] = []
        self.verdicts: list[Verdict] = []

    async def enter(self, upstream: Upstream, token: str) -> Decision:
        self.entered.append(upstream)
        refusal = self._limiter.refusal(f"{upstream.name}:", upstream.limits)
        if refusal is not None:
            return refusal
        probe = self._breaker(upstream).enter(token)
        if isinstance(probe, Open):
            return probe
        self._limiter.take(f"{upstream.name}:", upstream.limits)
        return Entered(upstream=upstream, token=token, probe=probe, local=True)

    async def report(self, entered: Entered, verdict: Verdict) -> None:
        self.verdicts.append(verdict)
        self._breaker(entered.upstream).report(entered.token, verdict)

    def _breaker(self, upstream: Upstream) -> LocalBreaker:
        return self._breakers.setdefault(upstream.name, LocalBreaker(upstream.policy, self._clock))


@dataclass
class FakeResultCache:
    """The last results in memory."""

    clock: FakeClock
    results: dict[tuple[str, str, str], tuple[JsonValue, float]] = field(default_factory=dict)

    async def put(self, tenant: str, tool: str, arguments_digest: str, result: JsonValue) -> None:
        self.results[tenant, tool, arguments_digest] = (result, self.clock.monotonic())

    async def get(self, tenant: str, tool: str, arguments_digest: str, max_age_s: float) -> tuple[JsonValue, float] | None:
        found = self.results.get((tenant, tool, arguments_digest))
        age_s = self.clock.monotonic() - found[1] if found else 0.0
        return (found[0], age_s) if found and age_s < max_age_s else None


@dataclass
class FakeToolShelf:
    """The shelf in memory; `away` is what every method raises while it is set."""

    kept: dict[tuple[str, str, str], Tool] = field(default_factory=dict)
    standings: dict[Names, Standing] = field(default_factory=dict)
    named: dict[Names, str] = field(default_factory=dict)
    at: int = 0
    away: Exception | None = None

    async def revision(self) -> int:
        self._there()
        return self.at

    async def load(self) -> Shelved:
        self._there()
        pins = {(name, standing.pinned) for (_, name), standing in self.standings.items() if standing.pinned}
        return Shelved(
            revision=self.at,
            standings=dict(self.standings),
            pinned=[definition_of(tool) for (_, name, kept), tool in self.kept.items() if (name, kept) in pins],
            registered=[definition_of(self.kept[*names, kept]) for names, kept in sorted(self.named.items())],
        )

    async def keep(self, tools: Sequence[Tool], *, first_accepted: bool) -> None:
        self._there()
        for tool in tools:
            self.kept.setdefault((tool.tenant, tool.name, tool.digest), tool)
            standing = self.standings.get((tool.tenant, tool.name), Standing())
            if first_accepted and not standing.accepted:
                self.standings[tool.tenant, tool.name] = replace(standing, accepted=tool.digest)
                self.at += 1

    async def register(self, tools: Sequence[Tool], by: str) -> None:
        await self.keep(tools, first_accepted=False)
        self.named.update({(tool.tenant, tool.name): tool.digest for tool in tools})
        self.at += 1

    async def unregister(self, tenant: str, name: str, by: str) -> bool:
        self._there()
        gone = self.named.pop((tenant, name), None) is not None
        self.at += gone
        return gone

    async def decide(self, tenant: str, name: str, standing: Standing, by: str) -> None:
        self._there()
        self.standings[tenant, name] = standing
        self.at += 1

    async def versions(self, tenant: str, name: str) -> Sequence[KeptVersion]:
        self._there()
        return [
            KeptVersion(tenant=owner, name=one, digest=kept, version=tool.version, origin=tool.origin, registered_at=_BEGAN)
            for (owner, one, kept), tool in reversed(self.kept.items())
            if one == name and owner in {tenant, ""}
        ]

    def _there(self) -> None:
        if self.away is not None:
            raise self.away


class Scripted(Exception):
    """Raised by a function of a FakeExecutor that ends an attempt in a way of the test's choice."""

    def __init__(self, attempt: Attempt) -> None:
        super().__init__(attempt)
        self.attempt = attempt


class FakeExecutor:
    """Runs functions on the loop of the test."""

    def __init__(self) -> None:
        self.functions: dict[str, Function] = {}
        self.invocations: list[Invocation] = []
        self.cancelled = 0

    async def execute(self, tool: Tool, invocation: Invocation) -> Attempt:
        self.invocations.append(invocation)
        context = ToolContext(tenant=invocation.tenant, call_key=invocation.call_key, deadline_s=invocation.timeout_s, credentials={})
        try:
            async with asyncio.timeout(invocation.timeout_s):
                return Answered(result=await self.functions[tool.name](invocation.arguments, context))
        except Scripted as scripted:
            return scripted.attempt
        except TimeoutError:
            return Stopped(failure=_failure(tool, Category.TIMEOUT, "TOOL_TIMEOUT"), mishap=Mishap.LOST)
        except ToolRejected as error:
            return Stopped(failure=_failure(tool, Category.UPSTREAM_REJECTED, error.reason, error.message))
        except ToolUnavailable as error:
            unavailable = _failure(tool, Category.UPSTREAM_UNAVAILABLE, error.reason, error.message)
            return Stopped(failure=replace(unavailable, retry_after_s=error.retry_after_s), mishap=Mishap.NOT_ACTED)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        except Exception as error:  # noqa: BLE001 - what a handler raises is a value here
            mishap = Mishap.LOST if tool.effect is EffectClass.NON_IDEMPOTENT else None
            return Stopped(failure=_failure(tool, Category.TOOL_ERROR, "HANDLER_RAISED", type(error).__name__), mishap=mishap)


def _failure(tool: Tool, category: Category, reason: str, message: str = "as told") -> Failure:
    return Failure(category=category, reason=reason, message=message, where=tool.name)
