"""Uploads on fakes: pieces in, progress out; what fails is named and the rest goes on; what is stored is not sent again."""

from collections.abc import AsyncIterator, Sequence

import pytest
from memory_fakes import Desk
from memory_samples import ACME
from plimsoll_memory.domain.upload import UploadKey
from plimsoll_memory.errors import RequestRefused
from plimsoll_memory.service.uploads import Begin, End, Failed, Header, Piece, Progress, Sent, Told
from plimsoll_testkit.clock import FakeClock
from plimsoll_testkit.ids import FakeIds

LONG = "\n\n".join(f"Paragraph {number} about the harbour and its cranes." for number in range(200)).encode()


@pytest.fixture
def desk(clock: FakeClock, ids: FakeIds) -> Desk:
    return Desk(clock=clock, ids=ids)


def header(source: str = "a.txt", *, media_type: str = "text/plain", key: str = "", collection: str = "help") -> Header:
    return Header(collection=collection, source=source, media_type=media_type, metadata={"team": "port"}, labels=("private",), key=key)


async def told(desk: Desk, sent: Sequence[Sent]) -> list[Told]:
    async def stream() -> AsyncIterator[Sent]:
        for one in sent:
            yield one

    return [one async for one in desk.verbs().uploads.ingest(ACME, stream())]


async def test_documents_come_one_after_the_other(desk: Desk) -> None:
    found = await told(desk, [header(), Piece(b"Some "), Piece(b"text."), End(), header("b.txt"), Piece(b"More."), End()])
    assert [type(one) for one in found] == [Begin, Progress, Begin, Progress]
    assert [(one.source, one.mark.stored, one.mark.parts, one.mark.changed, one.done) for one in found if isinstance(one, Progress)] == [
        ("a.txt", 10, 1, 1, True),
        ("b.txt", 5, 1, 1, True),
    ]
    document = await desk.library.find_document(ACME, "help", "a.txt")
    assert document is not None
    assert (document.metadata, document.labels) == ({"team": "port"}, ("private", "untrusted"))


async def test_the_same_again_changes_nothing(desk: Desk) -> None:
    sent = [header(), Piece(b"Some text."), End()]
    await told(desk, sent)
    last = (await told(desk, sent))[-1]
    assert isinstance(last, Progress)
    assert (last.mark.changed, desk.reader.reads) == (0, 1)


async def test_what_fails_is_named_and_the_rest_goes_on(desk: Desk) -> None:
    sent = [
        header("empty.txt"), End(),
        header("broken.txt"), Piece(b"\xff\x00\x00"), Piece(b"more"), End(),
        header("wrong.png", media_type="image/png"), Piece(b"x"), End(),
        header("large.html", media_type="text/html"), Piece(b"x" * 5000), Piece(b"x"), End(),
        header("good.txt"), Piece(b"Good."), End(),
    ]  # fmt: skip
    found = await told(desk, sent)
    failures = {one.source: one.failure.reason for one in found if isinstance(one, Failed)}
    assert failures == {
        "empty.txt": "EMPTY_DOCUMENT", "broken.txt": "BINARY_CONTENT", "wrong.png": "UNKNOWN_MEDIA_TYPE", "large.html": "DOCUMENT_TOO_LARGE"
    }  # fmt: skip
    messages = [one.failure.message for one in found if isinstance(one, Failed)]
    assert all(": " in message for message in messages), "problem and remedy"
    assert isinstance(found[-1], Progress)
    assert found[-1].source == "good.txt"
    documents = await desk.memory().library.find_collection(ACME, "help")
    assert documents is not None
    assert documents.documents == 1


async def test_a_long_text_is_stored_in_parts_with_progress(desk: Desk) -> None:
    found = await told(desk, [header(), *(Piece(LONG[at : at + 700]) for at in range(0, len(LONG), 700)), End()])
    progress = [one for one in found if isinstance(one, Progress)]
    assert len(progress) > 3
    offsets = [one.mark.stored for one in progress]
    assert offsets == sorted(offsets)
    assert (offsets[-1], progress[-1].done) == (len(LONG), True)
    second = await desk.library.find_document(ACME, "help", "a.txt#2")
    assert second is not None
    assert second.metadata == {"team": "port", "part": 2, "part_of": "a.txt"}
    assert desk.uploads.finished == [("a.txt", progress[-1].mark.parts)]


async def test_an_upload_that_was_cut_off_goes_on_where_it_ended(desk: Desk) -> None:
    await told(desk, [header(key="v1"), Piece(LONG[:5000])])
    stored = desk.uploads.marks[ACME, UploadKey(collection="help", source="a.txt", key="v1")].stored
    assert 0 < stored < 5000
    reads = desk.reader.reads
    begin, *rest = await told(desk, [header(key="v1"), Piece(LONG[stored:]), End()])
    assert begin == Begin(source="a.txt", offset=stored)
    last = rest[-1]
    assert isinstance(last, Progress)
    assert (last.mark.stored, last.done) == (len(LONG), True)
    assert desk.reader.reads == reads + len([one for one in rest if isinstance(one, Progress)])
    assert not desk.uploads.marks
    whole = Desk(clock=desk.clock, ids=desk.ids)
    await told(whole, [header(), Piece(LONG), End()])
    here, there = await desk.library.find_collection(ACME, "help"), await whole.library.find_collection(ACME, "help")
    assert here is not None
    assert there is not None
    assert (here.documents, here.chunks) == (there.documents, there.chunks)


async def test_other_bytes_under_the_same_source_begin_anew(desk: Desk) -> None:
    await told(desk, [header(key="v1"), Piece(LONG[:5000])])
    begin, *_ = await told(desk, [header(key="v2"), Piece(b"Short."), End()])
    assert begin == Begin(source="a.txt", offset=0)


async def test_content_without_a_header_is_refused(desk: Desk) -> None:
    with pytest.raises(RequestRefused):
        await told(desk, [Piece(b"x")])
