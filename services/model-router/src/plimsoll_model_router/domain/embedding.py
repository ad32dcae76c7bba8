"""Making vectors of texts: what is asked, and what comes of it."""

from dataclasses import dataclass, field

from plimsoll_runtime.errors import FieldProblem
from plimsoll_runtime.usage import Usage
from plimsoll_runtime.work import WorkContext

from plimsoll_model_router.domain.generation import Attempt
from plimsoll_model_router.errors import InvalidGeneration

TASK = "embedding"  # the route of questions for vectors
_TEXTS_CAP = 2048
_DIMENSIONS_CAP = 16_384


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingWish:
    """What a caller asks. `model` empty: the route of the task decides."""

    texts: tuple[str, ...]
    model: str = ""
    dimensions: int = 0
    work: WorkContext = field(default_factory=WorkContext)


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded:
    """One vector for each text, in order."""

    vectors: tuple[tuple[float, ...], ...]
    provider: str
    model: str
    rehearsal: bool
    usage: Usage
    attempts: tuple[Attempt, ...]


def checked(wish: EmbeddingWish) -> EmbeddingWish:
    """The wish, when it can be asked. Raises InvalidGeneration."""
    problems = []
    if not 1 <= len(wish.texts) <= _TEXTS_CAP:
        problems.append(FieldProblem("texts", f"has {len(wish.texts)} entries", f"send 1 to {_TEXTS_CAP}"))
    problems += [FieldProblem(f"texts[{at}]", "is empty", "leave it out") for at, text in enumerate(wish.texts) if not text.strip()][:10]
    if not 0 <= wish.dimensions <= _DIMENSIONS_CAP:
        problems.append(FieldProblem("dimensions", f"is {wish.dimensions}", f"use 1 to {_DIMENSIONS_CAP}, or 0 for the model's own"))
    if problems:
        raise InvalidGeneration(problems=problems)
    return wish
