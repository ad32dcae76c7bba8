"""Memory as a process: killed in mid-ingestion, it goes on where it was, and nothing is lost or doubled."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager
from pathlib import Path

import asyncpg
import pytest
from memory_running import Stub
from memory_samples import ACME
from plimsoll.common.v1 import json_pb2
from plimsoll.memory.v1 import memory_service_pb2 as pb
from plimsoll.memory.v1 import memory_service_pb2_grpc as rpc
from plimsoll_runtime.context import acting_for
from plimsoll_runtime.errors import PlimsollError
from plimsoll_runtime.rpc_client import call, open_channel, stream
from plimsoll_runtime.settings import TlsSettings
from plimsoll_testkit.ports import free_port
from plimsoll_testkit.waiting import eventually

LONG = "\n\n".join(
    f"Paragraph {number} says that crane {number % 97} of harbour {number % 13} lifts {number * 7} tons a day, if the wind allows."
    for number in range(9_500)
).encode()  # two parts of half the limit
RECORDS = b"".join(b'{"id": %d, "name": "crane %d", "note": "%s"}\n' % (one, one, b"stands still " * 100) for one in range(500))
PIECE = 256 * 1024
BROKEN = b"%PDF-1.7 broken"


@pytest.fixture
def settings(postgres_dsn: str, nats_url: str) -> dict[str, str]:
    return {
        "INSECURE": "true",
        "POSTGRES_DSN": postgres_dsn,
        "NATS_URL": nats_url,
        "GRPC_LISTEN": f"127.0.0.1:{free_port()}",
        "READER_LIMIT_MIB": "1",
    }


@contextmanager
def process(settings: Mapping[str, str], log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    environ = {"PATH": os.environ["PATH"], **{f"PLIMSOLL_MEMORY_{name}": value for name, value in settings.items()}}
    with log.open("ab") as output:
        child = subprocess.Popen([sys.executable, "-m", "plimsoll_memory"], env=environ, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield child
    finally:
        child.kill()
        child.wait(10)


@asynccontextmanager
async def served(settings: Mapping[str, str]) -> AsyncIterator[Stub]:
    """A stub, once the process answers."""
    async with open_channel(settings["GRPC_LISTEN"], TlsSettings(), "memory") as channel:
        stub = rpc.MemoryServiceStub(channel)

        async def answers() -> bool:
            try:
                await call(stub.ListCollections, pb.ListCollectionsRequest(), cap_s=2)
            except PlimsollError:
                return False
            return True

        await eventually(answers)
        yield stub


class Sender:
    """Sends documents as a client does: from where the answers say."""

    def __init__(self) -> None:
        self._offsets: asyncio.Queue[int] = asyncio.Queue()
        self.told: list[pb.IngestDocumentsResponse] = []

    async def send(self, stub: Stub, *, until: str = "") -> None:
        """All documents; or until some of one is stored."""
        async with aclosing(stream(stub.IngestDocuments, self._requests(), cap_s=60)) as answers:
            async for answer in answers:
                self.told.append(answer)
                if answer.HasField("begin"):
                    self._offsets.put_nowait(answer.begin.offset)
                if answer.HasField("progress") and answer.source == until:
                    return

    @property
    def begun(self) -> dict[str, int]:
        return {answer.source: answer.begin.offset for answer in self.told if answer.HasField("begin")}

    async def _requests(self) -> AsyncIterator[pb.IngestDocumentsRequest]:
        for source, media_type, content in (
            ("broken.pdf", "application/pdf", BROKEN),
            ("long.txt", "text/plain", LONG),
            ("records.jsonl", "application/jsonl", RECORDS),
        ):
            header = pb.IngestHeader(collection="help", source=source, media_type=media_type, upload_key=source)
            header.metadata.CopyFrom(json_pb2.JsonValue(text="{}"))
            yield pb.IngestDocumentsRequest(header=header)
            offset = await self._offsets.get()
            for at in range(offset, len(content), PIECE):
                yield pb.IngestDocumentsRequest(content=content[at : at + PIECE])
            yield pb.IngestDocumentsRequest(end=pb.IngestEnd())


async def documents(stub: Stub, collection: str = "help") -> list[tuple[str, str, int, int]]:
    request = pb.ListDocumentsRequest(collection=collection, page_size=100)
    answer = await call(stub.ListDocuments, request, cap_s=60)
    return [(one.source, one.digest, one.version, one.chunks) for one in answer.documents]


async def counted(dsn: str) -> tuple[int, int, int, int]:
    """Passages: as the collection counts them, as there are, with how many different places in a document, and with a vector."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute("select set_config('search_path', 'memory', false), set_config('plimsoll.tenant', $1, false)", ACME)
        row = await connection.fetchrow(
            "select (select sum(chunks)::bigint from collections), (select count(*) from chunks), "
            "(select count(distinct (document_id, span_start, position)) from chunks), "
            "(select count(distinct chunk_id) from embeddings)"
        )
    finally:
        await connection.close()
    return tuple(row)


async def test_killed_in_mid_ingestion_it_goes_on_without_loss_and_without_doubles(
    settings: dict[str, str], postgres_dsn: str, tmp_path: Path
) -> None:
    with acting_for(ACME, "ada"):
        cut = {source: Sender() for source in ("long.txt", "records.jsonl")}
        for source, sender in cut.items():
            with process(settings, tmp_path / "log") as child:
                async with served(settings) as stub:
                    await sender.send(stub, until=source)
                    child.kill()
        with process(settings, tmp_path / "log"):
            async with served(settings) as stub:
                last = Sender()
                await last.send(stub)
                found = await documents(stub)
                again = Sender()
                await again.send(stub)
                assert await documents(stub) == found, "the same again changes nothing"
    assert cut["records.jsonl"].begun["long.txt"] > 0, "what was stored is not sent again"
    assert last.begun["records.jsonl"] > 0
    assert [(answer.source, answer.failure.reason) for answer in last.told if answer.HasField("failure")] == [
        ("broken.pdf", "DAMAGED_DOCUMENT")
    ]
    whole = {answer.source: answer.stored for answer in last.told if answer.HasField("stored")}
    assert {source: mark.offset for source, mark in whole.items()} == {"long.txt": len(LONG), "records.jsonl": len(RECORDS)}
    assert [source for source, *_ in found] == ["long.txt", "long.txt#2", "records.jsonl", "records.jsonl#2"]
    assert {version for *_, version, _ in found} == {1}
    kept, there, different, embedded = await counted(postgres_dsn)
    assert kept == there == different == embedded == sum(chunks for *_, chunks in found)
    assert sum(mark.changed for answer in again.told if (mark := answer.stored).offset) == 0
