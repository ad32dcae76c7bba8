"""Embeddings as OpenAI and compatible servers make them: neutral ↔ wire, without I/O."""

from plimsoll_runtime.json_types import JsonObject, JsonValue
from plimsoll_runtime.usage import Usage

from plimsoll_model_router.adapters.providers import failures
from plimsoll_model_router.adapters.providers.reading import an_object, count, objects, text
from plimsoll_model_router.domain.endpoints import EmbeddingAsk, Embeddings
from plimsoll_model_router.domain.tokens import count_tokens


def encode(ask: EmbeddingAsk) -> JsonObject:
    body: JsonObject = {"model": ask.endpoint.model, "input": list(ask.texts), "encoding_format": "float"}
    return {**body, "dimensions": ask.dimensions} if ask.dimensions else body


def decode(body: JsonObject, ask: EmbeddingAsk) -> Embeddings:
    """Raises ProviderError unless there is one vector for each text, all of one length."""
    found = {count(item.get("index")): vector(item.get("embedding")) for item in objects(body.get("data"))}
    vectors = tuple(found[at] for at in range(len(ask.texts)) if at in found)
    told = an_object(body.get("usage"))
    usage = Usage(input_tokens=count(told.get("prompt_tokens")) or estimated(ask))
    return complete(vectors, usage, text(body.get("model")), ask)


def complete(vectors: tuple[tuple[float, ...], ...], usage: Usage, model: str, ask: EmbeddingAsk) -> Embeddings:
    """The vectors, when they answer the question. Raises ProviderError otherwise."""
    lengths = {len(one) for one in vectors}
    if len(vectors) != len(ask.texts) or len(lengths) != 1 or 0 in lengths:
        raise failures.malformed(ask.endpoint.full_name, "not one vector of one length for each text", usage)
    if ask.dimensions and lengths != {ask.dimensions}:
        raise failures.malformed(ask.endpoint.full_name, "vectors of another length than was asked for", usage)
    return Embeddings(vectors=vectors, usage=usage, model=model or ask.endpoint.model)


def vector(value: JsonValue) -> tuple[float, ...]:
    """The numbers of a vector; empty when it holds anything else."""
    if not isinstance(value, list):
        return ()
    numbers = tuple(float(item) for item in value if isinstance(item, int | float) and not isinstance(item, bool))
    return numbers if len(numbers) == len(value) else ()


def estimated(ask: EmbeddingAsk) -> int:
    return sum(map(count_tokens, ask.texts))
