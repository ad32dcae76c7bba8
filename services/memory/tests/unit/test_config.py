"""The settings of memory."""

import pytest
from plimsoll_memory.config import Settings
from plimsoll_runtime.settings import InvalidSettings, load

PREFIX = "PLIMSOLL_MEMORY_"
NEEDED = {
    PREFIX + "POSTGRES_DSN": "postgresql://memory:secret@db/plimsoll",
    PREFIX + "NATS_URL": "nats://memory:secret@bus",
    PREFIX + "TLS_CA": "ca.pem",
    PREFIX + "TLS_CERTIFICATE": "memory.pem",
    PREFIX + "TLS_KEY": "memory.key",
}


def test_addresses_and_certificates_are_all_that_must_be_set() -> None:
    settings = load(Settings, PREFIX, NEEDED)
    assert settings.reader.limit_bytes == 32 * 1024 * 1024
    assert settings.language == "english"


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("EMBEDDER", "gpt", "EMBEDDER is 'gpt': use latent-128-v1"),
        ("EMBEDDERS", "router:e-3", "set MODEL_ROUTER_ADDRESS"),
        ("EMBEDDERS", "openai:e-3", "EMBEDDERS or RERANKERS hold openai:e-3"),
        ("RERANKERS", "cross-encoder:", "EMBEDDERS or RERANKERS hold cross-encoder:"),
        ("RERANK_CAP_S", "0", "must be positive"),
        ("LANGUAGE", "klingon", "LANGUAGE is 'klingon': use one of arabic"),
        ("READER_LIMIT_MIB", "64", "READER_LIMIT_MIB must be less"),
        ("READER_PROCESSES", "0", "must be positive"),
        ("PASSAGE_TARGET", "5000", "TARGET <= LIMIT"),
        ("PASSAGE_OVERLAP", "1200", "OVERLAP < TARGET"),
    ],
)
def test_what_makes_no_sense_is_refused(name: str, value: str, problem: str) -> None:
    with pytest.raises(InvalidSettings, match=problem):
        load(Settings, PREFIX, NEEDED | {PREFIX + name: value})
