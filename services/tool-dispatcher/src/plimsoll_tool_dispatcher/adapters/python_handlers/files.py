"""The tools that are there as files: read at the start, and again every few seconds, so that a new file is a new tool.

A file with mistakes is reported and hides nothing: where an earlier version of it was good, that version stays.
"""

import asyncio
import glob
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from plimsoll_runtime.errors import FieldProblem
from plimsoll_runtime.logs import Log

from plimsoll_tool_dispatcher.adapters.python_handlers.code import CategoryCode, category_code
from plimsoll_tool_dispatcher.domain.declaration import Declaration, parse_declaration
from plimsoll_tool_dispatcher.domain.registry import Offering
from plimsoll_tool_dispatcher.domain.tool import Tool

_SUFFIX = ".yaml"
_MAX_FILE_BYTES = 1024 * 1024
_REPORTED_PROBLEMS = 20

Stamp: TypeAlias = tuple[tuple[str, int, int], ...]
"""Names, times and sizes of everything that a version was read from."""

Offer: TypeAlias = Callable[[Offering], Awaitable[None]]
"""Where the tools go."""

Check: TypeAlias = Callable[[CategoryCode], Awaitable[str]]
"""Loads code on trial; says what is wrong with it, or nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One reading of one declaration file with its code."""

    tools: tuple[Tool, ...]
    code: CategoryCode | None
    problems: tuple[FieldProblem, ...]
    stamp: Stamp


class ToolFiles:
    """The registry of tools that live in directories. `patterns` are globs, so that a new directory is found as well."""

    def __init__(self, patterns: Sequence[str], credentials: Path | None, log: Log) -> None:
        self._patterns = tuple(patterns)
        self._credentials = credentials
        self._log = log
        self._seen: dict[Path, Stamp] = {}
        self._offered: dict[Path, Version] = {}
        self._tools: dict[str, Tool] = {}
        self._codes: dict[str, CategoryCode] = {}

    def find(self, tenant: str, name: str) -> Tool | None:
        return self._tools.get(name)

    def list(self, tenant: str) -> Sequence[Tool]:
        return sorted(self._tools.values(), key=lambda tool: tool.name)

    def code(self, path: str) -> CategoryCode | None:
        """The present code of a file of handlers."""
        return self._codes.get(path)

    async def scan(self, check: Check | None = None) -> None:
        """Read what is new or changed. With `check`, code that replaces good code is tried before it does."""
        present, changed = await asyncio.to_thread(_read_changed, self._patterns, self._credentials, dict(self._seen))
        gone = [path for path in self._seen if path not in present]
        for path in gone:
            del self._seen[path]
            if self._offered.pop(path, None):
                self._log.info("tools.file_removed", {"file": str(path)})
        async with asyncio.TaskGroup() as group:  # a file that is slow to load does not hold up the others
            for path, version in changed.items():
                self._seen[path] = version.stamp
                group.create_task(self._take(path, version, check))
        if gone or changed:
            self._collect()

    async def watch(self, check: Check, offer: Offer, interval_s: float, stop: asyncio.Event) -> None:
        """Scan every `interval_s` and offer what there is, until `stop`."""
        while not stop.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(interval_s):
                    await stop.wait()
            if not stop.is_set():
                await self.scan(check)
                await offer(self.offering())

    def offering(self) -> Offering:
        """All tools of all files."""
        return Offering(origin="files", tools=tuple(self._tools[name] for name in sorted(self._tools)))

    async def _take(self, path: Path, version: Version, check: Check | None) -> None:
        """Offer a version, unless it has mistakes and an earlier one has none."""
        earlier = self._offered.get(path)
        good = earlier.code if earlier is not None and not earlier.problems else None
        if good and check and version.code and not version.problems and version.code.version != good.version:
            problem = await check(version.code)
            if problem:
                version = replace(version, problems=(FieldProblem(version.code.path, problem, "mend the file"),))
        kept = good is not None and bool(version.problems)
        self._report(path, version, kept=kept)
        if not kept:
            self._offered[path] = version

    def _collect(self) -> None:
        """All tools by name; a name belongs to the file that has it already, otherwise to the first."""
        tools: dict[str, Tool] = {}
        owners: dict[str, Path] = {}
        for path, version in self._offered.items():
            for tool in version.tools:
                if tool.name not in tools:
                    tools[tool.name], owners[tool.name] = tool, path
                    continue
                taken = {"tool": tool.name, "file": str(path), "taken_by": str(owners[tool.name])}
                self._log.error("tools.name_taken", taken | {"remedy": "rename one of the two tools"})
        self._tools = tools
        self._codes = {version.code.path: version.code for version in self._offered.values() if version.code is not None}

    def _report(self, path: Path, version: Version, *, kept: bool) -> None:
        for problem in version.problems[:_REPORTED_PROBLEMS]:
            fields = {"file": str(path), "field": problem.field, "problem": problem.problem, "remedy": problem.remedy}
            self._log.error("tools.file_broken", fields | {"earlier_version_kept": kept})
        if not kept:
            self._log.info("tools.file_read", {"file": str(path), "tools": len(version.tools)})
        for name in version.code.missing if version.code else ():
            remedy = "put a file of this name into the credentials directory"
            self._log.warning("tools.credential_missing", {"file": str(path), "credential": name, "remedy": remedy})


