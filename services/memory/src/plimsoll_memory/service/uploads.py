"""Uploads: many documents, of any size each, in pieces; what fails is named and the rest goes on."""

from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field
from typing import TypeAlias

from plimsoll_runtime.clock import Clock
from plimsoll_runtime.errors import ErrorKind, FieldProblem, PlimsollError
from plimsoll_runtime.failures import Category, Failure, failure_from_error
from plimsoll_runtime.ids import Ids
from plimsoll_runtime.json_types import JsonObject

from plimsoll_memory.domain.document import accept
from plimsoll_memory.domain.media import parse_media_type
from plimsoll_memory.domain.parts import PART_BYTES, Cutter, Part
from plimsoll_memory.domain.upload import Mark, UploadKey
from plimsoll_memory.errors import RequestRefused
from plimsoll_memory.ports import UploadStore
from plimsoll_memory.service.memory import Memory

_KEY_LENGTH = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """A document that is about to come. `key` names its bytes; without one the upload begins anew each time."""

    collection: str
    source: str
    media_type: str
    metadata: JsonObject
    labels: tuple[str, ...]
    key: str


@dataclass(frozen=True, slots=True)
class Piece:
    """Some of the document's content."""

    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class End:
    """The document is whole."""


Sent: TypeAlias = Header | Piece | End


@dataclass(frozen=True, slots=True, kw_only=True)
class Begin:
    """Where the content of a document begins: what is before was stored by an earlier upload."""

    source: str
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How much of a document is stored for good; `done` when that is all."""

    source: str
    mark: Mark
    done: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A document that was refused or could not be stored."""

    source: str
    failure: Failure


