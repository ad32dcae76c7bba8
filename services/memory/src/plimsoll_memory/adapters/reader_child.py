"""The child process that reads one document: what is asked in its argument, the bytes on standard input, the passages on standard output.

python -m plimsoll_memory.adapters.reader_child ORDER
"""

import resource
import sys
from contextlib import suppress

import orjson

from plimsoll_memory.adapters.pdf import parse_pdf
from plimsoll_memory.adapters.reader_protocol import Order, reading_to_json, refusal_to_json
from plimsoll_memory.domain.media import MediaType
from plimsoll_memory.domain.reading import Reading, cut, parse
from plimsoll_memory.errors import DocumentRefused, TooHardToRead


def main() -> None:
    """Read, and answer with passages or with the refusal."""
    order = Order.from_json(sys.argv[1])
    _limit(order)
    try:
        answer = reading_to_json(_read(order, sys.stdin.buffer.read()))
    except DocumentRefused as refusal:
        answer = refusal_to_json(refusal)
    except (MemoryError, RecursionError):
        problem = f"needs more than {order.memory_mib:,} MiB of memory to be read"
        answer = refusal_to_json(TooHardToRead(problem, "split it into several documents"))
    sys.stdout.buffer.write(orjson.dumps(answer))


def _read(order: Order, content: bytes) -> Reading:
    if order.format.media_type is MediaType.PDF:
        parsed = parse_pdf(content, most_pages=order.most_pages)
    else:
        parsed = parse(order.format, content, most=order.most_passages)
    return cut(parsed, order.plan, most=order.most_passages)


def _limit(order: Order) -> None:
    """Bound what a hostile document can take: memory, processor time, and no files at all. Not every system knows every limit."""
    memory = order.memory_mib * 1024 * 1024
    seconds = int(order.seconds) + 1
    for name, most in ((resource.RLIMIT_AS, memory), (resource.RLIMIT_CPU, seconds), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0)):
        with suppress(ValueError, OSError):
            resource.setrlimit(name, (most, most))


if __name__ == "__main__":
    main()
