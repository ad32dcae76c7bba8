"""What a call costs, in millionths of a US dollar."""

from dataclasses import dataclass, replace

from plimsoll_runtime.usage import Usage

_PER = 1_000_000  # tokens that a price is given for


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """Micros of a US dollar per million tokens."""

    input_micros: int
    output_micros: int
    cached_input_micros: int


FREE = Price(input_micros=0, output_micros=0, cached_input_micros=0)


def priced(usage: Usage, price: Price | None) -> Usage:
    """The usage with its cost, rounded up; without a price it costs nothing that could be told."""
    if price is None:
        return usage
    plain = usage.input_tokens - usage.cached_input_tokens
    total = plain * price.input_micros + usage.cached_input_tokens * price.cached_input_micros + usage.output_tokens * price.output_micros
    return replace(usage, cost_micros=-(-total // _PER))


def affordable_output(input_tokens: int, max_cost_micros: int, price: Price) -> int:
    """The tokens that may be written for what is left of `max_cost_micros` after reading; 0 when that is no limit, or too little."""
    left = max_cost_micros * _PER - input_tokens * price.input_micros
    return max(0, left // price.output_micros) if price.output_micros else 0


def most(input_tokens: int, max_output_tokens: int, price: Price) -> int:
    """What a call may cost at the most: nothing cached, everything written."""
    return priced(Usage(input_tokens=input_tokens, output_tokens=max_output_tokens), price).cost_micros
