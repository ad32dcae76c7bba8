"""Reading documents off the event loop: small plain ones in a thread, all others in a child process with bounds."""

import asyncio
from dataclasses import dataclass

from plimsoll_runtime import logs
from plimsoll_runtime.deadline import budget_s
from plimsoll_runtime.errors import DeadlineExpired, Internal

from plimsoll_memory.adapters.apart import Apart, Said
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
        try:
            async with asyncio.timeout(seconds):
                said = await Apart(_CHILD, order.to_json()).ask([content])
        except TimeoutError as error:
            if seconds < limits.seconds:
                raise DeadlineExpired from error
            raise self._too_hard() from error
        self._judge(said)
        return await asyncio.to_thread(answer_from_json, said.answer)

    def _judge(self, said: Said) -> None:
        if said.code < 0:  # ended by a signal: a limit of the system
            raise self._too_hard()
        if said.code:
            kind = said.complaint.strip().rpartition(b"\n")[2].partition(b":")[0]  # what follows may quote the document
            self._log.error("reader.crashed", {"code": said.code, "error": kind[:100].decode(errors="replace")})
            raise ReaderCrashed

    def _too_hard(self) -> TooHardToRead:
        problem = f"could not be read within {self._limits.seconds:g} s and {self._limits.memory_mib:,} MiB"
        return TooHardToRead(problem, "split it into several documents, or send its text")
