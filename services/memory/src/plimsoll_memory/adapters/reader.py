"""Reading documents off the event loop: small plain ones in a thread, all others in a child process with bounds."""

import asyncio
import sys
from dataclasses import dataclass
from subprocess import PIPE, Popen

from plimsoll_runtime import logs
from plimsoll_runtime.deadline import budget_s
from plimsoll_runtime.errors import DeadlineExpired, Internal

from plimsoll_memory.adapters.reader_protocol import Order, answer_from_json
from plimsoll_memory.domain.chunking import ChunkPlan
from plimsoll_memory.domain.media import Format, MediaType
from plimsoll_memory.domain.reading import Reading, cut, parse
from plimsoll_memory.errors import TooHardToRead

_CHILD = "plimsoll_memory.adapters.reader_child"
_SMALL = 64 * 1024  # bytes that a thread reads within milliseconds
_PLAIN = frozenset({MediaType.TEXT, MediaType.MARKDOWN, MediaType.CSV, MediaType.JSON_LINES})


class ReaderCrashed(Internal):
    """The child process that read the document failed."""

    reason = "READER_CRASHED"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadingLimits:
    """What reading one document may take; `processes` is how many are read at once."""

    seconds: float
    memory_mib: int
    most_pages: int
    most_passages: int
    processes: int


class ProcessReader:
    """A DocumentReader. Whatever a document does to its reader, the service lives on."""

    def __init__(self, plan: ChunkPlan, limits: ReadingLimits, log: logs.Log) -> None:
        self._plan = plan
        self._limits = limits
        self._log = log
        self._room = asyncio.Semaphore(limits.processes)

    async def read(self, format_: Format, content: bytes) -> Reading:
        """Raises DocumentRefused; TooHardToRead when a limit was reached, DeadlineExpired when the caller's time was."""
        async with self._room:
            if format_.media_type in _PLAIN and len(content) <= _SMALL:
                return await asyncio.to_thread(self._read_here, format_, content)
            return await self._read_apart(format_, content)

    def _read_here(self, format_: Format, content: bytes) -> Reading:
        return cut(parse(format_, content, most=self._limits.most_passages), self._plan, most=self._limits.most_passages)

    async def _read_apart(self, format_: Format, content: bytes) -> Reading:
        limits = self._limits
        seconds = budget_s(limits.seconds)
        order = Order(
            format=format_,
            plan=self._plan,
            most_pages=limits.most_pages,
            most_passages=limits.most_passages,
            memory_mib=limits.memory_mib,
            seconds=seconds,
        )
        # From a thread and not by the event loop: Popen uses vfork, while uvloop forks, which gRPC's own fork hooks do not survive.
        child = await asyncio.to_thread(Popen, [sys.executable, "-I", "-m", _CHILD, order.to_json()], stdin=PIPE, stdout=PIPE, stderr=PIPE)
        try:
            async with asyncio.timeout(seconds):
                answer, complaint = await asyncio.to_thread(child.communicate, content)
        except TimeoutError as error:
            if seconds < limits.seconds:
                raise DeadlineExpired from error
            raise self._too_hard() from error
        finally:
            await _end(child)
        self._judge(child.returncode or 0, complaint)
        return await asyncio.to_thread(answer_from_json, answer)

    def _judge(self, code: int, complaint: bytes) -> None:
        if code < 0:  # ended by a signal: a limit of the system
            raise self._too_hard()
        if code:
            kind = complaint.strip().rpartition(b"\n")[2].partition(b":")[0]  # what follows may quote the document
            self._log.error("reader.crashed", {"code": code, "error": kind[:100].decode(errors="replace")})
            raise ReaderCrashed

    def _too_hard(self) -> TooHardToRead:
        problem = f"could not be read within {self._limits.seconds:g} s and {self._limits.memory_mib:,} MiB"
        return TooHardToRead(problem, "split it into several documents, or send its text")


async def _end(child: "Popen[bytes]") -> None:
    """Leave no child behind, also when cancelled."""
    if child.poll() is None:
        child.kill()
        await asyncio.to_thread(child.wait)
