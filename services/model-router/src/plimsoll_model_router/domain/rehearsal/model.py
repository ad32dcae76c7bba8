"""The rehearsal model itself: one question in, one reply out."""

from dataclasses import dataclass

from plimsoll_runtime.json_types import JsonObject, dump_json
from plimsoll_runtime.usage import Usage

from plimsoll_model_router.domain.generation import Question, Reply
from plimsoll_model_router.domain.messages import Message, Part, Refusal, Role, StopReason, Text, ToolChoice, ToolResult
from plimsoll_model_router.domain.rehearsal import learned
from plimsoll_model_router.domain.rehearsal.classify import Label
from plimsoll_model_router.domain.rehearsal.context import Context, read_context
from plimsoll_model_router.domain.rehearsal.fill import MADE_UP, Filled, Filler
from plimsoll_model_router.domain.rehearsal.fits import Fits
from plimsoll_model_router.domain.rehearsal.quote import Library, Quotation
from plimsoll_model_router.domain.rehearsal.sample import smallest
from plimsoll_model_router.domain.rehearsal.scalars import NOTHING
from plimsoll_model_router.domain.rehearsal.schema import Schema
from plimsoll_model_router.domain.rehearsal.tools import looks_up, next_calls
from plimsoll_model_router.domain.schemas import compiled
from plimsoll_model_router.domain.tokens import count_tokens, parts_tokens, question_tokens

NAME = "rehearsal"
_FOLLOW = 0.6  # an example this much like the request is followed to the letter


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """An answer before it is cut to length."""

    parts: tuple[Part, ...]
    stop_reason: StopReason
    confidence: float


class RehearsalModel:
    """Answers from the question's own context, deterministically. Safe between threads."""

    def __init__(self, fits: Fits) -> None:
        self._fits = fits

    def reply(self, question: Question) -> Reply:
        context = read_context(question.messages)
        draft = self._draft(question, context)
        parts, stop_reason = _cut(draft, question.max_output_tokens)
        usage = Usage(input_tokens=question_tokens(question), output_tokens=parts_tokens(parts))
        message = Message(role=Role.ASSISTANT, parts=parts)
        return Reply(message=message, stop_reason=stop_reason, usage=usage, model=NAME, confidence=round(draft.confidence, 4))

    def _draft(self, question: Question, context: Context) -> Draft:
        if question.tool_choice is not ToolChoice.NONE:
            required = question.tool_choice is ToolChoice.REQUIRED
            calls, confidence = next_calls(context, question.tools, self._fits, required=required)
            if calls:
                return Draft(parts=calls, stop_reason=StopReason.TOOL_CALLS, confidence=confidence)
        if question.output_schema is not None:
            return self._structured(context, question.output_schema)
        text, confidence = self._text(context)
        return Draft(parts=(Text(text=text),), stop_reason=StopReason.END_TURN, confidence=confidence)

    def _structured(self, context: Context, schema: JsonObject) -> Draft:
        """An answer that satisfies the schema, or a refusal when this model cannot build one."""
        validator = compiled(schema)
        filled = Filler(context, self._fits).fill(schema)
        if validator.problems(filled.value):
            filled = Filled(value=smallest(Schema.whole(schema)), confidence=MADE_UP)
        if validator.problems(filled.value):
            refusal = Refusal(text="The rehearsal model cannot build an answer that satisfies this schema.")
            return Draft(parts=(refusal,), stop_reason=StopReason.REFUSAL, confidence=0.0)
        return Draft(parts=(Text(text=dump_json(filled.value)),), stop_reason=StopReason.END_TURN, confidence=filled.confidence)

    def _text(self, context: Context) -> tuple[str, float]:
        """A label when the examples are answered with labels, an example's answer when it fits, else quotations."""
        seen = learned.seen_at(context.examples, ())
        if learned.is_label(seen):
            return self._chosen(context, seen)
        if seen:
            answer, confidence = self._chosen(context, seen)
            nearest = max(seen, key=lambda one: _overlap(one.text, context.request))
            if _overlap(nearest.text, context.request) >= _FOLLOW:
                return str(nearest.value), confidence if answer == str(nearest.value) else confidence / 2
        quotation = Library(context.passages).quote(context.question)
        done = [passage for passage in context.passages if passage.source in _acted(context) and passage not in quotation.sentences]
        if quotation.sentences or done:
            told = Quotation(sentences=(*done, *quotation.sentences), confidence=quotation.confidence)
            return told.text, told.confidence
        failed = [result for result in context.results if result.is_error]
        return (_told_failure(failed[-1]) if failed else NOTHING), MADE_UP

    def _chosen(self, context: Context, seen: list[learned.Seen]) -> tuple[str, float]:
        values = list(dict.fromkeys(str(one.value) for one in seen))
        labels = [Label(name=value) for value in values]
        choice = self._fits.classifier(labels, [(one.text, values.index(str(one.value))) for one in seen]).choose(context.request)
        return values[choice.label], choice.confidence


def pieces(text: str, size: int = 4) -> list[str]:
    """A text in pieces of a few words, as a stream brings them; joined they are the text again."""
    parts = text.split(" ")
    spaced = [f"{part} " for part in parts[:-1]] + parts[-1:]
    return ["".join(spaced[at : at + size]) for at in range(0, len(spaced), size)]


def _cut(draft: Draft, most: int) -> tuple[tuple[Part, ...], StopReason]:
    """The parts, text cut to the tokens allowed; a cut is never called the end."""
    text = next((part.text for part in draft.parts if isinstance(part, Text)), "")
    if most <= 0 or count_tokens(text) <= most:
        return draft.parts, draft.stop_reason
    return (Text(text=text.encode()[: most * 4].decode(errors="ignore")),), StopReason.MAX_TOKENS


def _overlap(left: str, right: str) -> float:
    one, other = set(left.lower().split()), set(right.lower().split())
    return len(one & other) / len(one | other) if one and other else 0.0


def _told_failure(result: ToolResult) -> str:
    return f"{result.tool} failed: {dump_json(result.content)}"


def _acted(context: Context) -> set[str]:
    """The tools that did more than look: what they did is always told."""
    return {call.tool for call in context.calls if not looks_up(call.tool)}
