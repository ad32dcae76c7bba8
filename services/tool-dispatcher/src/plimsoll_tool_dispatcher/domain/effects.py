"""The effect table: what may happen to a call after a mishap, by what its tool does to the world."""

from enum import StrEnum


class EffectClass(StrEnum):
    """What a tool does to the world."""

    READ_ONLY = "read_only"
    IDEMPOTENT = "idempotent"
    KEYED = "keyed"  # safe when repeated with the same call key
    NON_IDEMPOTENT = "non_idempotent"


class Mishap(StrEnum):
    """What stopped an attempt short of a definite answer."""

    REFUSED = "refused"  # before it was sent: a limit, a full bulkhead, no worker to send it to
    NOT_ACTED = "not_acted"  # the upstream reported a passing error and says that it did nothing
    LOST = "lost"  # time ran out, the connection broke or the process died after it was sent
    KILLED = "killed"  # the dispatcher itself died while the call was in flight


class Move(StrEnum):
    """What may be done about it."""

    REPEAT = "repeat"  # run it again, always under the same call key
    UNKNOWN = "unknown"  # it may have acted and nobody knows: never repeated by itself


def move_after(mishap: Mishap, effect: EffectClass) -> Move:
    """The promise of the effect table, cell by cell."""
    match mishap:
        case Mishap.REFUSED | Mishap.NOT_ACTED:
            return Move.REPEAT
        case Mishap.LOST | Mishap.KILLED:
            return Move.UNKNOWN if effect is EffectClass.NON_IDEMPOTENT else Move.REPEAT


def needs_dispatch_mark(effect: EffectClass) -> bool:
    """Whether the ledger must know that a call was about to be sent before it is.

    Only there does it change what may happen after an interruption; for the other classes the mark would be one more commit for nothing.
    """
    return move_after(Mishap.KILLED, effect) is Move.UNKNOWN
