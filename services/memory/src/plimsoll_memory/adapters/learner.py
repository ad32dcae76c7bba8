"""Learning an embedder in a process of its own: it takes seconds of a processor and, for a while, tens of megabytes."""

import asyncio
import struct
from array import array
from collections.abc import Iterator
from itertools import accumulate

from plimsoll_runtime import logs
from plimsoll_runtime.errors import Internal

from plimsoll_memory.adapters.apart import Apart
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
        try:
            async with asyncio.timeout(_CAP_S):
                said = await Apart(_CHILD, environment=_ENVIRONMENT).ask(_packed(corpus))
        except TimeoutError as error:
            raise LearnerCrashed from error
        if said.code or len(said.answer) != len(corpus.lexemes) * LATENT_DIMENSIONS * _BYTES:
            last = said.complaint.strip().rpartition(b"\n")[2][:200].decode(errors="replace")
            self._log.error("learner.crashed", {"code": said.code, "error": last})
            raise LearnerCrashed
        return Projections(lexemes=corpus.lexemes, rows=said.answer)


def _packed(corpus: Corpus) -> Iterator[bytes]:
    """Piece by piece, so that the sample is not in memory twice."""
    number = array("i").itemsize
    yield struct.pack("<2i", len(corpus.rarities), len(corpus.passages))
    yield array("f", corpus.rarities).tobytes()
    yield array("i", accumulate(len(passage) // number for passage in corpus.passages)).tobytes()
    yield from corpus.passages
