"""How hard a question looks, before anybody is asked: a calibrated guess from its shape, in no particular language."""

import math

from plimsoll_model_router.domain.generation import Question
from plimsoll_model_router.domain.messages import Media, Role
from plimsoll_model_router.domain.tokens import message_tokens

# What tasks of a kind are like; the rest is judged by the question alone.
_BY_TASK = {"classification": 0.15, "extraction": 0.25, "summary": 0.35, "answering": 0.4, "reasoning": 0.75, "planning": 0.75}
_UNKNOWN_TASK = 0.4


def difficulty(question: Question, task: str) -> float:
    """0 to 1. Long questions, many tools, wide schemas and many turns count; none of them alone makes a simple task hard."""
    spoken = [message for message in question.messages if message.role is not Role.SYSTEM]
    tokens = sum(map(message_tokens, spoken))
    turns = sum(message.role is Role.ASSISTANT for message in spoken)
    fields = _fields(question.output_schema)
    shape = (
        0.40 * _saturating(tokens, 4000)
        + 0.20 * _saturating(len(question.tools), 8)
        + 0.15 * _saturating(fields, 16)
        + 0.15 * _saturating(turns, 8)
        + 0.10 * any(isinstance(part, Media) for message in spoken for part in message.parts)
    )
    prior = _BY_TASK.get(task, _UNKNOWN_TASK)
    return min(1.0, prior + (1.0 - prior) * shape)


def _saturating(amount: float, half_at: float) -> float:
    """0 for nothing, one half at `half_at`, near 1 for a lot."""
    return 1.0 - math.pow(2.0, -amount / half_at)


def _fields(schema: object) -> int:
    """How many properties a schema has, at every depth."""
    match schema:
        case dict():
            own = schema.get("properties")
            return (len(own) if isinstance(own, dict) else 0) + sum(_fields(value) for value in schema.values())
        case list():
            return sum(map(_fields, schema))
        case _:
            return 0
