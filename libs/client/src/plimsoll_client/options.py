"""How a run is started beside its input, and where one comes from that no client started."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from plimsoll_runtime.json_types import JsonObject


class ThreadPolicy(StrEnum):
    """What becomes of a run that is submitted to a thread with a run under way."""

    REJECT = "reject"  # it is refused
    ENQUEUE = "enqueue"  # it waits for its turn
    INTERRUPT = "interrupt"  # the one under way is cancelled, and what it did is kept
    ROLLBACK = "rollback"  # the one under way is cancelled, and the thread is as it was before it
    STEER = "steer"  # no new run: the input reaches the one under way at its next safe point
    UNKNOWN = "unknown"  # a word of a newer mesh


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What a run may use up; 0 means no limit of its own. The graph's limits hold as well. `seconds` counts steps, not waiting."""

    steps: int = 0
    tokens: int = 0
    cost_micros: int = 0
    seconds: float = 0.0


NO_LIMITS = Budget()
PRIORITY = 5
"""The usual one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """Attributes:
    priority         1 to 9, higher first among the tenant's own runs; 0 means 5
    start_at         not before; None means at once
    deadline         the run fails when it has not finished by then
    thread_id        conversation that the run belongs to: one run of a thread is under way at a time
    thread_policy    None means enqueue
    concurrency_key  at most `concurrency_limit` runs of the tenant with this key are under way at once
    follow_latest    goes on with the newest version of its agent whenever it is taken up, as far as that fits
    stream_tokens    what models say reaches followers while they say it
    """

    priority: int = 0
    start_at: datetime | None = None
    deadline: datetime | None = None
    budget: Budget = NO_LIMITS
    thread_id: str = ""
    thread_policy: ThreadPolicy | None = None
    concurrency_key: str = ""
    concurrency_limit: int = 0
    follow_latest: bool = False
    stream_tokens: bool = False


USUAL = RunOptions()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOrigin:
    """The step of another run, the run that it was forked from, or the schedule that fired; what does not apply is empty.

    Attributes:
    place         branch name or item index in the parent's step
    requested_by  who asked for the run; of a run that another one started, who asked for that one
    steered_run_id  the run of the thread that its input was given to, and which ended without reading it
    """

    parent_run_id: str = ""
    parent_seq: int = 0
    place: str = ""
    forked_run_id: str = ""
    forked_seq: int = 0
    schedule: str = ""
    requested_by: str = ""
    steered_run_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fork:
    """Where a new run departs from another one.

    Attributes:
    seq     the state as it was after this entry of the journal; 0 means the last entry
    state   fields of the state to change; None takes a field away
    node    go on at this node; empty means where the run was
    latest  with the newest version of the agent, not the one that the run has
    """

    seq: int = 0
    state: JsonObject = field(default_factory=dict)
    node: str = ""
    latest: bool = False


AS_IT_IS = Fork()
