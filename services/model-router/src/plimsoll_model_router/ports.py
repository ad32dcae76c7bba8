"""What the service needs from outside."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from plimsoll_runtime.breaker import Verdict
from plimsoll_runtime.guard import Decision, Entered
from plimsoll_runtime.guard import Upstream as Guarded

from plimsoll_model_router.domain.budgets import Budget, BudgetPeriod, BudgetScope, BudgetStatus, Estimate
from plimsoll_model_router.domain.calls import CompletedCall, KeptCall, Opening, Opens, OverBudget
from plimsoll_model_router.domain.endpoints import Ask, EmbeddingAsk, Embeddings
from plimsoll_model_router.domain.entries import Content, Entry, Kind
from plimsoll_model_router.domain.generation import Answer, Hear, Reply
from plimsoll_model_router.domain.labels import EntryReference, Move
from plimsoll_model_router.domain.reports import Report


class Upstream(Protocol):
    """One try at one endpoint, in its dialect. It keeps to the ask's timers, never retries, never changes the endpoint, never waits for
    a limit."""

    async def ask(self, ask: Ask, hear: Hear) -> Reply:
        """The reply at its verified end; until then its deltas are heard as they come, none when the ask is not streaming.

        Raises ProviderError, classified, for everything else. Who is cancelled drops the connection.
        """
        ...

    async def embed(self, ask: EmbeddingAsk) -> Embeddings:
        """The vectors. Raises ProviderError, also for endpoints that make none."""
        ...


class Gate(Protocol):
    """Breakers and rate limits, shared by all replicas."""

    async def enter(self, upstream: Guarded, token: str) -> Decision:
        """Whether the attempt that `token` names may go."""
        ...

    async def report(self, entered: Entered, verdict: Verdict) -> None:
        """What became of it."""
        ...


class RegistryStore(Protocol):
    """Keeps versions, which never change, and labels, which move."""

    async def register(self, tenant: str, content: Content, by: str) -> tuple[Entry, bool]:
        """The version with this content, and whether it is new."""
        ...

    async def get(self, tenant: str, reference: EntryReference) -> Entry:
        """Raises UnknownPrompt or UnknownEntry."""
        ...

    async def labelled(self, tenant: str, kind: Kind, label: str) -> Sequence[Entry]:
        """Every version that the label points at, by name."""
        ...

    async def newest(self, tenant: str, kind: Kind, after: str, limit: int) -> Sequence[Entry]:
        """The newest version of each name, by name, beginning behind `after`."""
        ...

    async def versions(self, tenant: str, kind: Kind, name: str, before: int, limit: int) -> Sequence[Entry]:
        """The versions of one name, newest first, beginning below `before` (0: at the newest)."""
        ...

    async def move(self, tenant: str, move: Move, *, audited: bool = False) -> Move:
        """Move a label and record it, in one transaction; with `audited` in the audit log, too.

        Raises LabelMoved when the label is not at `from_version` any more.
        """
        ...

    async def moves(self, tenant: str, kind: Kind, name: str, label: str, before: int, limit: int) -> Sequence[Move]:
        """Moves newest first, beginning below the position `before` (0: at the newest). Empty name or label: of all."""
        ...


class Announce(Protocol):
    """Tells all replicas, this one at once, that a label moved; lost words do no harm, they look by themselves too."""

    async def __call__(self, tenant: str, move: Move) -> None: ...


class Reports(Protocol):
    """Evaluation reports, where they are made."""

    async def get(self, digest: str) -> Report | None:
        """The report; None when there is none with this digest. Raises ReportUnverified when nobody can be asked."""
        ...


class BudgetStore(Protocol):
    """Keeps caps, and what was consumed under them."""

    async def put(self, tenant: str, budget: Budget) -> BudgetStatus:
        """Set a cap; what was spent stays."""
        ...

    async def remove(self, tenant: str, scope: BudgetScope, subject: str, period: BudgetPeriod) -> bool:
        """Whether there was one."""
        ...

    async def all(self, tenant: str) -> Sequence[BudgetStatus]: ...


class CallLedger(Protocol):
    """Opens calls with a reservation, keeps every finished one, settles its budgets, and tells of it."""

    async def open(self, opening: Opening) -> Opens:
        """Reserve in every budget that holds for the call, or in none. With a request key the call is the only one under it.

        Returns the answer when the key has one already. Raises RequestKeyReused when it was another question.
        """
        ...

    async def extend(self, opening: Opening, more: Estimate) -> OverBudget | None:
        """Reserve more for a call that is open."""
        ...

    async def record(self, call: CompletedCall) -> Answer | None:
        """Keep the call, settle its budgets and announce it, in one transaction; the same call counts once.

        Returns the answer that was recorded under the same request key in the meantime, if there is one: then that one holds.
        """
        ...

    async def settle(self, call: CompletedCall) -> None:
        """The same a little later, in the background: for a call that is under no request key, and that nobody will look for at once.

        Until then it holds what it reserved. What a crash loses between the two counts as spent.
        """
        ...

    def post(self, call: CompletedCall) -> None:
        """The same for who cannot wait at all: a call whose caller has left."""
        ...

    async def recall(self, tenant: str, request_key: str, fingerprint: str) -> Answer | None:
        """The answer given under the key before. Raises RequestKeyReused when it was another question."""
        ...

    async def cached(self, tenant: str, cache_key: str, since: datetime) -> Answer | None:
        """The newest answer kept under the cache key since then."""
        ...

    async def last_model(self, tenant: str, run_id: str, node: str) -> str:
        """The model, as provider/model, that answered last in this node of the run; empty when none did."""
        ...

    async def get(self, tenant: str, call_id: str) -> KeptCall:
        """Raises UnknownCall."""
        ...
