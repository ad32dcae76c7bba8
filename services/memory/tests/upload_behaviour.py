"""What every store of uploads promises: run against the fake and against Postgres."""

import pytest
from memory_samples import ACME, NOON, UMBRELLA
from plimsoll_memory.domain.upload import Begun, Mark, UploadKey
from plimsoll_memory.errors import UploadSuperseded
from plimsoll_memory.ports import UploadStore

FIRST = UploadKey(collection="help", source="a.txt", key="first")
OTHER = UploadKey(collection="help", source="a.txt", key="other")
MARK = Mark(stored=10, parts=1, chunks=3, changed=1, head=b"id,name\n")


class UploadStoreBehaviour:
    """Subclasses give the fixture `uploads`."""

    async def test_what_is_begun_goes_on_where_it_was(self, uploads: UploadStore) -> None:
        assert await uploads.begin_upload(ACME, FIRST, NOON) == Begun()
        await uploads.keep_upload(ACME, FIRST, MARK, b"rest", NOON)
        assert await uploads.begin_upload(ACME, FIRST, NOON) == Begun(mark=MARK, held=4)
        assert await uploads.begin_upload(UMBRELLA, FIRST, NOON) == Begun()
        assert await uploads.begin_upload(ACME, FIRST, NOON, anew=True) == Begun()

    async def test_what_waits_is_kept_without_gaps_and_once(self, uploads: UploadStore) -> None:
        await uploads.begin_upload(ACME, FIRST, NOON)
        for at, piece in ((0, b"abc"), (3, b"de"), (3, b"xx"), (9, b"far")):
            await uploads.hold(ACME, FIRST, at, piece)
        assert await uploads.held(ACME, FIRST, Mark()) == b"abcde"
        assert (await uploads.begin_upload(ACME, FIRST, NOON)).held == 5
        await uploads.keep_upload(ACME, FIRST, Mark(stored=4, parts=1), b"e", NOON)
        assert await uploads.held(ACME, FIRST, Mark(stored=4)) == b"e"
        assert await uploads.held(UMBRELLA, FIRST, Mark()) == b""

    async def test_another_upload_of_the_source_takes_its_place(self, uploads: UploadStore) -> None:
        await uploads.begin_upload(ACME, FIRST, NOON)
        await uploads.hold(ACME, FIRST, 0, b"old")
        assert await uploads.begin_upload(ACME, OTHER, NOON) == Begun()
        for doing in (
            uploads.hold(ACME, FIRST, 3, b"x"),
            uploads.keep_upload(ACME, FIRST, MARK, b"", NOON),
            uploads.finish_upload(ACME, FIRST, 1, NOON),
        ):
            with pytest.raises(UploadSuperseded):
                await doing
        assert await uploads.begin_upload(ACME, OTHER, NOON) == Begun()

    async def test_the_end_is_remembered_until_it_begins_anew(self, uploads: UploadStore) -> None:
        await uploads.begin_upload(ACME, FIRST, NOON)
        await uploads.hold(ACME, FIRST, 0, b"some")
        await uploads.keep_upload(ACME, FIRST, MARK, b"", NOON)
        await uploads.finish_upload(ACME, FIRST, 1, NOON)
        assert await uploads.begin_upload(ACME, FIRST, NOON) == Begun(mark=MARK, done=True)
        assert await uploads.begin_upload(ACME, FIRST, NOON, anew=True) == Begun()
