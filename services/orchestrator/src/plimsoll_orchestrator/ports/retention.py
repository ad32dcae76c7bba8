"""What is no longer kept. Each method does a bounded piece of work and returns how much there was."""

from typing import Protocol


class Retention(Protocol):
    """Nothing of an unfinished run is touched, nor of one whose parent is unfinished, nor what is still to be published."""

    async def retire_journals(self, older_s: float, limit: int) -> int:
        """Of runs that finished long enough ago, only the last entry is told from now on."""
        ...

    async def forget_runs(self, older_s: float, limit: int) -> int:
        """Runs that finished long enough ago are gone."""
        ...

    async def erase_journals(self, runs: int, entries: int) -> int:
        """Erase what was retired or belonged to a forgotten run, `entries` of each of a few runs; returns how many runs there were."""
        ...

    async def forget_deliveries(self, older_s: float, limit: int) -> int:
        """Messages to webhooks that were settled, of that age."""
        ...
