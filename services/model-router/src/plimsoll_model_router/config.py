"""The model-router's settings."""

from collections.abc import Mapping
from dataclasses import dataclass

from plimsoll_runtime.settings import NatsSettings, PostgresSettings, Secret, ServerSettings, nested, setting

from plimsoll_model_router.domain.pricing import Price

_PRICE_DOC = "price in micros of a US dollar per million {0} tokens; -1 when unknown, then calls are counted in tokens only"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderSettings:
    """What both providers have."""

    api_key: Secret = setting(Secret(""), doc="the provider's key")
    base_url: str = setting("", doc="address of the API; empty for the provider's own")
    model: str = setting("", doc="the model to ask; empty switches the provider off")
    context_tokens: int = setting(0, doc="what the model reads at the most, answer included; 0 when unknown")
    input_price_micros: int = setting(-1, doc=_PRICE_DOC.format("input"))
    cached_input_price_micros: int = setting(-1, doc="the same for cached input tokens; -1 takes the input price")
    output_price_micros: int = setting(-1, doc=_PRICE_DOC.format("output"))

    def __post_init__(self) -> None:
        if self.api_key and not self.model:
            raise ValueError("API_KEY is set but MODEL is not: name the model to ask")
        if self.base_url and not self.base_url.startswith(("https://", "http://")):
            raise ValueError(f"BASE_URL is {self.base_url!r}: use an http(s) address")
        if (self.input_price_micros < 0) != (self.output_price_micros < 0):
            raise ValueError("INPUT_PRICE_MICROS and OUTPUT_PRICE_MICROS belong together: set both or none")

    @property
    def price(self) -> Price | None:
        if self.input_price_micros < 0:
            return None
        cached = self.cached_input_price_micros if self.cached_input_price_micros >= 0 else self.input_price_micros
        return Price(input_micros=self.input_price_micros, output_micros=self.output_price_micros, cached_input_micros=cached)


@dataclass(frozen=True, slots=True, kw_only=True)
class TimerSettings:
    connect_s: float = setting(5.0, doc="seconds until a provider accepts the connection")
    first_token_s: float = setting(15.0, doc="seconds until a streamed answer begins")
    silence_s: float = setting(20.0, doc="seconds without a word inside a streamed answer")
    total_s: float = setting(300.0, doc="seconds for a whole answer, all attempts together")

    def __post_init__(self) -> None:
        if min(self.connect_s, self.first_token_s, self.silence_s, self.total_s) <= 0:
            raise ValueError("CONNECT_S, FIRST_TOKEN_S, SILENCE_S and TOTAL_S must be positive")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    routes: tuple[str, ...] = setting((), doc="order of providers per task, such as classification=openai|anthropic; * is every other task")
    remember_s: float = setting(86400.0, doc="seconds that an answer is kept for repeats under its request key")
    anthropic: ProviderSettings = nested(ProviderSettings, "ANTHROPIC_")
    openai: ProviderSettings = nested(ProviderSettings, "OPENAI_")
    timers: TimerSettings = nested(TimerSettings, "TIMER_")
    server: ServerSettings = nested(ServerSettings, "")
    postgres: PostgresSettings = nested(PostgresSettings, "POSTGRES_")
    nats: NatsSettings = nested(NatsSettings, "NATS_")

    def __post_init__(self) -> None:
        if self.anthropic.model and not self.anthropic.api_key and not self.anthropic.base_url:
            raise ValueError("ANTHROPIC_MODEL is set but ANTHROPIC_API_KEY is not")
        if self.openai.model and not self.openai.api_key and not self.openai.base_url:
            raise ValueError("OPENAI_MODEL is set, but neither OPENAI_API_KEY nor OPENAI_BASE_URL of a server that needs no key")
        if self.remember_s < 0:
            raise ValueError("REMEMBER_S must not be negative")
        for task, providers in self.route_table.items():
            unknown = set(providers) - self.configured
            if not task or not providers or unknown:
                raise ValueError(
                    f"ROUTES: {task or '?'} names {', '.join(sorted(unknown)) or 'nobody'}; configured are {_listed(self.configured)}"
                )

    @property
    def configured(self) -> frozenset[str]:
        """The providers that have a model."""
        named = {"anthropic": self.anthropic, "openai": self.openai}
        return frozenset(name for name, provider in named.items() if provider.model)

    @property
    def route_table(self) -> Mapping[str, tuple[str, ...]]:
        parted = (route.partition("=") for route in self.routes)
        return {task.strip(): tuple(name.strip() for name in names.split("|") if name.strip()) for task, _, names in parted}


def _listed(names: frozenset[str]) -> str:
    return ", ".join(sorted(names)) or "none"
