"""Gates in memory and in the plainest words: who is before a thread or a key, and who is let through."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from plimsoll_orchestrator.domain.options import RunOptions, ThreadPolicy
from plimsoll_orchestrator.errors import ThreadBusy
from plimsoll_runtime.clock import Clock

_STEP = timedelta(seconds=30)  # of priority
_FIRST = 0


@dataclass(slots=True, kw_only=True)
class Place:
    """A run at its gates."""

    run_id: str
    tenant: str
    options: RunOptions
    place: int
    since: datetime
    admitted: bool = False

    @property
    def turn(self) -> tuple[bool, datetime, str]:
        """Smaller comes first."""
        return self.place > _FIRST, self.since + self.place * _STEP, self.run_id


@dataclass(slots=True)
class Gates:
    clock: Clock
    places: dict[str, Place] = field(default_factory=dict)

    def arrive(self, run_id: str, tenant: str, options: RunOptions, *, superseding: bool = False, since: datetime | None = None) -> None:
        """Take a place; a run that is to begin later takes it then."""
        place = _FIRST if superseding else 10 - options.priority
        came = since or options.not_before or self.clock.now()
        self.places[run_id] = Place(run_id=run_id, tenant=tenant, options=options, place=place, since=came)

    def leave(self, run_id: str) -> None:
        self.places.pop(run_id, None)

    def busy(self, tenant: str, thread_id: str) -> list[Place]:
        """Who is in a thread, the one under way first."""
        here = [one for one in self._of(tenant) if one.options.thread_id == thread_id and (one.admitted or one.since <= self.clock.now())]
        return sorted(here, key=lambda one: (not one.admitted, one.run_id))

    def admit(self, tenant: str) -> list[str]:
        """Let through whom there is room for, in turn; returns their ids."""
        admitted = []
        waiting = sorted((one for one in self._of(tenant) if not one.admitted and one.since <= self.clock.now()), key=lambda one: one.turn)
        passed_by = set[str]()
        for one in waiting:
            thread = one.options.thread_id
            if (thread and (thread in passed_by or self._under_way(tenant, thread))) or self._is_full(one):
                passed_by.add(thread)
            else:
                one.admitted = True
                admitted.append(one.run_id)
        return admitted

    def _of(self, tenant: str) -> Iterable[Place]:
        return [one for one in self.places.values() if one.tenant == tenant]

    def _under_way(self, tenant: str, thread_id: str) -> bool:
        return any(one.admitted and one.options.thread_id == thread_id for one in self._of(tenant))

    def _is_full(self, place: Place) -> bool:
        options = place.options
        if not options.concurrency_key:
            return False
        inside = [one for one in self._of(place.tenant) if one.admitted and one.options.concurrency_key == options.concurrency_key]
        return len(inside) >= max(1, options.concurrency_limit)

    def overfull(self) -> list[str]:
        """Threads and keys that more are in than may be."""
        inside = [one for one in self.places.values() if one.admitted]
        threads = [f"{one.tenant} thread {one.options.thread_id}" for one in inside if one.options.thread_id]
        keys = [(f"{one.tenant} key {one.options.concurrency_key}", one.options.concurrency_limit) for one in inside]
        return [name for name in set(threads) if threads.count(name) > 1] + [
            name for name, most in set(keys) if not name.endswith(" ") and [key for key, _ in keys].count(name) > max(1, most)
        ]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a thread's policy makes of a run that arrives: the run that gets its input, or those that it supersedes."""

    steered: str = ""
    superseded: Sequence[str] = ()


def judged(busy: Sequence[Place], options: RunOptions) -> Verdict:
    """Raises ThreadBusy."""
    active = next((one.run_id for one in busy if one.admitted), "")
    match options.thread_policy:
        case ThreadPolicy.REJECT if busy:
            raise ThreadBusy(f"run {busy[0].run_id} of thread {options.thread_id!r} is under way")
        case ThreadPolicy.STEER if active:
            return Verdict(steered=active)
        case ThreadPolicy.INTERRUPT | ThreadPolicy.ROLLBACK:
            return Verdict(superseded=[one.run_id for one in busy if one.admitted or one.place == _FIRST])
        case _:
            return Verdict()
