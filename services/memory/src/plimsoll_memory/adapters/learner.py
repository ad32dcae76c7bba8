"""Learning an embedder in a process of its own: it takes seconds of a processor and, for a while, tens of megabytes."""

import asyncio
import struct
import sys
from array import array
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import accumulate
from subprocess import PIPE, Popen

from plimsoll_runtime import logs
from plimsoll_runtime.errors import Internal

from plimsoll_memory.domain.embedding import LATENT_DIMENSIONS, Corpus, Projections

_CHILD = "plimsoll_memory.adapters.learner_child"
_CAP_S = 600.0
_BYTES = 2  # of a number
_ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}  # one core: the others are for searches


class LearnerCrashed(Internal):
    """The child process that learned an embedder failed."""

    reason = "LEARNER_CRASHED"


class ProcessLearner:
    """A Learner."""

    def __init__(self, log: logs.Log) -> None:
        self._log = log

    async def learn(self, corpus: Corpus) -> Projections:
        """Raises LearnerCrashed."""
        # From a thread and not by the event loop: Popen uses vfork, while uvloop forks, which gRPC's own fork hooks do not survive.
        command = [sys.executable, "-I", "-m", _CHILD]
        child = await asyncio.to_thread(Popen, command, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=_ENVIRONMENT)
        try:
            async with asyncio.timeout(_CAP_S):
                rows, complaint = await asyncio.to_thread(_converse, child, _packed(corpus))
        except TimeoutError as error:
            raise LearnerCrashed from error
        finally:
            if child.poll() is None:
                child.kill()
                await asyncio.to_thread(child.wait)
        if child.returncode or len(rows) != len(corpus.lexemes) * LATENT_DIMENSIONS * _BYTES:
            said = complaint.strip().rpartition(b"\n")[2][:200].decode(errors="replace")
            self._log.error("learner.crashed", {"code": child.returncode, "error": said})
            raise LearnerCrashed
        return Projections(lexemes=corpus.lexemes, rows=rows)


def _converse(child: "Popen[bytes]", pieces: Iterable[bytes]) -> tuple[bytes, bytes]:
    """Say it piece by piece, so that the sample is not in memory twice; then hear the answer."""
    assert child.stdin is not None
    with suppress(BrokenPipeError):  # it ended in the middle: its complaint says why
        child.stdin.writelines(pieces)
    return child.communicate()


def _packed(corpus: Corpus) -> Iterator[bytes]:
    number = array("i").itemsize
    yield struct.pack("<2i", len(corpus.rarities), len(corpus.passages))
    yield array("f", corpus.rarities).tobytes()
    yield array("i", accumulate(len(passage) // number for passage in corpus.passages)).tobytes()
    yield from corpus.passages
