"""What a piece of work consumed, and its form on the wire."""

from dataclasses import dataclass

from plimsoll.common.v1 import usage_pb2


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens and money. Cached tokens are part of the input, reasoning tokens part of the output; cost in millionths of a US dollar."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    reasoning_tokens: int = 0
    cost_micros: int = 0

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cached_input_tokens=self.cached_input_tokens + other.cached_input_tokens,
            reasoning_tokens=self.reasoning_tokens + other.reasoning_tokens,
            cost_micros=self.cost_micros + other.cost_micros,
        )


def usage_to_proto(usage: Usage) -> usage_pb2.Usage:
    message = usage_pb2.Usage()
    write_usage(message, usage)
    return message


def write_usage(message: usage_pb2.Usage, usage: Usage) -> None:
    """Into a message in its place inside another."""
    message.input_tokens = usage.input_tokens
    message.output_tokens = usage.output_tokens
    message.cached_input_tokens = usage.cached_input_tokens
    message.reasoning_tokens = usage.reasoning_tokens
    message.cost_micros = usage.cost_micros


def usage_from_proto(message: usage_pb2.Usage) -> Usage:
    return Usage(
        input_tokens=message.input_tokens,
        output_tokens=message.output_tokens,
        cached_input_tokens=message.cached_input_tokens,
        reasoning_tokens=message.reasoning_tokens,
        cost_micros=message.cost_micros,
    )
