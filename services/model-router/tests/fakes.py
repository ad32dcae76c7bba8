"""In-memory forms of the ports."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TypeAlias

from plimsoll_model_router.domain import entries, plain, told
from plimsoll_model_router.domain.budgets import Budget, BudgetPeriod, BudgetScope, BudgetStatus, Estimate
from plimsoll_model_router.domain.calls import Body, Busy, CompletedCall, KeptBody, KeptCall, Opened, Opening, Opens, OverBudget
from plimsoll_model_router.domain.endpoints import Ask, EmbeddingAsk, Embeddings
from plimsoll_model_router.domain.entries import Content, Entry, Kind
from plimsoll_model_router.domain.generation import Answer, Hear, Purpose, Reply, TextDelta, Unanswered
from plimsoll_model_router.domain.labels import NOWHERE, EntryReference, Move
from plimsoll_model_router.domain.prompts import ByDigest, ByLabel, ByVersion
from plimsoll_model_router.domain.rehearsal.model import pieces
from plimsoll_model_router.domain.reports import Report
from plimsoll_model_router.errors import (
    LabelMoved,
    ProviderError,
    Remedy,
    ReportUnverified,
    RequestKeyReused,
    UnknownCall,
    UnknownEntry,
    UnknownPrompt,
)
from plimsoll_model_router.failover.inquiry import failed
from plimsoll_model_router.transport.codec import body_of
from plimsoll_runtime.breaker import Open, Verdict
from plimsoll_runtime.clock import Clock
from plimsoll_runtime.failures import Category
from plimsoll_runtime.guard import Decision, Entered
from plimsoll_runtime.guard import Upstream as Guarded
from plimsoll_runtime.limiter import Limited, LocalLimiter
from plimsoll_runtime.usage import Usage

Step: TypeAlias = Reply | ProviderError


class FakeUpstream:
    """Answers what it was told to for each model, step by step; the last step is repeated. Keeps what it was asked."""

    def __init__(self, **steps: Sequence[Step]) -> None:
        self._steps = {model: list(listed) for model, listed in steps.items()}
        self.asked: list[Ask] = []
        self.silent: set[str] = set()  # models that never say a word, until their time is over
        self.given_up: list[str] = []  # models whose answer somebody stopped waiting for

    def models_asked(self) -> list[str]:
        return [ask.endpoint.model for ask in self.asked]

    async def ask(self, ask: Ask, hear: Hear) -> Reply:
        model = ask.endpoint.model
        self.asked.append(ask)
        try:
            if model in self.silent:
                await asyncio.sleep(ask.timers.total_s)
                raise failed(Category.TIMEOUT, "TOO_SLOW", "said nothing", ask.endpoint.full_name, Remedy.NEXT_PROVIDER)
            steps = self._steps[model]
            step = steps.pop(0) if len(steps) > 1 else steps[0]
            if isinstance(step, ProviderError):
                if ask.streaming:
                    await hear(TextDelta(text="half an ans"))
                raise step
            for piece in pieces(step.message.text, 1) if ask.streaming else ():
                await hear(TextDelta(text=piece))
        except asyncio.CancelledError:
            self.given_up.append(model)
            raise
        return step

    async def embed(self, ask: EmbeddingAsk) -> Embeddings:
        step = self._steps[ask.endpoint.model][0]
        if isinstance(step, ProviderError):
            raise step
        return Embeddings(vectors=tuple((float(len(text)),) for text in ask.texts), usage=Usage(input_tokens=7), model=ask.endpoint.model)


class FakeGate:
    """Lets everything through but what is in `open`, within the limits; keeps what was reported."""

    def __init__(self, clock: Clock) -> None:
        self._limiter = LocalLimiter(clock)
        self.open: set[str] = set()
        self.reports: list[tuple[str, Verdict]] = []

    async def enter(self, upstream: Guarded, token: str) -> Decision:
        if upstream.name in self.open:
            return Open(retry_after_s=7.0)
        refusal: Limited | None = self._limiter.refusal(upstream.name, upstream.limits)
        if refusal is not None:
            return refusal
        self._limiter.take(upstream.name, upstream.limits)
        return Entered(upstream=upstream, token=token)

    async def report(self, entered: Entered, verdict: Verdict) -> None:
        self.reports.append((entered.upstream.name, verdict))


class FakeReports:
    """Feedback as it would answer; `away` is feedback that does not."""

    def __init__(self, *reports: Report) -> None:
        self._reports = {report.digest: report for report in reports}
        self.away = False

    def add(self, report: Report) -> None:
        self._reports[report.digest] = report

    async def get(self, digest: str) -> Report | None:
        if self.away:
            raise ReportUnverified
        return self._reports.get(digest)


class FakeRegistryStore:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._versions: dict[tuple[str, Kind, str], list[Entry]] = {}
        self._labels: dict[tuple[str, Kind, str, str], int] = {}
        self._moves: list[tuple[str, Move]] = []
        self.reads = 0
        self.audited: list[Move] = []

    async def register(self, tenant: str, content: Content, by: str) -> tuple[Entry, bool]:
        versions = self._versions.setdefault((tenant, entries.kind_of(content), content.name), [])
        digest = entries.digest_of(content)
        known = next((entry for entry in versions if entry.digest == digest), None)
        if known is not None:
            return self._labelled(tenant, known), False
        entry = Entry(content=content, version=len(versions) + 1, digest=digest, created_at=self._clock.now(), created_by=by)
        versions.append(entry)
        return entry, True

    async def get(self, tenant: str, reference: EntryReference) -> Entry:
        self.reads += 1
        versions = self._versions.get((tenant, reference.kind, reference.name), [])
        match reference.selector:
            case ByLabel(label=label):
                wanted = self._labels.get((tenant, reference.kind, reference.name, label))
                found = next((entry for entry in versions if entry.version == wanted), None)
            case ByVersion(version=version):
                found = next((entry for entry in versions if entry.version == version), None)
            case ByDigest(digest=digest):
                found = next((entry for entry in versions if entry.digest == digest), None)
        if found is None:
            raise UnknownPrompt(f"{reference.name} is unknown") if reference.kind is Kind.PROMPT else UnknownEntry(reference.name)
        return self._labelled(tenant, found)

    async def labelled(self, tenant: str, kind: Kind, label: str) -> Sequence[Entry]:
        self.reads += 1
        names = sorted(key[2] for key in self._labels if key[:2] == (tenant, kind) and key[3] == label)
        return [await self.get(tenant, EntryReference(kind=kind, name=name, selector=ByLabel(label=label))) for name in names]

    async def newest(self, tenant: str, kind: Kind, after: str, limit: int) -> Sequence[Entry]:
        names = sorted(key[2] for key in self._versions if key[:2] == (tenant, kind) and key[2] > after)
        return [self._labelled(tenant, self._versions[tenant, kind, name][-1]) for name in names[:limit]]

    async def versions(self, tenant: str, kind: Kind, name: str, before: int, limit: int) -> Sequence[Entry]:
        listed = [entry for entry in reversed(self._versions.get((tenant, kind, name), [])) if not before or entry.version < before]
        return [self._labelled(tenant, entry) for entry in listed[:limit]]

    async def move(self, tenant: str, move: Move, *, audited: bool = False) -> Move:
        key = (tenant, move.kind, move.name, move.label)
        if self._labels.get(key, NOWHERE) != move.from_version:
            raise LabelMoved
        self._labels[key] = move.to_version
        kept = replace(move, moved_at=self._clock.now(), position=len(self._moves) + 1)
        self._moves.append((tenant, kept))
        self.audited += [kept] if audited else []
        return kept

    async def moves(self, tenant: str, kind: Kind, name: str, label: str, before: int, limit: int) -> Sequence[Move]:
        mine = [move for whose, move in reversed(self._moves) if whose == tenant and move.kind is kind]
        wanted = [move for move in mine if name in {"", move.name} and label in {"", move.label} and (not before or move.position < before)]
        return wanted[:limit]

    def _labelled(self, tenant: str, entry: Entry) -> Entry:
        labels = {
            key[3] for key, version in self._labels.items() if key[:3] == (tenant, entry.kind, entry.name) and version == entry.version
        }
        return replace(entry, labels=tuple(sorted(labels)))


class FakeBudgetStore:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.kept: dict[tuple[str, BudgetScope, str, BudgetPeriod], BudgetStatus] = {}

    async def put(self, tenant: str, budget: Budget) -> BudgetStatus:
        key = (tenant, budget.scope, budget.subject, budget.period)
        known = self.kept.get(key)
        status = BudgetStatus(budget=budget, period_start=self._start(budget.period)) if known is None else replace(known, budget=budget)
        self.kept[key] = status
        return status

    async def remove(self, tenant: str, scope: BudgetScope, subject: str, period: BudgetPeriod) -> bool:
        return self.kept.pop((tenant, scope, subject, period), None) is not None

    async def all(self, tenant: str) -> Sequence[BudgetStatus]:
        mine = [key for key in self.kept if key[0] == tenant]
        return [self.kept[key] for key in sorted(mine)]

    def counting(self, tenant: str, agent: str, key: str, purpose: Purpose) -> list[tuple[str, BudgetScope, str, BudgetPeriod]]:
        """The budgets that a call counts in."""
        mine = [one for one in self.kept if one[0] == tenant]
        if purpose is Purpose.EVALUATION:
            apart = [one for one in mine if one[1] is BudgetScope.EVALUATION]
            return apart or [one for one in mine if one[1] is BudgetScope.TENANT]
        subjects = {BudgetScope.TENANT: "", BudgetScope.AGENT: agent, BudgetScope.KEY: key}
        return [one for one in mine if subjects.get(one[1]) == one[2]]

    def _start(self, period: BudgetPeriod) -> datetime:
        now = self._clock.now()
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        return {BudgetPeriod.TOTAL: now, BudgetPeriod.DAY: midnight, BudgetPeriod.MONTH: midnight.replace(day=1)}[period]


class FakeCallLedger:
    """`calls` are all that were recorded; answers are remembered for `remember_s`."""

    def __init__(self, clock: Clock, budgets: FakeBudgetStore | None = None, remember_s: float = 3600.0) -> None:
        self._clock = clock
        self._budgets = budgets or FakeBudgetStore(clock)
        self._remember_s = remember_s
        self._answers: dict[tuple[str, str], tuple[str, Answer, datetime]] = {}
        self._cached: list[tuple[str, str, datetime, Answer]] = []
        self._open: dict[str, tuple[Opening, Estimate]] = {}
        self._bodies: dict[str, tuple[Body, datetime]] = {}
        self.calls: list[CompletedCall] = []

    async def open(self, opening: Opening) -> Opens:
        if opening.request_key:
            known = await self.recall(opening.tenant, opening.request_key, opening.fingerprint)
            if known is not None:
                return known
            for other, _ in self._open.values():
                if (other.tenant, other.request_key) == (opening.tenant, opening.request_key):
                    if other.fingerprint != opening.fingerprint:
                        raise RequestKeyReused
                    return Busy()
        over = self._reserve(opening, opening.wanted)
        if over is not None:
            return over
        self._open[opening.call_id] = (opening, opening.wanted)
        counting = [
            self._budgets.kept[one].budget for one in self._budgets.counting(opening.tenant, opening.agent, opening.key, opening.purpose)
        ]
        return Opened(caps_tokens=any(one.max_tokens for one in counting), caps_money=any(one.max_cost_micros for one in counting))

    async def extend(self, opening: Opening, more: Estimate) -> OverBudget | None:
        over = self._reserve(opening, more)
        if over is None:
            held = self._open[opening.call_id][1]
            together = Estimate(tokens=held.tokens + more.tokens, cost_micros=held.cost_micros + more.cost_micros)
            self._open[opening.call_id] = (opening, together)
        return over

    async def record(self, call: CompletedCall) -> Answer | None:
        if any(one.call_id == call.call_id for one in self.calls):
            return None
        self.calls.append(call)
        self._keep_body(call)
        self._settle(call)
        policy = call.generation.cache
        if call.cache_key and policy is not None and isinstance(call.outcome, Answer):
            self._cached.append((call.tenant, call.cache_key, call.started_at, call.outcome))
        key = call.generation.request_key
        if not key or not isinstance(call.outcome, Answer):
            return None
        earlier = await self.recall(call.tenant, key, call.fingerprint)
        if earlier is None:
            until = self._clock.now() + timedelta(seconds=self._remember_s)
            self._answers[call.tenant, key] = (call.fingerprint, call.outcome, until)
        return earlier

    async def settle(self, call: CompletedCall) -> None:
        self.post(call)

    def post(self, call: CompletedCall) -> None:
        if not any(one.call_id == call.call_id for one in self.calls):
            self.calls.append(call)
            self._keep_body(call)
            self._settle(call)

    async def recall(self, tenant: str, request_key: str, fingerprint: str) -> Answer | None:
        known = self._answers.get((tenant, request_key))
        if known is None:
            return None
        if known[0] != fingerprint:
            raise RequestKeyReused
        return replace(known[1], recorded=True)

    async def cached(self, tenant: str, cache_key: str, since: datetime) -> Answer | None:
        found = [answer for whose, key, at, answer in self._cached if (whose, key) == (tenant, cache_key) and at >= since]
        return replace(found[-1], recorded=True) if found else None

    async def last_model(self, tenant: str, run_id: str, node: str) -> str:
        for call in reversed(self.calls):
            work = call.generation.work
            mine = (call.tenant, work.run_id, work.node) == (tenant, run_id, node) and call.generation.purpose is Purpose.PRODUCTION
            if mine and isinstance(call.outcome, Answer):
                return f"{call.outcome.provider}/{call.outcome.attempts[-1].model}"
        return ""

    async def get(self, tenant: str, call_id: str) -> KeptCall:
        for call in self.calls:
            if (call.tenant, call.call_id) == (tenant, call_id):
                return self._kept(call)
        raise UnknownCall

    async def forget(self) -> int:
        over = [key for key, (_, _, until) in self._answers.items() if until < self._clock.now()]
        for key in over:
            del self._answers[key]
        return max(len(over), self._forget_bodies())

    def _forget_bodies(self) -> int:
        over = [one for one, (_, until) in self._bodies.items() if until < self._clock.now()]
        for one in over:
            del self._bodies[one]
        return len(over)

    def _keep_body(self, call: CompletedCall) -> None:
        body = body_of(call)
        if body.question:
            self._bodies[call.call_id] = (body, self._clock.now() + timedelta(seconds=self._remember_s))

    def _kept(self, call: CompletedCall) -> KeptCall:
        found = self._bodies.get(call.call_id)
        body = KeptBody(question=found[0].question, answer=found[0].answer, until=found[1]) if found is not None else None
        return replace(_kept(call), body=body)

    def _reserve(self, opening: Opening, wanted: Estimate) -> OverBudget | None:
        counting = self._budgets.counting(opening.tenant, opening.agent, opening.key, opening.purpose)
        tokens, micros, tight = list[int](), list[int](), ""
        for one in counting:
            status = self._budgets.kept[one]
            budget = status.budget
            if budget.max_tokens:
                tokens.append(budget.max_tokens - status.spent_tokens - status.reserved_tokens)
            if budget.max_cost_micros:
                micros.append(budget.max_cost_micros - status.spent_cost_micros - status.reserved_cost_micros)
            if (budget.max_tokens and tokens[-1] < wanted.tokens) or (budget.max_cost_micros and micros[-1] < wanted.cost_micros):
                tight = str(budget)
        if tight:
            return OverBudget(budget=tight, room_tokens=min(tokens, default=None), room_cost_micros=min(micros, default=None))
        for one in counting:
            status = self._budgets.kept[one]
            self._budgets.kept[one] = replace(
                status,
                reserved_tokens=status.reserved_tokens + wanted.tokens,
                reserved_cost_micros=status.reserved_cost_micros + wanted.cost_micros,
            )
        return None

    def _settle(self, call: CompletedCall) -> None:
        held = self._open.pop(call.call_id, None)
        wanted = held[1] if held is not None else Estimate()
        usage = call.outcome.usage
        for one in self._budgets.counting(call.tenant, call.generation.work.agent, call.key, call.generation.purpose):
            status = self._budgets.kept[one]
            self._budgets.kept[one] = replace(
                status,
                spent_tokens=status.spent_tokens + usage.input_tokens + usage.output_tokens,
                spent_cost_micros=status.spent_cost_micros + usage.cost_micros,
                reserved_tokens=status.reserved_tokens - wanted.tokens,
                reserved_cost_micros=status.reserved_cost_micros - wanted.cost_micros,
            )


def _kept(call: CompletedCall) -> KeptCall:
    outcome = call.outcome
    last = outcome.attempts[-1] if outcome.attempts else None
    return KeptCall(
        call_id=call.call_id,
        task=call.generation.task,
        provider=outcome.provider if isinstance(outcome, Answer) else last.provider if last else "",
        model=last.model if last else "",
        prompt_name=call.generation.prompt_name,
        prompt_digest=outcome.prompt_digest,
        usage=outcome.usage,
        priced=outcome.priced,
        started_at=call.started_at,
        duration_s=call.duration_s,
        work=replace(call.generation.work, epoch=0),
        failure=outcome.failure if isinstance(outcome, Unanswered) else None,
        attempts=plain.attempts_from_plain(plain.attempts_to_plain(outcome.attempts)),
        choice=told.choice_to_plain(call.choice),
        purpose=call.generation.purpose,
        prompt_version=call.prompt_version,
        model_digest=call.model_digest,
        confidence=outcome.confidence if isinstance(outcome, Answer) else None,
        rehearsal=isinstance(outcome, Answer) and outcome.rehearsal,
        cached=isinstance(outcome, Answer) and outcome.cached,
    )
