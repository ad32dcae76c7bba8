"""The model-router's settings."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from plimsoll_runtime.settings import NatsSettings, PostgresSettings, RedisSettings, Secret, ServerSettings, nested, setting

from plimsoll_model_router.domain.names import NAME
from plimsoll_model_router.domain.pricing import Price

_PRICE_DOC = "price in micros of a US dollar per million {0} tokens; -1 for that of the price table"
NOTHING = "none"  # what a list holds that is meant to be empty


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderSettings:
    """What all providers have."""

    api_key: Secret = setting(
        Secret(""), doc="the provider's key; several with commas between them are used in turn, and cooled down singly"
    )
    base_url: str = setting("", doc="address of the API; empty for the provider's own")
    model: str = setting("", doc="the model to ask where no route says otherwise; empty for none")
    embedding_model: str = setting("", doc="the model that makes embeddings; empty for none")
    context_tokens: int = setting(0, doc="what the model reads at the most, answer included; 0 when unknown")
    max_output_tokens: int = setting(0, doc="what the model writes at the most; 0 when unknown")
    input_price_micros: int = setting(-1, doc=_PRICE_DOC.format("input"))
    cached_input_price_micros: int = setting(-1, doc="the same for cached input tokens; -1 takes the input price")
    output_price_micros: int = setting(-1, doc=_PRICE_DOC.format("output"))
    requests_per_minute: int = setting(0, doc="requests that each key may make in a minute, all replicas together; 0 means no limit")
    tokens_per_minute: int = setting(0, doc="tokens that each key may use in a minute, all replicas together; 0 means no limit")

    def __post_init__(self) -> None:
        if self.base_url and not self.base_url.startswith(("https://", "http://")):
            raise ValueError(f"BASE_URL is {self.base_url!r}: use an http(s) address")
        if (self.input_price_micros < 0) != (self.output_price_micros < 0):
            raise ValueError("INPUT_PRICE_MICROS and OUTPUT_PRICE_MICROS belong together: set both or none")
        if min(self.requests_per_minute, self.tokens_per_minute, self.context_tokens, self.max_output_tokens) < 0:
            raise ValueError("REQUESTS_PER_MINUTE, TOKENS_PER_MINUTE, CONTEXT_TOKENS and MAX_OUTPUT_TOKENS must not be negative")
        if (self.model or self.embedding_model) and not self.is_on:
            raise ValueError("MODEL is set, but neither API_KEY nor BASE_URL of a server that needs no key")

    @property
    def is_on(self) -> bool:
        """Whether the provider can be asked."""
        return bool(self.api_key) or bool(self.base_url)

    @property
    def keys(self) -> tuple[Secret, ...]:
        """Each key by itself."""
        return tuple(Secret(key.strip()) for key in self.api_key.reveal().split(",") if key.strip())

    @property
    def price(self) -> Price | None:
        if self.input_price_micros < 0:
            return None
        cached = self.cached_input_price_micros if self.cached_input_price_micros >= 0 else self.input_price_micros
        return Price(input_micros=self.input_price_micros, output_micros=self.output_price_micros, cached_input_micros=cached)


@dataclass(frozen=True, slots=True, kw_only=True)
class TimerSettings:
    connect_s: float = setting(5.0, doc="seconds until a provider accepts the connection")
    first_token_s: float = setting(10.0, doc="seconds until a streamed answer begins")
    silence_s: float = setting(10.0, doc="seconds without a word inside a streamed answer")
    total_s: float = setting(300.0, doc="seconds for a whole answer, all attempts together")

    def __post_init__(self) -> None:
        if min(self.connect_s, self.first_token_s, self.silence_s, self.total_s) <= 0:
            raise ValueError("CONNECT_S, FIRST_TOKEN_S, SILENCE_S and TOTAL_S must be positive")


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerSettings:
    failures: int = setting(5, doc="failures of a model within the window that open its breaker")
    window_s: float = setting(60.0, doc="seconds in which failures are counted together")
    cooldown_s: float = setting(15.0, doc="seconds that a model is left alone before one call probes it")

    def __post_init__(self) -> None:
        if self.failures < 1 or self.window_s <= 0 or self.cooldown_s <= 0:
            raise ValueError("FAILURES must be 1 or more, WINDOW_S and COOLDOWN_S positive")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    routes: tuple[str, ...] = setting((), doc="order of providers per task, such as classification=openai|anthropic; * is every other task")
    protected_labels: tuple[str, ...] = setting(
        ("production",), doc="labels that move only with a passing evaluation report; `none` for none"
    )
    remember_s: float = setting(
        86400.0, doc="seconds that an answer is kept for repeats under its request key, and question and answer for replays"
    )
    ledger_away: Literal["refuse", "serve"] = setting(
        "refuse", doc="what becomes of calls while Postgres is away: refused, or served without budgets and recorded later"
    )
    snapshot_file: str = setting(
        "", doc="file of the last known good registry, to start and serve from while Postgres is away; empty for none"
    )
    prices_file: str = setting("", doc="price table to use in place of the built-in one; empty for that")
    replicas: int = setting(1, doc="replicas among which rate limits are shared out while Redis is away")
    anthropic: ProviderSettings = nested(ProviderSettings, "ANTHROPIC_")
    openai: ProviderSettings = nested(ProviderSettings, "OPENAI_")
    gemini: ProviderSettings = nested(ProviderSettings, "GEMINI_")
    compatible: ProviderSettings = nested(ProviderSettings, "COMPATIBLE_")
    openai_api: Literal["chat", "responses"] = setting("chat", doc="which of OpenAI's APIs is spoken with OpenAI itself")
    timers: TimerSettings = nested(TimerSettings, "TIMER_")
    breaker: BreakerSettings = nested(BreakerSettings, "BREAKER_")
    feedback_address: str = setting("", doc="gRPC address of feedback, host:port; empty: no protected label moves")
    server: ServerSettings = nested(ServerSettings, "")
    postgres: PostgresSettings = nested(PostgresSettings, "POSTGRES_")
    nats: NatsSettings = nested(NatsSettings, "NATS_")
    redis: RedisSettings = nested(RedisSettings, "REDIS_")

    def __post_init__(self) -> None:
        if self.compatible.api_key and not self.compatible.base_url:
            raise ValueError("COMPATIBLE_API_KEY is set but COMPATIBLE_BASE_URL is not: say where the server is")
        for name, provider in self.providers.items():
            if provider.is_on and not provider.model and not provider.embedding_model and name in {"anthropic", "openai"}:
                raise ValueError(f"{name.upper()}_API_KEY is set but MODEL is not: name the model to ask")
        if self.remember_s < 0 or self.replicas < 1:
            raise ValueError("REMEMBER_S must not be negative, and REPLICAS at least 1")
        for label in self.protected:
            if not NAME.fullmatch(label):
                raise ValueError(f"PROTECTED_LABELS: {label!r} cannot be a label")
        for task, providers in self.route_table.items():
            unknown = set(providers) - self.configured
            if not task or not providers or unknown:
                raise ValueError(
                    f"ROUTES: {task or '?'} names {', '.join(sorted(unknown)) or 'nobody'}; configured are {_listed(self.configured)}"
                )

    @property
    def providers(self) -> Mapping[str, ProviderSettings]:
        """All of them in the order of preference, configured or not."""
        return {"anthropic": self.anthropic, "openai": self.openai, "gemini": self.gemini, "compatible": self.compatible}

    @property
    def configured(self) -> frozenset[str]:
        """The providers that have a model."""
        return frozenset(name for name, provider in self.providers.items() if provider.model)

    @property
    def protected(self) -> frozenset[str]:
        return frozenset(label.strip() for label in self.protected_labels) - {NOTHING}

    @property
    def route_table(self) -> Mapping[str, tuple[str, ...]]:
        parted = (route.partition("=") for route in self.routes)
        return {task.strip(): tuple(name.strip() for name in names.split("|") if name.strip()) for task, _, names in parted}


def _listed(names: frozenset[str]) -> str:
    return ", ".join(sorted(names)) or "none"