def _read_changed(patterns: Sequence[str], credentials: Path | None, seen: Mapping[Path, Stamp]) -> tuple[set[Path], dict[Path, Version]]:
    """Every declaration file that is there, and a reading of those that are not as they were seen. Runs in a thread."""
    found_by = ([pattern] if os.path.isdir(pattern) else glob.glob(pattern) for pattern in patterns)
    directories = {os.path.abspath(directory) for directories in found_by for directory in directories}
    files = sorted(Path(found) for directory in directories for found in glob.glob(f"{glob.escape(directory)}/*{_SUFFIX}"))
    changed: dict[Path, Version] = {}
    for path in files:
        stamp = _stamp([path, path.with_suffix(".py")])
        known = seen.get(path)
        if known is not None and known[: len(stamp)] == stamp and _stamp([Path(name) for name, _, _ in known]) == known:
            continue
        changed[path] = _read(path, stamp, credentials)
    return set(files), changed


def _stamp(paths: Sequence[Path]) -> Stamp:
    marks = []
    for path in paths:
        try:
            status = path.stat()
            marks.append((str(path), status.st_mtime_ns, status.st_size))
        except OSError:
            marks.append((str(path), 0, -1))
    return tuple(marks)


def _read(path: Path, stamp: Stamp, credentials: Path | None) -> Version:
    code_path = path.with_suffix(".py")
    try:
        text = _text(path)
        code = _text(code_path) if code_path.exists() else None
    except (OSError, ValueError) as error:
        problem = FieldProblem(str(getattr(error, "filename", None) or path), f"cannot be read: {error}", "make it a readable UTF-8 file")
        return Version(tools=(), code=None, problems=(problem,), stamp=stamp)
    declaration = parse_declaration(text, stem=path.stem, code=code, code_path=str(code_path))
    secrets = {name: _secret(credentials, name) for name in declaration.credentials}
    secret_paths = [credentials / name for name in declaration.credentials] if credentials else []
    return Version(
        tools=declaration.tools,
        code=_code(declaration, code_path, code, secrets) if code is not None else None,
        problems=declaration.problems,
        stamp=stamp + _stamp(secret_paths),
    )


def _code(declaration: Declaration, path: Path, text: str, secrets: Mapping[str, str | None]) -> CategoryCode:
    return category_code(
        path=str(path),
        category=declaration.category,
        text=text,
        functions=tuple(tool.name for tool in declaration.tools),
        credentials={name: secret for name, secret in secrets.items() if secret is not None},
        missing=tuple(name for name, secret in secrets.items() if secret is None),
    )


def _text(path: Path) -> str:
    """Raises OSError, or ValueError for what is not text."""
    if path.stat().st_size > _MAX_FILE_BYTES:
        raise ValueError(f"it is larger than {_MAX_FILE_BYTES // 1024} KiB")
    return path.read_text(encoding="utf-8")


def _secret(directory: Path | None, name: str) -> str | None:
    if directory is None:
        return None
    try:
        return _text(directory / name).strip()
    except (OSError, ValueError):
        return None
