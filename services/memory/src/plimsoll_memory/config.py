"""The settings of memory, read once from PLIMSOLL_MEMORY_… variables."""

from dataclasses import dataclass

from plimsoll_runtime.settings import NatsSettings, PostgresSettings, ServerSettings, nested, setting

from plimsoll_memory.domain.embedding import HASHING, LATENT

_EMBEDDERS, _RERANKERS = ("router:", "sentence-transformers:"), ("cross-encoder:",)
_LANGUAGES = frozenset(
    {
        "simple", "arabic", "armenian", "basque", "catalan", "danish", "dutch", "english", "finnish", "french", "german", "greek",
        "hindi", "hungarian", "indonesian", "irish", "italian", "lithuanian", "nepali", "norwegian", "portuguese", "romanian",
        "russian", "serbian", "spanish", "swedish", "tamil", "turkish", "yiddish",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaderSettings:
    limit_mib: int = setting(32, doc="largest document in MiB")
    cap_s: float = setting(45.0, doc="seconds that reading one document may take")
    memory_mib: int = setting(1024, doc="memory in MiB that reading one document may take")
    most_pages: int = setting(2000, doc="pages of one document at the most")
    most_passages: int = setting(50_000, doc="passages of one document at the most")
    processes: int = setting(2, doc="documents read at the same time")

    def __post_init__(self) -> None:
        if min(self.limit_mib, self.cap_s, self.memory_mib, self.most_pages, self.most_passages, self.processes) <= 0:
            raise ValueError("LIMIT_MIB, CAP_S, MEMORY_MIB, MOST_PAGES, MOST_PASSAGES and PROCESSES must be positive")

    @property
    def limit_bytes(self) -> int:
        return self.limit_mib * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class PassageSettings:
    target: int = setting(1200, doc="characters at which a passage is cut")
    limit: int = setting(2000, doc="characters of a passage at the most")
    overlap: int = setting(150, doc="characters that a passage may repeat of the one before")

    def __post_init__(self) -> None:
        if not 0 <= self.overlap < self.target <= self.limit <= 4000:
            raise ValueError("need 0 <= OVERLAP < TARGET <= LIMIT <= 4000")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    server: ServerSettings = nested(ServerSettings, "")
    postgres: PostgresSettings = nested(PostgresSettings, "POSTGRES_")
    nats: NatsSettings = nested(NatsSettings, "NATS_")
    reader: ReaderSettings = nested(ReaderSettings, "READER_")
    passage: PassageSettings = nested(PassageSettings, "PASSAGE_")
    embedder: str = setting(LATENT, doc=f"embedder of new collections: {LATENT}, {HASHING} or one of EMBEDDERS")
    embedders: tuple[str, ...] = setting((), doc="more embedders: router:MODEL through the model-router, sentence-transformers:MODEL")
    rerankers: tuple[str, ...] = setting((), doc="more rerankers: cross-encoder:MODEL")
    rerank_cap_s: float = setting(0.25, doc="seconds that reranking an answer may take; after that it goes without")
    model_router_address: str = setting("", doc="gRPC address of the model-router, host:port; needed for router: embedders")
    quality_window_s: int = setting(3600, doc="seconds of searches that are measured together and compared with those before")
    language: str = setting("english", doc="text search configuration of new collections; `simple` when languages are mixed")

    def __post_init__(self) -> None:
        if self.language not in _LANGUAGES:
            raise ValueError(f"LANGUAGE is {self.language!r}: use one of {', '.join(sorted(_LANGUAGES))}")
        wrong = [one for one in self.embedders if not one.startswith(_EMBEDDERS) or one in _EMBEDDERS]
        wrong += [one for one in self.rerankers if not one.startswith(_RERANKERS) or one in _RERANKERS]
        if wrong:
            raise ValueError(
                f"EMBEDDERS or RERANKERS hold {', '.join(wrong)}: use {', '.join(f'{one}MODEL' for one in (*_EMBEDDERS, *_RERANKERS))}"
            )
        if self.embedder not in {LATENT, HASHING, *self.embedders}:
            raise ValueError(f"EMBEDDER is {self.embedder!r}: use {LATENT}, {HASHING} or one of EMBEDDERS")
        if any(one.startswith("router:") for one in self.embedders) and not self.model_router_address:
            raise ValueError("EMBEDDERS names a model of the model-router: set MODEL_ROUTER_ADDRESS, too")
        if self.rerank_cap_s <= 0 or self.quality_window_s < 1:
            raise ValueError("RERANK_CAP_S and QUALITY_WINDOW_S must be positive")
        if self.reader.limit_mib >= self.server.max_message_mib:
            raise ValueError("READER_LIMIT_MIB must be less than MAX_MESSAGE_MIB: a document comes in one message")
