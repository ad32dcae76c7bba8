"""The remote sources that are declared as files: `sources/*.yaml` in the directories of tools, each run by itself.

A file with mistakes is reported and hides nothing: where an earlier version of it was good, that version stays. Each source has its own
task, connections and limits; one that is slow, broken or away delays none of the others.
"""

import asyncio
import glob
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self, TypeAlias

from plimsoll_runtime.errors import FieldProblem, PlimsollError
from plimsoll_runtime.failures import Category
from plimsoll_runtime.logs import Log
from plimsoll_runtime.retry import Backoff, pause

from plimsoll_tool_dispatcher.adapters.sources.outcomes import gone, stopped
from plimsoll_tool_dispatcher.adapters.sources.runtime import Secrets, SourceRuntime
from plimsoll_tool_dispatcher.domain.effects import Mishap
from plimsoll_tool_dispatcher.domain.execution import Attempt, Invocation
from plimsoll_tool_dispatcher.domain.registry import SHARED, Offering
from plimsoll_tool_dispatcher.domain.remote_tools import plain_text, tools_of
from plimsoll_tool_dispatcher.domain.source_declaration import (
    DeclaredApi,
    DeclaredHost,
    DeclaredKnowledge,
    DeclaredMcpProcess,
    DeclaredMcpServer,
    DeclaredSource,
    parse_source,
)
from plimsoll_tool_dispatcher.domain.sources import PythonSource
from plimsoll_tool_dispatcher.domain.tool import Tool
from plimsoll_tool_dispatcher.ports import Catalogue

_MAX_FILE_BYTES = 256 * 1024
_REPORTED_PROBLEMS = 20
_LISTING_S = 60.0
_FIRST_PAUSE_S, _MOST_PAUSE_S = 0.5, 60.0
_LAST_CALLS_S = 30.0

Open: TypeAlias = Callable[[DeclaredSource, Path, Secrets], SourceRuntime]
"""Makes the runtime of a declared source; the path is that of its file."""

Stamp: TypeAlias = tuple[int, int]


@dataclass(slots=True, eq=False)
class _Running:
    """A source at work."""

    declared: DeclaredSource
    runtime: SourceRuntime
    origin: str
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    idle: asyncio.Event = field(default_factory=asyncio.Event)
    calls: int = 0
    told: tuple[FieldProblem, ...] = ()


