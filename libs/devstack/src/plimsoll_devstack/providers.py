"""From the names that users know, such as ANTHROPIC_API_KEY, to the settings of the model-router."""

from collections.abc import Mapping

from plimsoll_devstack.errors import ProviderIncomplete

_PREFIX = "PLIMSOLL_MODEL_ROUTER_"
_FIELDS = ("API_KEY", "BASE_URL", "MODEL")

# Asked when a key is there and no model is named: a capable, inexpensive model of each provider.
_MODELS = {"ANTHROPIC": "claude-sonnet-4-5", "OPENAI": "gpt-4.1-mini"}


def provider_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """The model-router's settings for each provider of which a key or an address is in `environ`.

    A setting under the model-router's own name wins. Raises ProviderIncomplete for an address without a model: nobody can guess
    what a compatible server serves.
    """
    return {name: value for provider in _MODELS for name, value in _of(provider, environ).items()}


def _of(provider: str, environ: Mapping[str, str]) -> dict[str, str]:
    found = {field: environ.get(f"{_PREFIX}{provider}_{field}") or environ.get(f"{provider}_{field}", "") for field in _FIELDS}
    if not found["API_KEY"] and not found["BASE_URL"]:
        return {}
    if not found["MODEL"] and found["BASE_URL"]:
        raise ProviderIncomplete(
            f"{provider}_BASE_URL is set and {provider}_MODEL is not", remedy=f"Name the model that the server serves in {provider}_MODEL"
        )
    found["MODEL"] = found["MODEL"] or _MODELS[provider]
    return {f"{_PREFIX}{provider}_{field}": value for field, value in found.items() if value}
