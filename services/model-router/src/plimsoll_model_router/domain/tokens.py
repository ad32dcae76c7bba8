"""How many tokens texts and questions count for, before a provider has said so."""

from plimsoll_runtime.json_types import dump_json

from plimsoll_model_router.domain.generation import Question
from plimsoll_model_router.domain.messages import Media, Message, Opaque, Part, Reasoning, Refusal, Text, ToolCall, ToolResult

_MESSAGE = 4  # what the frame of a message counts for
_MEDIA = 1500  # an image or a page, roughly


def count_tokens(text: str) -> int:
    """About four bytes of UTF-8 are one token: the usual rule of thumb, exact enough to budget with."""
    return (len(text.encode()) + 3) // 4


def message_tokens(message: Message) -> int:
    return _MESSAGE + sum(map(_part_tokens, message.parts))


def question_tokens(question: Question) -> int:
    """The input of a question: its messages, tools and output schema."""
    spoken = sum(map(message_tokens, question.messages))
    tools = sum(count_tokens(tool.name + tool.description + dump_json(tool.arguments_schema)) for tool in question.tools)
    return spoken + tools + (count_tokens(dump_json(question.output_schema)) if question.output_schema is not None else 0)


def parts_tokens(parts: tuple[Part, ...]) -> int:
    return sum(map(_part_tokens, parts))


def _part_tokens(part: Part) -> int:
    match part:
        case Text() | Refusal() | Reasoning():
            return count_tokens(part.text)
        case ToolCall():
            return count_tokens(part.tool + dump_json(part.arguments))
        case ToolResult() | Opaque():
            return count_tokens(dump_json(part.content))
        case Media():
            return _MEDIA


def tokens_of_bytes(size: int) -> int:
    """What so many bytes of UTF-8 count for."""
    return (size + 3) // 4
