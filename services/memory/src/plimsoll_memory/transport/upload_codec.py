"""Between the wire and the domain: uploads."""

from collections.abc import AsyncIterator

from plimsoll.memory.v1 import memory_service_pb2 as pb
from plimsoll_runtime.errors import FieldProblem
from plimsoll_runtime.failures import failure_to_proto
from plimsoll_runtime.wire import object_from_proto

from plimsoll_memory.domain.upload import Mark
from plimsoll_memory.errors import RequestRefused
from plimsoll_memory.service.uploads import Begin, Call, End, Failed, Header, Piece, Progress, Sent, Taken, Told

_PIECE_BYTES = 1024 * 1024
_CALL_BYTES = 8 * 1024 * 1024


async def sent_from_proto(requests: AsyncIterator[pb.IngestDocumentsRequest]) -> AsyncIterator[Sent]:
    """Raises RequestRefused for a piece that is too large or a part that is unknown, Invalid for metadata that is no JSON object."""
    async for request in requests:
        match request.WhichOneof("part"):
            case "header":
                yield _header(request.header)
            case "content":
                yield Piece(_fitting(request.content, _PIECE_BYTES))
            case "end":
                yield End()
            case _:
                raise RequestRefused(problems=[FieldProblem("part", "is missing", "send a header, content or the end")])


def told_to_proto(told: Told) -> pb.IngestDocumentsResponse:
    match told:
        case Begin():
            return pb.IngestDocumentsResponse(source=told.source, begin=pb.IngestOffset(offset=told.offset))
        case Progress(done=True):
            return pb.IngestDocumentsResponse(source=told.source, stored=_progress(told.mark))
        case Progress():
            return pb.IngestDocumentsResponse(source=told.source, progress=_progress(told.mark))
        case Failed():
            return pb.IngestDocumentsResponse(source=told.source, failure=failure_to_proto(told.failure))


def call_from_proto(request: pb.UploadPartRequest) -> Call:
    """Raises RequestRefused for content that is too large or an offset that is none, Invalid for metadata that is no JSON object."""
    if request.offset < 0:
        raise RequestRefused(problems=[FieldProblem("offset", f"is {request.offset}", "begin at 0, and go on where the answer says")])
    return Call(header=_header(request.header), offset=request.offset, content=_fitting(request.content, _CALL_BYTES), last=request.last)


def taken_to_proto(taken: Taken) -> pb.UploadPartResponse:
    return pb.UploadPartResponse(offset=taken.offset, progress=_progress(taken.mark), done=taken.done)


def _fitting(content: bytes, most: int) -> bytes:
    if len(content) > most:
        raise RequestRefused(problems=[FieldProblem("content", f"has {len(content):,} bytes", f"send pieces of up to {most:,}")])
    return content


def _header(message: pb.IngestHeader) -> Header:
    return Header(
        collection=message.collection,
        source=message.source,
        media_type=message.media_type,
        metadata=object_from_proto(message.metadata, "metadata"),
        labels=tuple(message.labels),
        key=message.upload_key,
    )


def _progress(mark: Mark) -> pb.IngestProgress:
    return pb.IngestProgress(offset=mark.stored, documents=mark.parts, chunks=mark.chunks, changed=mark.changed)