class DeclaredSources:
    """The executor of all remote tools; while it is entered, the sources run."""

    def __init__(self, patterns: Sequence[str], credentials: Path | None, open_source: Open, catalogue: Catalogue, log: Log) -> None:
        self._patterns = tuple(patterns)
        self._credentials = credentials
        self._open = open_source
        self._catalogue = catalogue
        self._log = log
        self._tasks = asyncio.TaskGroup()
        self._seen: dict[Path, Stamp] = {}
        self._files: dict[str, Path] = {}
        self._running: dict[str, _Running] = {}

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for source in self._running.values():
            source.stop.set()
        await self._tasks.__aexit__(kind, error, trace)

    async def execute(self, tool: Tool, invocation: Invocation) -> Attempt:
        """Hand the call to its source. Never raises: what a source trips over counts as lost."""
        assert not isinstance(tool.source, PythonSource)
        source = self._running.get(tool.source.source)
        if source is None or not _offers(source.declared, tool):
            return gone(tool, f"the source {tool.source.source}")
        source.calls += 1
        source.idle.clear()
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(invocation.timeout_s):
                    await source.ready.wait()
            if not source.ready.is_set():
                message = "the source is not ready"
                return stopped(tool, Category.UPSTREAM_UNAVAILABLE, "SOURCE_NOT_READY", message, Mishap.REFUSED)
            return await source.runtime.execute(tool, invocation)
        except Exception as error:  # noqa: BLE001 - a fault of ours in reading what others send; the call must end as a value
            self._log.error("source.call_broken", {"source": tool.source.source, "tool": tool.name}, error=error)
            return stopped(tool, Category.TOOL_ERROR, "SOURCE_BROKEN", "the answer of the source could not be read", Mishap.LOST)
        finally:
            source.calls -= 1
            if not source.calls:
                source.idle.set()

    async def watch(self, scan_s: float, stop: asyncio.Event) -> None:
        """Look for new, changed and removed files every `scan_s`, until `stop`."""
        while not stop.is_set():
            await self.scan()
            await pause(scan_s, stop)

    async def scan(self) -> None:
        """Take what is new or changed, let go of what is gone."""
        found = await asyncio.to_thread(_files, self._patterns)
        for path in [path for path in self._seen if path not in found]:
            del self._seen[path]
            await self._remove(path)
        for path, stamp in found.items():
            if self._seen.get(path) != stamp:
                self._seen[path] = stamp
                await self._take(path)

    async def _take(self, path: Path) -> None:
        text, problems = await asyncio.to_thread(_text, path)
        declared = None
        if not problems:
            declared, problems = parse_source(text, stem=path.stem)
        if declared is not None and self._files.get(path.stem, path) != path:
            problems = (FieldProblem("source", f"is also declared in {self._files[path.stem]}", "rename one of the two files"),)
            declared = None
        kept = declared is None and self._files.get(path.stem) == path
        for problem in problems[:_REPORTED_PROBLEMS]:
            fields = {"file": str(path), "field": problem.field, "problem": problem.problem, "remedy": problem.remedy}
            self._log.error("sources.file_broken", fields | {"earlier_version_kept": kept})
        if declared is not None:
            await self._start(declared, path)

    async def _start(self, declared: DeclaredSource, path: Path) -> None:
        name = declared.settings.name
        earlier = self._running.get(name)
        runtime = self._open(declared, path, self._secrets(declared))
        source = _Running(declared=declared, runtime=runtime, origin=f"{kind_of(declared)}:{name}")
        source.idle.set()
        self._files[name] = path
        self._running[name] = source
        self._log.info("sources.file_read", {"file": str(path), "source": name})
        if earlier is not None:
            earlier.stop.set()
            if earlier.origin != source.origin:
                await self._catalogue.withdraw(earlier.origin)
        self._tasks.create_task(self._run(source), name=f"source {name}")

    async def _remove(self, path: Path) -> None:
        if self._files.get(path.stem) != path:
            return
        del self._files[path.stem]
        self._seen = {seen: stamp for seen, stamp in self._seen.items() if seen.stem != path.stem}  # another file may have the name now
        source = self._running.pop(path.stem)
        source.stop.set()
        await self._catalogue.withdraw(source.origin)
        self._log.info("sources.file_removed", {"file": str(path), "source": path.stem})

    async def _run(self, source: _Running) -> None:
        """Never raises: a source that fails would end all others with it."""
        name = source.declared.settings.name
        try:
            async with source.runtime:
                source.ready.set()
                await self._offer_again_and_again(source)
                with suppress(TimeoutError):
                    async with asyncio.timeout(_LAST_CALLS_S):
                        await source.idle.wait()
        except Exception as error:  # noqa: BLE001 - the supervisor of all sources
            self._log.error("source.broken", {"source": name}, error=error)

    async def _offer_again_and_again(self, source: _Running) -> None:
        settings, backoff = source.declared.settings, Backoff(_FIRST_PAUSE_S, _MOST_PAUSE_S)
        while not source.stop.is_set():
            try:
                async with asyncio.timeout(_LISTING_S):
                    await self._offer(source)
            except (PlimsollError, TimeoutError) as error:
                reason = error.reason if isinstance(error, PlimsollError) else "TOO_SLOW"
                self._log.warning("source.away", {"source": settings.name, "reason": reason, "problem": str(error)[:300]})
                await backoff.pause(source.stop)
                continue
            except Exception as error:  # noqa: BLE001 - what a source says must not end its task
                self._log.error("source.listing_broken", {"source": settings.name}, error=error)
                await backoff.pause(source.stop)
                continue
            backoff.reset()
            await pause(settings.poll_s, source.stop)

    async def _offer(self, source: _Running) -> None:
        settings = source.declared.settings
        found, problems = await source.runtime.listing()
        tools, left_out = tools_of(settings, kind_of(source.declared), found)
        if not source.stop.is_set():
            notes = {one.name: one.notes for one in found if one.notes}
            self._tell(source, (*problems, *left_out), tuple(note for some in notes.values() for note in some))
            offering = Offering(
                origin=source.origin,
                tenant=settings.tenant,
                tools=tools,
                problems=(*problems, *left_out),
                notes=notes,
                trusted=_trusted(source.declared),
            )
            await self._catalogue.offer(offering)

    def _tell(self, source: _Running, tools: tuple[FieldProblem, ...], parts: tuple[FieldProblem, ...]) -> None:
        """Log what is left out, once: otherwise nobody sees why a tool is not there."""
        for event, problems in (("source.tool_left_out", tools), ("source.part_left_out", parts)):
            for one in [one for one in problems if one not in source.told][:_REPORTED_PROBLEMS]:
                words = {"field": plain_text(one.field), "problem": plain_text(one.problem), "remedy": one.remedy}
                self._log.warning(event, {"source": source.declared.settings.name} | words)
        source.told = (*tools, *parts)

    def _secrets(self, declared: DeclaredSource) -> Secrets:
        names = [use.name for use in declared.settings.credentials]

        def read() -> Mapping[str, str]:
            found: dict[str, str] = {}
            for name in names:
                if self._credentials is not None:
                    with suppress(OSError, ValueError):
                        found[name] = (self._credentials / name).read_text(encoding="utf-8").strip()
            return found

        return read


