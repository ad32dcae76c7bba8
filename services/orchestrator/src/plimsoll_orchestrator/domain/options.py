"""How a run is started beside its input, and where it comes from. Part of the journal: msgspec structs, fields are only ever added."""

from datetime import datetime
from enum import StrEnum

import msgspec

PRIORITY_USUAL = 5


class ThreadPolicy(StrEnum):
    """What becomes of a run that is submitted to a thread with a run under way."""

    REJECT = "reject"
    ENQUEUE = "enqueue"
    INTERRUPT = "interrupt"
    ROLLBACK = "rollback"
    STEER = "steer"


class Limits(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a run may use up; zero means no limit of its own. `seconds` counts time spent in steps, not time spent waiting."""

    steps: int = 0
    tokens: int = 0
    cost_micros: int = 0
    seconds: float = 0.0


NO_LIMITS = Limits()


class RunOptions(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Attributes:
    priority           1 to 9, higher first among the tenant's own runs
    not_before         None means at once
    deadline           the run fails when it has not finished by then
    thread_id          conversation that the run belongs to; empty for none
    concurrency_key    at most `concurrency_limit` runs of the tenant with this key are under way at once; empty for none
    follow_latest      goes on with the newest version of its agent whenever it is taken up, as far as that fits
    stream_tokens      what models say reaches followers while they say it
    """

    priority: int = PRIORITY_USUAL
    not_before: datetime | None = None
    deadline: datetime | None = None
    budget: Limits = NO_LIMITS
    thread_id: str = ""
    thread_policy: ThreadPolicy = ThreadPolicy.ENQUEUE
    concurrency_key: str = ""
    concurrency_limit: int = 0
    follow_latest: bool = False
    stream_tokens: bool = False


USUAL = RunOptions()


class RunOrigin(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a run comes from, when it is not a client's: the step of another run, a fork, or a schedule.

    Attributes:
    place      branch name or item index in the parent's step
    branch     works in its parent's graph, and its output is what it changed in the state
    depth      how many runs are above this one
    thread_id  conversation of the run whose branch this is: it reads and writes there, and takes no turn of its own
    requested_by  who asked for the run, or for the run that started it; empty when nobody is known
    steered_run_id  the run of the thread that the input was given to first, and which ended without reading it
    """

    parent_run_id: str = ""
    parent_seq: int = 0
    place: str = ""
    branch: bool = False
    depth: int = 0
    forked_run_id: str = ""
    forked_seq: int = 0
    schedule: str = ""
    thread_id: str = ""
    requested_by: str = ""
    steered_run_id: str = ""


CLIENT = RunOrigin()
