"""Reading apart from the service: whatever a document does to its reader, the service lives on."""

import asyncio
import os

import psutil
import pytest
from memory_samples import HANDBOOK, bomb, pdf
from plimsoll_memory.adapters.reader import ProcessReader, ReaderCrashed, ReadingLimits
from plimsoll_memory.domain.chunking import ChunkPlan
from plimsoll_memory.domain.media import Format, MediaType
from plimsoll_memory.errors import DocumentRefused, EncryptedDocument, MalformedRecord, TooHardToRead
from plimsoll_runtime import logs
from plimsoll_runtime.deadline import expiring
from plimsoll_runtime.errors import DeadlineExpired
from plimsoll_testkit.waiting import eventually

PDF, HTML, MARKDOWN, JSON_LINES = (
    Format(media_type=one) for one in (MediaType.PDF, MediaType.HTML, MediaType.MARKDOWN, MediaType.JSON_LINES)
)


def reader(*, seconds: float = 20, memory_mib: int = 1024, processes: int = 1) -> ProcessReader:
    limits = ReadingLimits(seconds=seconds, memory_mib=memory_mib, most_pages=100, most_passages=50_000, processes=processes)
    return ProcessReader(ChunkPlan(), limits, logs.get("memory"))


def children() -> list[int]:
    """Reader processes that live."""
    return [one.pid for one in psutil.Process(os.getpid()).children() if "reader_child" in command_of(one)]


def command_of(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:  # ended meanwhile
        return ""


async def test_small_text_and_the_same_text_read_apart_give_the_same_passages() -> None:
    here = await reader().read(MARKDOWN, HANDBOOK.encode())
    apart = await reader().read(MARKDOWN, HANDBOOK.encode() + b"\n" * 70_000)
    assert here == apart
    assert len(here.chunks) == 3


async def test_a_pdf_is_read_with_pages_and_title() -> None:
    reading = await reader().read(PDF, pdf("First.", "Second.", title="Report"))
    assert reading.title == "Report"
    assert reading.chunks[0].text == "First.\n\nSecond."


async def test_html_is_read() -> None:
    reading = await reader().read(HTML, b"<title>T</title><h1>Head</h1><p>Text &auml;</p>")
    assert (reading.title, reading.chunks[0].text, reading.chunks[0].headings) == ("T", "Head\n\nText ä", ("Head",))


async def test_a_refusal_crosses_the_process_unchanged() -> None:
    with pytest.raises(EncryptedDocument) as refusal:
        await reader().read(PDF, pdf("Secret.", password="x"))
    assert str(refusal.value) == "content: needs a password (send it without one)"
    with pytest.raises(MalformedRecord, match="line 9001"):
        await reader().read(JSON_LINES, b'{"a": 12345}\n' * 9000 + b"{")


async def test_a_document_that_takes_too_long_is_refused_and_its_process_ended() -> None:
    with pytest.raises(TooHardToRead, match=r"could not be read within 0.05 s and 1,024 MiB \(split"):
        await reader(seconds=0.05).read(HTML, b"<p>" * 1_000_000)
    assert not children()


async def test_the_callers_deadline_is_not_the_documents_fault() -> None:
    with expiring(0.05), pytest.raises(DeadlineExpired):
        await reader().read(HTML, b"<p>" * 1_000_000)
    assert not children()


async def test_a_document_that_takes_too_much_memory_is_refused_and_the_next_is_read() -> None:
    small = reader(memory_mib=200)
    with pytest.raises(TooHardToRead, match=r"more than 200 MiB of memory .*\(split"):
        await small.read(MARKDOWN, b"x" * 100 * 1024 * 1024)
    assert (await small.read(HTML, b"<p>Fine.</p>")).chunks


@pytest.mark.parametrize("filler", [b" ", b"(again and again) Tj ", b"q "])
async def test_a_pdf_that_bursts_is_refused_and_the_next_is_read(filler: bytes) -> None:
    small = reader(memory_mib=256, seconds=20.0)
    with pytest.raises(DocumentRefused) as refusal:
        await small.read(PDF, bomb(filler * (120_000_000 // len(filler))))
    assert refusal.value.problems[0].remedy
    assert (await small.read(HTML, b"<p>Fine.</p>")).chunks
    assert not children()


async def test_cancelling_leaves_no_process_behind() -> None:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(reader().read(HTML, b"<p>a</p>" * 2_000_000))
        await eventually(children)
        task.cancel()
    assert not children()


async def test_a_reader_that_fails_of_itself_is_not_the_documents_fault() -> None:
    with pytest.raises(ReaderCrashed):
        await reader(memory_mib=2**60).read(HTML, b"<p>Fine.</p>")  # a limit that no system knows


async def test_no_more_documents_are_read_at_once_than_allowed() -> None:
    two = reader(processes=2)
    seen: list[int] = []
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(two.read(HTML, b"<p>a</p>" * 1000)) for _ in range(4)]

        def done() -> bool:
            seen.append(len(children()))
            return all(task.done() for task in tasks)

        await eventually(done)
    assert 0 < max(seen) <= 2