def kind_of(declared: DeclaredSource) -> str:
    """As tools of the source name it."""
    match declared:
        case DeclaredApi():
            return "http"
        case DeclaredHost() | DeclaredKnowledge():
            return "host"
        case DeclaredMcpServer() | DeclaredMcpProcess():
            return "mcp"


def _offers(declared: DeclaredSource, tool: Tool) -> bool:
    """Whether the operator lets this tenant call this tool of the source, whoever registered it."""
    assert not isinstance(tool.source, PythonSource)
    settings = declared.settings
    listed = settings.tools is None or tool.source.tool in settings.tools
    return listed and settings.tenant in {SHARED, tool.tenant} and kind_of(declared) == tool.source.identity()["kind"]


def _trusted(declared: DeclaredSource) -> bool:
    """Whether its tools may change by themselves. A document that lies beside its declaration is the operator's own."""
    own = isinstance(declared, DeclaredApi) and not declared.document.startswith(("http://", "https://"))
    return own or declared.settings.trusted


def _files(patterns: Sequence[str]) -> Mapping[Path, Stamp]:
    found_by = ([pattern] if os.path.isdir(pattern) else glob.glob(pattern) for pattern in patterns)
    directories = {os.path.abspath(directory) for directories in found_by for directory in directories}
    found: dict[Path, Stamp] = {}
    for directory in sorted(directories):
        for name in sorted(glob.glob(f"{glob.escape(directory)}/sources/*.yaml")):
            with suppress(OSError):
                status = os.stat(name)
                found[Path(name)] = (status.st_mtime_ns, status.st_size)
    return found


def _text(path: Path) -> tuple[str, tuple[FieldProblem, ...]]:
    try:
        if path.stat().st_size <= _MAX_FILE_BYTES:
            return path.read_text(encoding="utf-8"), ()
        return "", (FieldProblem("file", f"is larger than {_MAX_FILE_BYTES // 1024} KiB", "split it"),)
    except (OSError, UnicodeDecodeError) as error:
        return "", (FieldProblem("file", f"cannot be read: {type(error).__name__}", "make it a readable UTF-8 file"),)
