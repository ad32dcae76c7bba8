"""Asks, as tests of providers need them."""

from plimsoll_model_router.domain.endpoints import USUAL, Ask, Credential, Dialect, Endpoint, Feature, Timers
from plimsoll_model_router.domain.generation import Question
from plimsoll_runtime.settings import Secret

ALL = frozenset(Feature)
KEY = Credential(name="main", secret=Secret("sk-secret"), scope="org-1")
HTTP_DIALECTS = tuple(dialect for dialect in Dialect if dialect is not Dialect.REHEARSAL)
_PATHS = {Dialect.ANTHROPIC: "", Dialect.GEMINI: "/v1beta"}


def endpoint(
    dialect: Dialect = Dialect.OPENAI_CHAT, model: str = "m-1", *, url: str = "", features: frozenset[Feature] = USUAL
) -> Endpoint:
    """An endpoint of a provider with the dialect's name; `url` is where the scripted upstream is."""
    base = f"{url}{_PATHS.get(dialect, '/v1')}" if url else ""
    return Endpoint(provider=dialect.value, dialect=dialect, model=model, base_url=base, features=features)


def ask(
    question: Question,
    where: Endpoint | None = None,
    *,
    credential: Credential = KEY,
    timers: Timers = Timers(),  # noqa: B008 - frozen
    streaming: bool = False,
) -> Ask:
    return Ask(question=question, endpoint=where or endpoint(), credential=credential, timers=timers, streaming=streaming)
