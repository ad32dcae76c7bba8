"""A fault plan: which faults, at which edges, for whom, how often; and the dice that decide, from a seed."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase

import msgspec

from plimsoll_runtime.errors import FieldProblem, Invalid


class InvalidPlan(Invalid):
    """The fault plan makes no sense."""

    reason = "INVALID_FAULT_PLAN"


class Edge(StrEnum):
    """Where a service meets what is outside of it."""

    RPC_CLIENT = "rpc_client"
    RPC_SERVER = "rpc_server"
    NATS_PUBLISH = "nats_publish"
    NATS_CONSUME = "nats_consume"
    POSTGRES = "postgres"
    REDIS = "redis"
    HTTP = "http"
    PROVIDER = "provider"
    TOOL = "tool"
    EMBEDDER = "embedder"


class FaultKind(StrEnum):
    """What goes wrong.

    latency    it is done late
    slow       it is done, and the answer comes late
    error      refused before anything was done
    timeout    nothing is done, and no answer comes in time
    cut        it is done, and the answer is lost
    malformed  it is done, and the answer is garbled
    duplicate  it is done twice
    drop       it is not done, and looks as if it were; a message that was to be handled comes again
    """

    LATENCY = "latency"
    SLOW = "slow"
    ERROR = "error"
    TIMEOUT = "timeout"
    CUT = "cut"
    MALFORMED = "malformed"
    DUPLICATE = "duplicate"
    DROP = "drop"


_REQUESTS = frozenset(FaultKind) - {FaultKind.DROP}
_POSSIBLE = {
    Edge.RPC_CLIENT: _REQUESTS,
    Edge.RPC_SERVER: _REQUESTS - {FaultKind.DUPLICATE, FaultKind.MALFORMED},
    Edge.NATS_PUBLISH: frozenset(FaultKind) - {FaultKind.MALFORMED},
    Edge.NATS_CONSUME: frozenset({FaultKind.LATENCY, FaultKind.SLOW, FaultKind.ERROR, FaultKind.CUT, FaultKind.DUPLICATE, FaultKind.DROP}),
    Edge.POSTGRES: _REQUESTS - {FaultKind.DUPLICATE, FaultKind.MALFORMED},
    Edge.REDIS: _REQUESTS - {FaultKind.DUPLICATE, FaultKind.MALFORMED},
    Edge.HTTP: _REQUESTS,
    Edge.PROVIDER: _REQUESTS - {FaultKind.DUPLICATE},
    Edge.TOOL: _REQUESTS - {FaultKind.DUPLICATE},
    Edge.EMBEDDER: _REQUESTS - {FaultKind.DUPLICATE},
}
_RULES_MOST = 100
_SECONDS_MOST = 600.0


class FaultRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One kind of fault at one edge.

    Attributes:
    service    the service in which it happens, a folder name; patterns with * allowed, as in all names here
    operation  the method, subject, statement's first word, command, host or tool
    tenant     for whom; where the edge does not know, only * matches
    share      the part of the passages that it hits, 0 to 1
    count      how often at the most; 0 means without end
    seconds    how long latency, slow and timeout take
    after_s    seconds from the plan's beginning until it begins, and
    for_s      how long it goes on; 0 means as long as the plan
    """

    edge: Edge
    kind: FaultKind
    service: str = "*"
    operation: str = "*"
    tenant: str = "*"
    share: float = 1.0
    count: int = 0
    seconds: float = 1.0
    after_s: float = 0.0
    for_s: float = 0.0


class FaultPlan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: str
    rules: tuple[FaultRule, ...]
    seed: int = 0
    description: str = ""


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault to be done now, at one passage of an edge."""

    rule: int
    edge: Edge
    kind: FaultKind
    seconds: float


def parse_plan(text: bytes | str) -> FaultPlan:
    """The plan in a JSON text. Raises InvalidPlan with every mistake."""
    try:
        plan = msgspec.json.decode(text, type=FaultPlan)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise InvalidPlan(problems=(FieldProblem("plan", str(error), "see the list of fields in the README of libs/runtime"),)) from error
    problems = [problem for place, rule in enumerate(plan.rules) for problem in _problems(f"rules[{place}]", rule)]
    if not 0 < len(plan.rules) <= _RULES_MOST:
        problems.append(FieldProblem("rules", f"are {len(plan.rules)}", f"give 1 to {_RULES_MOST}"))
    if problems:
        raise InvalidPlan(problems=problems)
    return plan


def _problems(where: str, rule: FaultRule) -> Sequence[FieldProblem]:
    problems = []
    if rule.kind not in _POSSIBLE[rule.edge]:
        possible = ", ".join(sorted(_POSSIBLE[rule.edge]))
        problems.append(FieldProblem(f"{where}.kind", f"is {rule.kind}, which cannot happen at {rule.edge}", f"one of {possible}"))
    if not 0 < rule.share <= 1:
        problems.append(FieldProblem(f"{where}.share", f"is {rule.share:g}", "give a number above 0 and up to 1"))
    if rule.count < 0:
        problems.append(FieldProblem(f"{where}.count", f"is {rule.count}", "give 0 for without end, or how often at the most"))
    for name in ("seconds", "after_s", "for_s"):
        value = getattr(rule, name)
        if not 0 <= value <= _SECONDS_MOST:
            problems.append(FieldProblem(f"{where}.{name}", f"is {value:g}", f"give 0 to {_SECONDS_MOST:g} seconds"))
    return problems


class Dice:
    """Decides for one service and one plan; the same passages in the same order meet the same faults."""

    def __init__(self, plan: FaultPlan, service: str) -> None:
        self._rules = [(place, rule) for place, rule in enumerate(plan.rules) if fnmatchcase(service, rule.service)]
        self._left = {place: rule.count for place, rule in self._rules if rule.count}
        self._random = {place: random.Random(f"{plan.seed} {service} {place}") for place, _ in self._rules}  # noqa: S311 - repeatable, not secret

    def throw(self, edge: Edge, operation: str, tenant: str, elapsed_s: float) -> Fault | None:
        """The fault that this passage meets: of the first rule that hits."""
        for place, rule in self._rules:
            if rule.edge is not edge or not _holds(rule, operation, tenant, elapsed_s):
                continue
            if self._left.get(place) == 0 or self._random[place].random() >= rule.share:
                continue
            if place in self._left:
                self._left[place] -= 1
            return Fault(place, edge, rule.kind, rule.seconds)
        return None


def _holds(rule: FaultRule, operation: str, tenant: str, elapsed_s: float) -> bool:
    if elapsed_s < rule.after_s or (rule.for_s and elapsed_s >= rule.after_s + rule.for_s):
        return False
    return fnmatchcase(operation, rule.operation) and (rule.tenant == "*" or fnmatchcase(tenant, rule.tenant))
