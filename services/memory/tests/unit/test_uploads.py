"""Uploads on fakes: pieces in, progress out; what fails is named and the rest goes on; what is stored is not sent again."""

from collections.abc import AsyncIterator, Sequence

import pytest
from memory_fakes import Desk
from memory_samples import ACME
from plimsoll_memory.domain.paging import PageRequest
from plimsoll_memory.domain.upload import UploadKey
from plimsoll_memory.errors import DocumentTooLarge, EmptyDocument, RequestRefused
from plimsoll_memory.service.uploads import Begin, Call, End, Failed, Header, Piece, Progress, Sent, Taken, Told
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
    assert desk.uploads.done == {(ACME, UploadKey(collection="help", source="a.txt", key="v1"))}
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


async def called(desk: Desk, content: bytes, size: int, one: Header, *, lose: frozenset[int] = frozenset()) -> list[Taken]:
    """Send call by call, as the answers say; answers of the calls in `lose` do not arrive, and the call is made again."""
    taken, offset, uploads = (
        [await desk.verbs().uploads.take(ACME, Call(header=one, offset=0, content=b"", last=False))],
        0,
        desk.verbs().uploads,
    )
    offset = taken[0].offset
    number = 0
    while not taken[-1].done:
        piece = content[offset : offset + size]
        call = Call(header=one, offset=offset, content=piece, last=offset + len(piece) == len(content))
        taken.append(await uploads.take(ACME, call))
        number += 1
        if number in lose:
            taken.append(await uploads.take(ACME, call))
        offset = taken[-1].offset
    return taken


@pytest.mark.parametrize("size", [300, 1_999, 3_000, 100_000])
@pytest.mark.parametrize("lose", [frozenset[int](), frozenset({1, 3})])
async def test_call_by_call_gives_the_same_documents_as_a_stream(desk: Desk, size: int, lose: frozenset[int]) -> None:
    last = (await called(desk, LONG, size, header(key="v1"), lose=lose))[-1]
    streamed = Desk(clock=desk.clock, ids=desk.ids)
    await told(streamed, [header(), Piece(LONG), End()])
    page = PageRequest(after="", size=100)
    here = [(one.source, one.digest) for one in await desk.library.list_documents(ACME, "help", page)]
    assert here == [(one.source, one.digest) for one in await streamed.library.list_documents(ACME, "help", page)]
    assert (last.offset, last.mark.stored, last.mark.parts) == (len(LONG), len(LONG), len(here))


async def test_whoever_calls_again_goes_on_where_the_last_call_ended(desk: Desk) -> None:
    uploads = desk.verbs().uploads
    await uploads.take(ACME, Call(header=header(key="v1"), offset=0, content=LONG[:900], last=False))
    await uploads.take(ACME, Call(header=header(key="v1"), offset=900, content=LONG[900:3900], last=False))
    asked = await uploads.take(ACME, Call(header=header(key="v1"), offset=0, content=b"", last=False))
    assert (asked.offset, asked.mark.parts) == (3900, 1)
    assert 0 < asked.mark.stored < 3900


async def test_content_behind_a_gap_is_not_taken(desk: Desk) -> None:
    taken = await desk.verbs().uploads.take(ACME, Call(header=header(key="v1"), offset=10, content=b"x", last=True))
    assert (taken.offset, taken.done) == (0, False)


async def test_what_cannot_be_cut_waits_until_it_is_whole(desk: Desk) -> None:
    page = b"<title>Cranes</title>" + b"<p>The harbour has three cranes.</p>" * 90
    taken = await called(desk, page, 500, header("a.html", media_type="text/html", key="v1"))
    assert [one.mark.parts for one in taken[:-1]] == [0] * (len(taken) - 1)
    assert (taken[-1].mark.parts, taken[-1].mark.stored) == (1, len(page))


async def test_the_end_that_was_not_heard_of_is_told_again_and_not_done_again(desk: Desk) -> None:
    last = Call(header=header(key="v1"), offset=0, content=b"Some text.", last=True)
    assert (await desk.verbs().uploads.take(ACME, last)).done
    assert (await desk.verbs().uploads.take(ACME, last)).done
    assert desk.uploads.finished == [("a.txt", 1)]


async def test_a_finished_upload_that_comes_anew_is_taken_from_the_beginning(desk: Desk) -> None:
    await called(desk, LONG, 3000, header(key="v1"))
    taken = await called(desk, LONG, 3000, header(key="v1"))
    assert (taken[0].offset, taken[-1].mark.changed) == (0, 0)


async def test_calls_without_a_key_or_with_refused_content_say_what_to_do(desk: Desk) -> None:
    with pytest.raises(RequestRefused) as refused:
        await desk.verbs().uploads.take(ACME, Call(header=header(), offset=0, content=b"x", last=True))
    assert refused.value.problems[0].field == "upload_key"
    with pytest.raises(EmptyDocument):
        await desk.verbs().uploads.take(ACME, Call(header=header(key="v1"), offset=0, content=b"", last=True))
    large = Call(header=header("a.html", media_type="text/html", key="v1"), offset=0, content=b"x" * 4001, last=False)
    with pytest.raises(DocumentTooLarge):
        await desk.verbs().uploads.take(ACME, large)


@pytest.mark.parametrize("key", ["x" * 201, "a\x00b", "two\nlines"])
async def test_a_key_that_is_no_key_is_refused_and_the_rest_goes_on(desk: Desk, key: str) -> None:
    with pytest.raises(RequestRefused) as refused:
        await desk.verbs().uploads.take(ACME, Call(header=header(key=key), offset=0, content=b"x", last=True))
    assert refused.value.problems[0].field == "upload_key"
    found = await told(desk, [header(key=key), Piece(b"x"), End(), header("good.txt"), Piece(b"Good."), End()])
    assert [type(one) for one in found] == [Failed, Begin, Progress]


async def test_an_upload_that_another_one_superseded_stores_nothing_more(desk: Desk) -> None:
    async def sent() -> AsyncIterator[Sent]:
        yield header()
        yield Piece(LONG[:3000])
        await told(desk, [header(), Piece(b"The newer text."), End()])
        yield Piece(LONG[3000:])
        yield End()

    *_, last = [one async for one in desk.verbs().uploads.ingest(ACME, sent())]
    assert isinstance(last, Failed)
    assert last.failure.reason == "UPLOAD_SUPERSEDED"


async def test_content_without_a_header_is_refused(desk: Desk) -> None:
    with pytest.raises(RequestRefused):
        await told(desk, [Piece(b"x")])
