"""What the author of a Python tool imports to work with files: a folder per tenant that no name leads out of.

Names are checked before they are used, and every folder on the way is opened without following links, so that neither `..` nor a link
that somebody put there leads elsewhere. Like `handler`, this module is loaded into worker processes.
"""

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from urllib.parse import quote

from plimsoll_tool_dispatcher.handler import ToolRejected

MAX_FILE_BYTES = 8 * 1024 * 1024
MAX_TENANT_BYTES = 256 * 1024 * 1024
MAX_FILES = 2_000

_STEP = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_. -]{0,98}[A-Za-z0-9_-]|[A-Za-z0-9_]")
_MAX_STEPS = 8
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEntry:
    """`changed_at` is in seconds since 1970."""

    path: str
    size: int
    changed_at: float


class Workspace:
    """The files of one tenant."""

    def __init__(self, root: str, tenant: str) -> None:
        self._root = root
        self._tenant = quote(tenant, safe="").replace(".", "%2E")

    def read(self, path: str) -> bytes:
        """Raises ToolRejected."""
        steps = _steps(path)
        with self._folder(steps[:-1], path) as folder:
            try:
                file = os.open(steps[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=folder)
            except OSError as error:
                raise _no_file(path) from error
            with os.fdopen(file, "rb") as opened:
                if not _is_file(opened.fileno()):
                    raise _no_file(path)
                content = opened.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise ToolRejected("FILE_TOO_LARGE", f"the file is larger than {MAX_FILE_BYTES // 1024} KiB")
        return content

    def write(self, path: str, content: bytes) -> None:
        """Put the whole file in place at once: nobody ever reads half of it. Raises ToolRejected."""
        steps = _steps(path)
        if len(content) > MAX_FILE_BYTES:
            raise ToolRejected("FILE_TOO_LARGE", f"the file would be larger than {MAX_FILE_BYTES // 1024} KiB")
        present = [entry for entry in self.entries() if entry.path != path]
        if len(present) >= MAX_FILES or sum(entry.size for entry in present) + len(content) > MAX_TENANT_BYTES:
            raise ToolRejected(
                "WORKSPACE_FULL", f"the workspace holds {MAX_FILES} files or {MAX_TENANT_BYTES // 1024 // 1024} MiB at the most"
            )
        with self._folder(steps[:-1], path, make=True) as folder:
            partial = f".{os.getpid()}-{os.urandom(8).hex()}"
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(partial, flags, 0o600, dir_fd=folder), "wb") as opened:
                opened.write(content)
                opened.flush()
                os.fsync(opened.fileno())
            try:
                os.replace(partial, steps[-1], src_dir_fd=folder, dst_dir_fd=folder)
            except OSError as error:
                os.unlink(partial, dir_fd=folder)
                raise ToolRejected("NOT_A_FILE", "a folder has this name") from error

    def remove(self, path: str) -> bool:
        """Whether the file was there. Raises ToolRejected."""
        steps = _steps(path)
        try:
            with self._folder(steps[:-1], path) as folder:
                os.unlink(steps[-1], dir_fd=folder)
        except (FileNotFoundError, ToolRejected):
            return False
        except OSError as error:
            raise ToolRejected("NOT_A_FILE", "a folder has this name") from error
        return True

    def entries(self, prefix: str = "") -> list[FileEntry]:
        """All files whose path begins so, by path."""
        try:
            top = os.open(os.path.join(self._root, self._tenant), _FOLDER)
        except OSError:
            return []
        try:
            return sorted((one for one in _walk(top, "", 0) if one.path.startswith(prefix)), key=lambda one: one.path)[:MAX_FILES]
        finally:
            os.close(top)

    @contextmanager
    def _folder(self, steps: tuple[str, ...], path: str, *, make: bool = False) -> Iterator[int]:
        folder = -1
        try:
            if make:
                os.makedirs(os.path.join(self._root, self._tenant), mode=0o700, exist_ok=True)
            folder = os.open(os.path.join(self._root, self._tenant), _FOLDER)
            for step in steps:
                if make:
                    with suppress(FileExistsError):
                        os.mkdir(step, 0o700, dir_fd=folder)
                inner = os.open(step, _FOLDER, dir_fd=folder)
                os.close(folder)
                folder = inner
        except OSError as error:
            if folder >= 0:
                os.close(folder)
            raise _no_file(path) from error
        try:
            yield folder
        finally:
            os.close(folder)


def _steps(path: str) -> tuple[str, ...]:
    steps = tuple(path.split("/"))
    if len(steps) > _MAX_STEPS or not all(_STEP.fullmatch(step) for step in steps):
        raise ToolRejected("BAD_PATH", "a path is made of letters, digits, spaces and _ . - between slashes, and no part begins with a dot")
    return steps


def _no_file(path: str) -> ToolRejected:
    return ToolRejected("NO_SUCH_FILE", "no file has this path; file_list tells those that there are")


def _is_file(descriptor: int) -> bool:

    return stat.S_ISREG(os.fstat(descriptor).st_mode)


def _walk(folder: int, above: str, depth: int) -> Iterator[FileEntry]:
    with os.scandir(folder) as found:
        for entry in found:
            if _STEP.fullmatch(entry.name) is None:
                continue
            if entry.is_file(follow_symlinks=False):
                status = entry.stat(follow_symlinks=False)
                yield FileEntry(path=above + entry.name, size=status.st_size, changed_at=status.st_mtime)
            elif entry.is_dir(follow_symlinks=False) and depth < _MAX_STEPS:
                inner = os.open(entry.name, _FOLDER, dir_fd=folder)
                try:
                    yield from _walk(inner, f"{above}{entry.name}/", depth + 1)
                finally:
                    os.close(inner)
