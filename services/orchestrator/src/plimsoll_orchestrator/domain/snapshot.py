"""Snapshots: a run in stored form, and when it is time for one."""

import msgspec

from plimsoll_orchestrator.domain.run import Run
from plimsoll_orchestrator.errors import JournalBroken

_LEAST_BYTES = 64 * 1024

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Run] = msgspec.json.Decoder(Run)


def encode_run(run: Run) -> str:
    return _encoder.encode(run).decode()


def decode_run(text: str) -> Run:
    """Raises JournalBroken when the text is no run."""
    try:
        return _decoder.decode(text)
    except msgspec.DecodeError as error:
        raise JournalBroken(f"a snapshot cannot be read: {error}") from error


def is_due(written: int, last: int) -> bool:
    """Whether `written` bytes of journal since a snapshot of `last` bytes call for another.

    A snapshot as large as what was written since the last one at the most: together they never cost more than the journal does,
    so that what is stored stays linear, and a claim never reads more than about twice a run's size.
    """
    return written >= max(_LEAST_BYTES, last)
