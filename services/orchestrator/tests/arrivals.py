"""Runs that arrive beside others: in their threads by any policy, for a key, now or later; and whether anything that was said got lost."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol, TypeVar

from orchestrator_fakes import TENANT
from orchestrator_model_ledger import Ledger
from plimsoll_orchestrator.domain.journal import InputReceived, RunStarted, decode_entry
from plimsoll_orchestrator.domain.letters import InputSent, decode_letter
from plimsoll_orchestrator.domain.options import RunOptions, ThreadPolicy
from plimsoll_orchestrator.errors import ThreadBusy
from plimsoll_orchestrator.service import Orchestrator

T = TypeVar("T")


class Choice(Protocol):
    """Chooses one of several."""

    def __call__(self, options: Sequence[T]) -> T: ...


@dataclass
class Arrivals:
    """Attributes:
    steered  ids of inputs that were accepted for a run under way
    """

    service: Orchestrator
    ledger: Ledger
    tell: Callable[[str], None]
    steered: list[str] = field(default_factory=list)

    async def arrive(self, beside: str, one_of: Choice) -> None:
        """A run with the input of a client's run, submitted twice with the same key."""
        row, first = self.ledger.runs[beside], decode_entry(self.ledger.journals[beside][0].text)
        assert isinstance(first, RunStarted)
        if row.parent or not isinstance(first.input, dict):
            return
        options, key = self._options(first.options.thread_id, one_of), f"key {len(self.ledger.runs)} {len(self.steered)}"
        try:
            started = await self.service.start_run(TENANT, row.agent, first.input, key, options)
            again = await self.service.start_run(TENANT, row.agent, first.input, key, options)
        except ThreadBusy:
            assert options.thread_policy is ThreadPolicy.REJECT
            return
        run_id = started.view.run.run_id
        assert (again.created, again.view.run.run_id) == (False, run_id)
        self.tell(f"{run_id} {'gets the input' if started.steered else 'arrives'}: {options.thread_policy.value}, {options.thread_id}")
        if started.steered:
            letters = [decode_letter(text) for _, text in self.ledger.mail[run_id].values()]
            self.steered.append([one.input_id for one in letters if isinstance(one, InputSent)][-1])

    def _options(self, thread_id: str, one_of: Choice) -> RunOptions:
        thread = thread_id if one_of((True, True, True, False)) else ""
        policy = one_of(tuple(ThreadPolicy)) if thread else ThreadPolicy.ENQUEUE
        now = self.ledger.clock.now()
        later = policy is ThreadPolicy.ENQUEUE and one_of((False, False, True))
        return RunOptions(
            thread_id=thread,
            thread_policy=policy,
            not_before=now + timedelta(seconds=40) if later else None,
            deadline=now + timedelta(hours=1) if one_of((False, True)) else None,
            priority=one_of((5, 1, 9)),
            concurrency_key="k" if one_of((False, True)) else "",
            concurrency_limit=2,
        )

    def unheard(self) -> list[str]:
        """Input that was accepted for a run under way and that nobody ever took: neither it, nor a run of its own."""
        entries = (entry.entry for run_id in self.ledger.runs for entry in self.ledger.entries(run_id, 0))
        read = {entry.input_id for entry in entries if isinstance(entry, InputReceived)}
        return [input_id for input_id in self.steered if input_id not in read and input_id not in self.ledger.runs]
