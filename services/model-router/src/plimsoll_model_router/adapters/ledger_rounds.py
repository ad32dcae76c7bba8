"""The ledger's two statements, for many calls at once: what they are told, and what comes back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from plimsoll_runtime.json_types import JsonObject
from plimsoll_runtime.kept_connections import KeptConnections
from plimsoll_runtime.postgres import translating

from plimsoll_model_router.domain import plain
from plimsoll_model_router.domain.budgets import Budget, BudgetPeriod, BudgetScope, Estimate
from plimsoll_model_router.domain.calls import Body, Busy, CompletedCall, Opened, Opening, Opens, OverBudget
from plimsoll_model_router.domain.generation import Answer
from plimsoll_model_router.errors import RequestKeyReused

LEASE_S = 15.0
_REUSED, _FRESH = "the request key was used for another question", "use a fresh key for every question"


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """How calls cross the wire: as events, with the plain form of the choice, and as the bodies that are kept of them."""

    event: Callable[[str, CompletedCall, JsonObject], bytes]
    body: Callable[[CompletedCall], Body]
    answer: Callable[[Answer], bytes]


@dataclass(frozen=True, slots=True)
class Settling:
    """A finished call as the statement takes it."""

    row: JsonObject
    payload: bytes
    trace: str
    body: Body

    @property
    def call_id(self) -> str:
        return str(self.row["call_id"])


async def open_calls(connections: KeptConnections, batch: Sequence[JsonObject]) -> Sequence[JsonObject]:
    """What became of each, in order."""
    with translating():
        rows = await connections.fetch("select open_calls($1, $2)", list(batch), LEASE_S)
    return _in_order([row[0] for row in rows], [one["call_id"] for one in batch])


async def settle_calls(connections: KeptConnections, batch: Sequence[Settling]) -> Sequence[JsonObject]:
    """What became of each, in order."""
    with translating():
        rows = await connections.fetch(
            "select settle_calls($1, $2, $3, $4, $5)",
            [one.row for one in batch],
            [one.payload for one in batch],
            [one.trace for one in batch],
            [one.body.question or None for one in batch],
            [one.body.answer or None for one in batch],
        )
    return _in_order([row[0] for row in rows], [one.row["call_id"] for one in batch])


def opens(told: JsonObject, opening: Opening) -> Opens:
    """What became of an opening. Raises RequestKeyReused."""
    match told["state"]:
        case "opened":
            return opened(told)
        case "recorded":
            return same(told["fingerprint"], told["answer"], opening.fingerprint)
        case "busy":
            if told["fingerprint"] != opening.fingerprint:
                raise RequestKeyReused(_REUSED, remedy=_FRESH)
            return Busy()
        case _:
            budget = Budget(scope=BudgetScope(str(told["scope"])), subject=str(told["subject"]), period=BudgetPeriod(str(told["period"])))
            renews, tokens, micros = told["renews"], told["tokens"], told["micros"]
            return OverBudget(
                budget=str(budget),
                room_tokens=tokens if isinstance(tokens, int) else None,
                room_cost_micros=micros if isinstance(micros, int) else None,
                renews_at=datetime.fromtimestamp(renews, UTC) if isinstance(renews, int | float) else None,
            )


def opened(told: JsonObject) -> Opened:
    """What is capped for a call that was opened."""
    return Opened(caps_tokens=bool(told["caps_tokens"]), caps_money=bool(told["caps_money"]))


def room(told: JsonObject) -> Estimate:
    """What the budgets have left behind a call that was opened; 0 where nothing is capped."""
    tokens, micros = told["room_tokens"], told["room_micros"]
    return Estimate(tokens=tokens if isinstance(tokens, int) else 0, cost_micros=micros if isinstance(micros, int) else 0)


def same(fingerprint: object, answer: object, asked: str) -> Answer:
    """The answer kept under a request key. Raises RequestKeyReused when it is of another question."""
    if fingerprint != asked:
        raise RequestKeyReused(_REUSED, remedy=_FRESH)
    assert isinstance(answer, dict)
    return plain.answer_from_plain(answer)


def _in_order(told: Sequence[JsonObject], call_ids: Sequence[object]) -> list[JsonObject]:
    """What came back, in the order of what was asked; a call may be asked about more than once in a batch."""
    by_call: dict[object, list[JsonObject]] = {}
    for one in told:
        by_call.setdefault(one["call_id"], []).append(one)
    return [by_call[call_id].pop(0) for call_id in call_ids]
