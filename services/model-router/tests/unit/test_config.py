"""The settings of the model-router."""

import pytest
from plimsoll_model_router.config import Settings
from plimsoll_model_router.domain.pricing import Price
from plimsoll_runtime.settings import InvalidSettings, differences, load

PREFIX = "PLIMSOLL_MODEL_ROUTER_"
NEEDED = {
    "POSTGRES_DSN": "postgresql://model_router:secret@db/plimsoll",
    "NATS_URL": "nats://model_router:secret@bus",
    "TLS_CA": "ca.pem",
    "TLS_CERTIFICATE": "router.pem",
    "TLS_KEY": "router.key",
}
ANTHROPIC = {"ANTHROPIC_API_KEY": "sk-ant-secret", "ANTHROPIC_MODEL": "strong"}
OPENAI = {"OPENAI_API_KEY": "sk-secret", "OPENAI_MODEL": "cheap"}


def loaded(*groups: dict[str, str]) -> Settings:
    return load(Settings, PREFIX, {PREFIX + name: value for group in (NEEDED, *groups) for name, value in group.items()})


def test_without_a_provider_nothing_but_addresses_must_be_set() -> None:
    assert loaded().configured == frozenset()


def test_keys_and_models_switch_providers_on() -> None:
    settings = loaded(ANTHROPIC, OPENAI)
    assert settings.configured == {"anthropic", "openai"}
    assert settings.anthropic.api_key.reveal() == "sk-ant-secret"


def test_a_local_server_needs_an_address_and_no_key() -> None:
    assert loaded({"OPENAI_BASE_URL": "http://127.0.0.1:8080/v1", "OPENAI_MODEL": "local"}).configured == {"openai"}


def test_keys_never_print() -> None:
    settings = loaded(ANTHROPIC)
    assert "secret" not in repr(settings)
    assert "secret" not in str(list(differences(settings, PREFIX)))


def test_prices_are_unknown_until_they_are_told() -> None:
    assert loaded(OPENAI).openai.price is None
    told = loaded(OPENAI, {"OPENAI_INPUT_PRICE_MICROS": "250000", "OPENAI_OUTPUT_PRICE_MICROS": "2000000"}).openai.price
    assert told == Price(input_micros=250_000, output_micros=2_000_000, cached_input_micros=250_000)


def test_routes_order_providers_by_task() -> None:
    settings = loaded(ANTHROPIC, OPENAI, {"ROUTES": "classification=openai|anthropic,*=anthropic"})
    assert settings.route_table == {"classification": ("openai", "anthropic"), "*": ("anthropic",)}


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"ANTHROPIC_API_KEY": "k"}, "MODEL is not"),
        ({"ANTHROPIC_MODEL": "strong"}, "ANTHROPIC_API_KEY is not"),
        ({"OPENAI_MODEL": "cheap"}, "OPENAI_BASE_URL"),
        ({"OPENAI_BASE_URL": "localhost", "OPENAI_MODEL": "m"}, "http"),
        ({**OPENAI, "OPENAI_INPUT_PRICE_MICROS": "1"}, "belong together"),
        ({**OPENAI, "ROUTES": "classification=anthropic"}, "ROUTES: classification names anthropic"),
        ({"ROUTES": "nonsense"}, "ROUTES"),
        ({"TIMER_SILENCE_S": "0"}, "SILENCE_S"),
        ({"REMEMBER_S": "-1"}, "REMEMBER_S"),
        ({"ANTROPIC_API_KEY": "k"}, "is not a setting"),
    ],
)
def test_wrong_settings_are_refused_with_their_name(given: dict[str, str], complaint: str) -> None:
    with pytest.raises(InvalidSettings, match=complaint.replace("|", r"\|")):
        loaded(given)
