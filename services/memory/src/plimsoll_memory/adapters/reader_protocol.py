"""What the reader and its child process say to each other, as JSON."""

from dataclasses import dataclass
from typing import cast

from plimsoll_runtime.json_types import JsonObject, dump_json, parse_object

from plimsoll_memory.domain.chunking import Chunk, ChunkPlan
from plimsoll_memory.domain.media import Format, MediaType
from plimsoll_memory.domain.reading import Reading
from plimsoll_memory.errors import DocumentRefused

_REFUSALS = {kind.__name__: kind for kind in DocumentRefused.__subclasses__()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to read, and with how much."""

    format: Format
    plan: ChunkPlan
    most_pages: int
    most_passages: int
    memory_mib: int
    seconds: float

    def to_json(self) -> str:
        return dump_json(
            {
                "media_type": self.format.media_type.value,
                "charset": self.format.charset,
                "plan": [self.plan.target, self.plan.limit, self.plan.overlap],
                "limits": [self.most_pages, self.most_passages, self.memory_mib, self.seconds],
            }
        )

    @classmethod
    def from_json(cls, text: str) -> "Order":
        value = parse_object(text)
        target, limit, overlap = cast("list[int]", value["plan"])
        most_pages, most_passages, memory_mib, seconds = cast("list[int]", value["limits"])
        return cls(
            format=Format(media_type=MediaType(str(value["media_type"])), charset=str(value["charset"])),
            plan=ChunkPlan(target=target, limit=limit, overlap=overlap),
            most_pages=most_pages,
            most_passages=most_passages,
            memory_mib=memory_mib,
            seconds=seconds,
        )


def reading_to_json(reading: Reading) -> JsonObject:
    return {
        "title": reading.title,
        "chunks": [[one.text, one.start, one.end, list(one.headings), one.page, one.row] for one in reading.chunks],
    }


def refusal_to_json(refusal: DocumentRefused) -> JsonObject:
    (problem,) = refusal.problems
    return {"refused": type(refusal).__name__, "problem": problem.problem, "remedy": problem.remedy, "field": problem.field}


def answer_from_json(text: bytes) -> Reading:
    """The reading that the child sent. Raises the DocumentRefused that it sent instead."""
    value = parse_object(text)
    if "refused" in value:
        raise _REFUSALS[str(value["refused"])](str(value["problem"]), str(value["remedy"]), field=str(value["field"]))
    rows = cast("list[tuple[str, int, int, list[str], int, int]]", value["chunks"])
    chunks = (
        Chunk(text=text, start=start, end=end, headings=tuple(headings), page=page, row=row)
        for text, start, end, headings, page, row in rows
    )
    return Reading(title=str(value["title"]), chunks=tuple(chunks))
