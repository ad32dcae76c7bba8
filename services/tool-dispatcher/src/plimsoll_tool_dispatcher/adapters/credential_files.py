"""The vault: a directory with one file per credential, named like it."""

import asyncio
import hashlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from plimsoll_tool_dispatcher.domain.call import Secrets

_MAX_BYTES = 1024 * 1024
_VERSION_CHARS = 8  # enough to notice a rotation, too few to find a secret by


class CredentialFiles:
    """Remembers what it read; `watch` looks again for changes."""

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory
        self._known: dict[str, str | None] = {}

    def secrets(self, names: Sequence[str]) -> Secrets:
        for name in names:
            if name not in self._known:  # once per credential: a file of a few bytes
                self._known[name] = _read(self._directory, name)
        values = {name: value for name in names if (value := self._known[name]) is not None}
        text = "\0".join(f"{name}={value}" for name, value in sorted(values.items()))
        return Secrets(
            values=values,
            missing=tuple(name for name in names if name not in values),
            version=hashlib.sha256(text.encode()).hexdigest()[:_VERSION_CHARS] if values else "",
        )

    async def watch(self, interval_s: float, stop: asyncio.Event) -> None:
        """Read everything anew every `interval_s`, until `stop`."""
        while not stop.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(interval_s):
                    await stop.wait()
            self._known |= await asyncio.to_thread(_read_all, self._directory, list(self._known))


def _read_all(directory: Path | None, names: Sequence[str]) -> dict[str, str | None]:
    return {name: _read(directory, name) for name in names}


def _read(directory: Path | None, name: str) -> str | None:
    if directory is None:
        return None
    path = directory / name
    try:
        return path.read_text(encoding="utf-8").strip() if path.stat().st_size <= _MAX_BYTES else None
    except (OSError, ValueError):
        return None
