"""Identifiers that a test can foretell."""

from collections import Counter


class FakeIds:
    """Ids in sequence per prefix: `run_000001`, `run_000002`, `call_000001`."""

    def __init__(self) -> None:
        self._issued: Counter[str] = Counter()

    def new(self, prefix: str) -> str:
        """The next id with this prefix."""
        self._issued[prefix] += 1
        return f"{prefix}_{self._issued[prefix]:06d}"
