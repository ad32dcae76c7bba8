"""Fault plans in force inside a block, as tests need them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from plimsoll_runtime import logs
from plimsoll_runtime.faults import FaultKind, Faults, injecting


class Misfortunes:
    """What is started inside `possible` meets the faults of each `meeting`, wherever that begins."""

    def __init__(self, where: Path) -> None:
        self._path = where / "faults.json"
        self._faults = Faults("model-router", self._path, logs.get("test"))

    @contextmanager
    def possible(self) -> Iterator[None]:
        with injecting(self._faults):
            yield

    @contextmanager
    def meeting(self, kind: FaultKind, operation: str = "*", *, count: int = 1, seconds: float = 0.0) -> Iterator[None]:
        """One kind of fault before the providers that `operation` names; `count` 0 means every time."""
        rule = {"edge": "provider", "kind": kind, "operation": operation, "count": count, "seconds": seconds}
        self._path.write_text(json.dumps({"name": "test", "rules": [rule]}))
        self._faults.look()
        try:
            yield
        finally:
            self._path.unlink()
            self._faults.look()
