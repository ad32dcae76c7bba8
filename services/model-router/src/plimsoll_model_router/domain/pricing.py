"""What a call costs, in millionths of a US dollar."""

from dataclasses import dataclass

from plimsoll_runtime.usage import Usage

_PER = 1_000_000  # tokens that a price is given for


@dataclass(frozen=True, slots=True, kw_only=True)
class LongPrice:
    """What holds for the whole call when it reads more than `above` tokens."""

    above: int
    input_micros: int
    output_micros: int
    cached_input_micros: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """Micros of a US dollar per million tokens."""

    input_micros: int
    output_micros: int
    cached_input_micros: int
    long: LongPrice | None = None

    def of(self, usage: Usage) -> int:
        """The cost, rounded up."""
        tier = self.long if self.long is not None and usage.input_tokens > self.long.above else self
        plain = usage.input_tokens - usage.cached_input_tokens
        total = plain * tier.input_micros + usage.cached_input_tokens * tier.cached_input_micros + usage.output_tokens * tier.output_micros
        return -(-total // _PER)


FREE = Price(input_micros=0, output_micros=0, cached_input_micros=0)


def priced(usage: Usage, price: Price | None) -> Usage:
    """The usage with its cost; without a price it costs nothing that could be told."""
    if price is None:
        return usage
    return Usage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cached_input_tokens=usage.cached_input_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        cost_micros=price.of(usage),
    )


def most(input_tokens: int, max_output_tokens: int, price: Price) -> int:
    """What a call may cost at the most: everything written, the input at the dearer of its prices, cached or not.

    Our count of tokens is a rule of thumb: from half of a long question on, its price may be that of a long one.
    """
    tiers: list[Price | LongPrice] = [price]
    if price.long is not None and input_tokens > price.long.above // 2:
        tiers.append(price.long)
    return max(
        -(-(input_tokens * max(tier.input_micros, tier.cached_input_micros) + max_output_tokens * tier.output_micros) // _PER)
        for tier in tiers
    )


def affordable_output(input_tokens: int, max_cost_micros: int, price: Price) -> int:
    """The tokens that may be written for what is left of `max_cost_micros` after reading; 0 when that is no limit, or too little."""
    tier = price.long if price.long is not None and input_tokens > price.long.above // 2 else price
    left = max_cost_micros * _PER - input_tokens * tier.input_micros
    return max(0, left // tier.output_micros) if tier.output_micros else 0
