"""The provider is swapped: the same agents in a second mesh that differs in configuration alone."""

import hashlib
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from plimsoll_client.models import RunStatus
from plimsoll_runtime.errors import PlimsollError

from plimsoll_devstack.audit.grading import Check, judged, unmeasured
from plimsoll_devstack.audit.runs import Subject, Workshop, marks, one
from plimsoll_devstack.providers import provider_settings

_PREFIX = "PLIMSOLL_MODEL_ROUTER_"
_DIALECTS = {
    "Anthropic Messages": ("ANTHROPIC", ""),
    "OpenAI Chat Completions": ("OPENAI", "chat"),
    "OpenAI Responses": ("OPENAI", "responses"),
    "Gemini generateContent": ("GEMINI", ""),
    "Chat Completions of another server": ("COMPATIBLE", ""),
}
_ROUTED = "auto"  # the model that the mesh's own OpenAI door chooses for


async def swapped(subject: Subject) -> Check:
    """From whatever answers in the first mesh to the first mesh itself: its OpenAI door is a provider to the second one."""
    what = "the provider is swapped by configuration alone"
    shop = subject.workshop
    if shop is None:
        remedy = "Run `plimsoll audit` without --data"
        return unmeasured(what, why="takes a second mesh; 0 files of an agent name a provider", remedy=remedy)
    variables = {"OPENAI_BASE_URL": f"{shop.mesh.http_url}/openai/v1", "OPENAI_MODEL": _ROUTED, "OPENAI_API_KEY": shop.mesh.api_key}
    return await _tried(subject, shop, what, {**_without_providers(shop.environ), **variables}, variables, "openai")


async def dialects(subject: Subject) -> list[Check]:
    """The same agents on each provider dialect for which the environment configures a provider."""
    found = []
    for name, (provider, api) in _DIALECTS.items():
        what = f"the same agent on {name}"
        shop = subject.workshop
        if shop is None or not _is_configured(shop.environ, provider):
            why = "not configured" if shop is not None else "takes a mesh of the audit's own"
            remedy = f"Set {_PREFIX}{provider}_API_KEY, _MODEL and where needed _BASE_URL, and run `plimsoll audit` without --data"
            found.append(unmeasured(what, why=why, remedy=remedy))
            continue
        route = {f"{_PREFIX}ROUTES": f"*={provider.lower()}"} | ({f"{_PREFIX}OPENAI_API": api} if api else {})
        found.append(await _tried(subject, shop, what, {**shop.environ, **route}, route, provider.lower()))
    return found


async def _tried(
    subject: Subject, shop: Workshop, what: str, environ: Mapping[str, str], changed: Mapping[str, str], provider: str
) -> Check:
    """A run of the agent in a mesh with that environment, answered by that provider."""
    before, began = _digest(shop.agents), time.monotonic()
    remedy = "See what the provider says: run the mesh with this environment, and `plimsoll trace show` of a run"
    try:
        async with shop.another(environ) as client:
            models = [model for model in await client.models.list() if model.provider == provider]
            run = await one(client, subject.agent, marks(subject, 1)[0])
    except PlimsollError as error:
        return judged(what, kept=False, evidence=f"the mesh did not start: {error.reason} {error.message}", remedy=remedy)
    touched = sum(_digest(shop.agents).get(path) != digest for path, digest in before.items())
    good = run is not None and run.status is RunStatus.SUCCEEDED
    said = "succeeded" if good else str(run.failure.reason if run is not None and run.failure else "did not end")
    names = ", ".join(f"{model.provider}/{model.name}" for model in models) or f"no model of {provider}"
    evidence = (
        f"{', '.join(sorted(changed))} changed, {touched} files outside of the configuration touched; {names} answered, the run {said}, "
        f"{time.monotonic() - began:.1f} s with the start of the mesh"
    )
    return judged(what, kept=good and bool(models) and not touched, evidence=evidence, remedy=remedy)


def _is_configured(environ: Mapping[str, str], provider: str) -> bool:
    settings = {**provider_settings(environ), **environ}
    return bool(settings.get(f"{_PREFIX}{provider}_MODEL"))


def _without_providers(environ: Mapping[str, str]) -> dict[str, str]:
    names = {provider for provider, _ in _DIALECTS.values()}
    starts = tuple(f"{prefix}{name}_" for name in names for prefix in ("", _PREFIX))
    return {name: value for name, value in environ.items() if not name.startswith((*starts, f"{_PREFIX}ROUTES"))}


def _digest(folder: Path) -> dict[Path, str]:
    """Every file of the agents by its content."""
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in _files(folder)}


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file() and "__pycache__" not in path.parts)
