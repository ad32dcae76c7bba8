"""Small files that must be private and whole: credentials, state, configuration."""

import os
from pathlib import Path

from plimsoll_devstack.errors import NotWritable


def private_directory(path: Path) -> Path:
    """Make `path` if needed, with access for its owner alone on a new one; refuse one that cannot be written."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except FileExistsError as error:
        raise NotWritable(f"{path} is a file, not a directory", remedy="Choose a directory with --data") from error
    except OSError as error:
        raise NotWritable(
            f"data directory {path} cannot be created: {error.strerror}", remedy="Choose another with --data, or fix its permissions"
        ) from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise NotWritable(f"data directory {path} is not writable", remedy="Choose another with --data, or fix its permissions")
    return path


def write_private(path: Path, text: str) -> None:
    """Replace `path` in one step by a file only its owner can read, so that no reader ever sees half of it."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        fresh.replace(path)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise NotWritable(
            f"{path} cannot be written: {error.strerror}", remedy="Free some space, fix its permissions, or choose another --data"
        ) from error
