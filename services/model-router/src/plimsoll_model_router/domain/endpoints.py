"""Where a question is sent: an endpoint, in which dialect, what it can do, with whose credential and for how long."""

from dataclasses import dataclass
from enum import StrEnum

from plimsoll_runtime.settings import Secret
from plimsoll_runtime.usage import Usage

from plimsoll_model_router.domain.generation import Question


class Dialect(StrEnum):
    """The wire formats that are spoken."""

    ANTHROPIC = "anthropic"  # Anthropic Messages
    OPENAI_CHAT = "openai-chat"  # Chat Completions at OpenAI itself
    OPENAI_RESPONSES = "openai-responses"
    GEMINI = "gemini"  # generateContent
    OPENAI_COMPATIBLE = "openai-compatible"  # Chat Completions as other servers speak it
    REHEARSAL = "rehearsal"  # the built-in rehearsal model, in this process


class Feature(StrEnum):
    """What a model can do. Only needs without any substitute keep a question from it; the rest is converted, and that is told."""

    TOOLS = "tools"
    PARALLEL_TOOLS = "parallel_tools"
    IMAGES = "images"
    DOCUMENTS = "documents"
    OUTPUT_SCHEMA = "output_schema"  # enforces a JSON Schema
    JSON_OUTPUT = "json_output"  # enforces JSON, not its schema
    REASONING = "reasoning"  # can be told how much to think
    SAMPLING = "sampling"  # takes temperature and top_p
    STREAMING = "streaming"
    EMBEDDINGS = "embeddings"


USUAL = frozenset(Feature) - {Feature.EMBEDDINGS, Feature.REASONING}


class ReasoningStyle(StrEnum):
    """How a model that thinks is told how much."""

    EFFORT = "effort"  # by a word
    BUDGET = "budget"  # by a number of tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One model at one provider.

    Attributes:
    provider           our name for the provider
    model              the provider's name for the model
    base_url           address of the API; empty for the dialect's own
    max_output_tokens  what the model writes at the most; 0 when unknown
    headers            sent with every request, beside the dialect's own
    """

    provider: str
    dialect: Dialect
    model: str
    base_url: str = ""
    features: frozenset[Feature] = USUAL
    reasoning_style: ReasoningStyle = ReasoningStyle.EFFORT
    max_output_tokens: int = 0
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def full_name(self) -> str:
        return f"{self.provider}/{self.model}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """A key.

    Attributes:
    name   stable and never secret: for cool-downs, counters and logs
    scope  what a provider binds its ciphertexts to, such as the organisation; keys of one scope read each other's
    """

    name: str
    secret: Secret
    scope: str = ""


NO_CREDENTIAL = Credential(name="", secret=Secret(""))  # for servers that ask for none


@dataclass(frozen=True, slots=True, kw_only=True)
class Timers:
    """Seconds: until the connection stands, until a stream says its first word, between two words of it, and for the whole answer.

    `exact` when they were told for this very model: then they hold as they are, also while it thinks.
    """

    connect_s: float = 5.0
    first_token_s: float = 15.0
    silence_s: float = 20.0
    total_s: float = 300.0
    exact: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One try at one endpoint."""

    question: Question
    endpoint: Endpoint
    credential: Credential = NO_CREDENTIAL
    timers: Timers = Timers()
    streaming: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingAsk:
    """One try at having texts made into vectors. `dimensions` 0 means the model's own."""

    texts: tuple[str, ...]
    endpoint: Endpoint
    credential: Credential = NO_CREDENTIAL
    timers: Timers = Timers()
    dimensions: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Embeddings:
    """One vector for each text, in order."""

    vectors: tuple[tuple[float, ...], ...]
    usage: Usage
    model: str
