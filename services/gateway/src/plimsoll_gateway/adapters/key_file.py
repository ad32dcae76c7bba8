"""The file that the first API key is handed over in."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from plimsoll_runtime.errors import FieldProblem
from plimsoll_runtime.settings import InvalidSettings

from plimsoll_gateway.domain.principal import read_key

_VARIABLE = "PLIMSOLL_GATEWAY_BOOTSTRAP_KEY_FILE"


class OwnerOnlyKeyFile:
    """A file that only its owner reads, replaced in one step."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def path(self) -> str:
        return str(self._path)

    def read(self) -> str | None:
        """What the file holds, without white space around it; None when it is not there. Raises InvalidSettings when it cannot be read."""
        try:
            return self._path.read_text(encoding="utf-8", errors="replace").strip()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _unusable(f"{self._path} cannot be read: {error.strerror}") from error

    def write(self, text: str) -> None:
        """Raises InvalidSettings when the file cannot be written, or holds something else than a key of ours."""
        before = self.read()
        if before and read_key(before) is None:
            raise _unusable(f"{self._path} holds something that is no API key, and is left as it is")
        try:
            self._replace(text + "\n")
        except OSError as error:
            raise _unusable(f"{self._path} cannot be written: {error.strerror}") from error

    def _replace(self, text: str) -> None:
        descriptor, name = tempfile.mkstemp(dir=self._path.parent, prefix=f".{self._path.name}.")  # mode 0600
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self._path)
        except BaseException:
            with suppress(FileNotFoundError):
                Path(name).unlink()
            raise


def _unusable(problem: str) -> InvalidSettings:
    return InvalidSettings(problems=(FieldProblem(_VARIABLE, problem, "name a file in a directory that the gateway may write to"),))