Told: TypeAlias = Begin | Progress | Failed


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """The next bytes of a document, from an offset; `last` says that it ends behind them."""

    header: Header
    offset: int
    content: bytes = field(repr=False)
    last: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """Where the next content must begin, and how much is stored for good."""

    offset: int
    mark: Mark
    done: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Uploads:
    """Takes documents in pieces, as streams or call by call; who sends faster than they are stored waits."""

    memory: Memory
    store: UploadStore
    limit_bytes: int
    clock: Clock
    ids: Ids

    async def ingest(self, tenant: str, sent: AsyncIterator[Sent]) -> AsyncGenerator[Told, None]:
        """Store what comes, one document at a time. Raises RequestRefused for content before any header."""
        upload: _Upload | None = None
        failed = False
        source = ""
        async for message in sent:
            try:
                match message:
                    case Header():
                        source, failed = message.source, False
                        upload = None
                        upload = await self._begin(tenant, message)
                        yield Begin(source=source, offset=upload.mark.stored)
                    case Piece(content) if upload:
                        for part in upload.cutter.take(content):
                            mark = await self._store(tenant, upload, part)
                            await self.store.keep_upload(tenant, upload.key, mark, b"", self.clock.now())
                            yield Progress(source=source, mark=mark, done=False)
                    case End() if upload:
                        yield Progress(source=source, mark=await self._finish(tenant, upload), done=True)
                        upload = None
                    case _ if not failed:
                        raise RequestRefused("content came before a header", remedy="send the header of a document first")
            except PlimsollError as error:
                if not source:
                    raise
                failed, upload = True, None
                yield Failed(source=source, failure=_failure(error, source))

    async def take(self, tenant: str, call: Call) -> Taken:
        """Take the next bytes; those that were taken before are passed over, those behind a gap are left for the caller to send again.

        Raises RequestRefused, DocumentRefused or UploadSuperseded.
        """
        if not call.header.key:
            raise RequestRefused(problems=[FieldProblem("upload_key", "is missing", "name the bytes, for example by their digest")])
        _check(call.header, self.limit_bytes)
        key, end = _key(call.header, call.header.key), call.offset + len(call.content)
        begun = await self.store.begin_upload(tenant, key, self.clock.now())
        if begun.done and call.last and end == begun.mark.stored:  # whoever calls did not hear of it
            return Taken(offset=end, mark=begun.mark, done=True)
        if begun.done:
            begun = await self.store.begin_upload(tenant, key, self.clock.now(), anew=True)
        if not call.offset <= begun.expected <= end or (begun.expected == end and not call.last):
            return Taken(offset=begun.expected, mark=begun.mark)
        content = call.content[begun.expected - call.offset :]
        upload = self._upload(call.header, key, begun.mark)
        if not call.last and begun.held + len(content) <= upload.cutter.size:
            await self.store.hold(tenant, key, begun.expected, content)
            return Taken(offset=end, mark=begun.mark)
        before = await self.store.held(tenant, key, begun.mark) if begun.held else b""
        for part in upload.cutter.take(before + content):
            mark = await self._store(tenant, upload, part)
            await self.store.keep_upload(tenant, key, mark, upload.cutter.waiting, self.clock.now())
        if call.last:
            return Taken(offset=end, mark=await self._finish(tenant, upload), done=True)
        if upload.mark == begun.mark:  # it cannot be cut
            await self.store.hold(tenant, key, begun.expected, content)
        return Taken(offset=end, mark=upload.mark)

    async def _begin(self, tenant: str, header: Header) -> "_Upload":
        """From where it ended, or anew when it came to its end before. What waits from calls comes again."""
        _check(header, self.limit_bytes)
        key = _key(header, header.key or self.ids.new("upload"))
        begun = await self.store.begin_upload(tenant, key, self.clock.now())
        if begun.done:
            begun = await self.store.begin_upload(tenant, key, self.clock.now(), anew=True)
        return self._upload(header, key, begun.mark)

    def _upload(self, header: Header, key: UploadKey, mark: Mark) -> "_Upload":
        cutter = Cutter(
            format=parse_media_type(header.media_type),
            limit=self.limit_bytes,
            size=min(PART_BYTES, self.limit_bytes // 2),
            begun=mark.stored,
            head=mark.head,
        )
        return _Upload(header=header, key=key, cutter=cutter, mark=mark)

    async def _store(self, tenant: str, upload: "_Upload", part: Part) -> Mark:
        """Store a part as a document; killed before its mark is kept, it is found stored when it comes again."""
        header, number = upload.header, upload.mark.parts + 1
        metadata: JsonObject = {**header.metadata, "part": number, "part_of": header.source} if number > 1 else header.metadata
        incoming = accept(
            collection=header.collection,
            source=header.source if number == 1 else f"{header.source}#{number}",
            media_type=header.media_type,
            content=part.content,
            metadata=metadata,
            labels=header.labels,
            limit_bytes=self.limit_bytes,
        )
        stored = await self.memory.ingest(tenant, incoming, upload.key)
        upload.mark = Mark(
            stored=part.ends,
            parts=number,
            chunks=upload.mark.chunks + stored.document.chunks,
            changed=upload.mark.changed + stored.changed,
            head=upload.cutter.head,
        )
        return upload.mark

    async def _finish(self, tenant: str, upload: "_Upload") -> Mark:
        """Store what is left, and forget parts that an earlier, longer content of the source had."""
        last = upload.cutter.end()
        mark = await self._store(tenant, upload, last) if last else upload.mark
        await self.store.keep_upload(tenant, upload.key, mark, b"", self.clock.now())
        await self.store.finish_upload(tenant, upload.key, mark.parts, self.clock.now())
        return mark


@dataclass(slots=True, kw_only=True)
class _Upload:
    header: Header
    key: UploadKey
    cutter: Cutter
    mark: Mark


def _failure(error: PlimsollError, source: str) -> Failure:
    """With what was wrong and what to do, where there is something to do."""
    told = "; ".join(f"{one.field} {one.problem}: {one.remedy}" for one in error.problems) or error.message
    if error.kind is ErrorKind.INVALID:
        return Failure(category=Category.INVALID_ARGUMENTS, reason=error.reason, message=told, where=source)
    return failure_from_error(error, source)


def _key(header: Header, key: str) -> UploadKey:
    return UploadKey(collection=header.collection, source=header.source, key=key)


def _check(header: Header, limit_bytes: int) -> None:
    """Its fields, before any content is taken."""
    if len(header.key) > _KEY_LENGTH or not header.key.isprintable():
        raise RequestRefused(
            problems=[
                FieldProblem("upload_key", "is too long or holds control characters", f"use up to {_KEY_LENGTH} printable characters")
            ]
        )
    accept(
        collection=header.collection,
        source=header.source,
        media_type=header.media_type,
        content=b" ",
        metadata=header.metadata,
        labels=header.labels,
        limit_bytes=limit_bytes,
    )
