"""The settings of the model-router."""

from datetime import date
from pathlib import Path

import pytest
from plimsoll_model_router.config import Settings
from plimsoll_model_router.domain.endpoints import Dialect
from plimsoll_model_router.domain.pricing import Price
from plimsoll_model_router.suppliers import configured, credentials, limits, price_table
from plimsoll_runtime.settings import InvalidSettings, differences, load

PREFIX = "PLIMSOLL_MODEL_ROUTER_"
NEEDED = {
    "POSTGRES_DSN": "postgresql://model_router:secret@db/plimsoll",
    "NATS_URL": "nats://model_router:secret@bus",
    "REDIS_URL": "redis://model_router:secret@cache/0",
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


def test_several_keys_are_used_singly_and_named_without_telling_them() -> None:
    settings = loaded({"GEMINI_API_KEY": "one, two,three", "GEMINI_REQUESTS_PER_MINUTE": "60"})
    [*keys] = credentials(settings)["gemini"]
    assert [(key.name, key.secret.reveal()) for key in keys] == [("gemini-1", "one"), ("gemini-2", "two"), ("gemini-3", "three")]
    assert limits(settings)["gemini"].requests == 60


def test_labels_are_protected_unless_said_otherwise() -> None:
    assert loaded().protected == {"production"}
    assert loaded({"PROTECTED_LABELS": "none"}).protected == frozenset()
    assert loaded({"PROTECTED_LABELS": "production,canary"}).protected == {"production", "canary"}


def test_a_server_of_its_own_speaks_the_common_dialect_and_is_on_no_price_list() -> None:
    told = configured(loaded(OPENAI, {"COMPATIBLE_BASE_URL": "http://here/v1", "COMPATIBLE_MODEL": "gpt-4.1"}), ())
    assert [(one.name, one.dialect, one.vendor) for one in told.suppliers.values()] == [
        ("rehearsal", Dialect.REHEARSAL, ""),
        ("openai", Dialect.OPENAI_CHAT, "openai"),
        ("compatible", Dialect.OPENAI_COMPATIBLE, ""),
    ]
    responses = configured(loaded(OPENAI, {"OPENAI_API": "responses"}), ()).suppliers["openai"]
    assert responses.dialect is Dialect.OPENAI_RESPONSES
    assert [model.full_name for model in told.models] == ["openai/cheap", "compatible/gpt-4.1", "rehearsal/rehearsal"]


def test_the_price_table_is_data(tmp_path: Path) -> None:
    assert price_table("").price("openai", "gpt-4.1-mini-2025-04-14", date(2026, 1, 1)) == Price(
        input_micros=400_000, output_micros=1_600_000, cached_input_micros=100_000
    )
    own = tmp_path / "prices.json"
    row = '{"vendor":"openai","model":"m","since":"2026-01-01","input_micros":1,"cached_input_micros":1,"output_micros":2}'
    own.write_text('{"version":"mine","prices":[' + row + "]}")
    assert price_table(str(own)).version == "mine"
    own.write_text('{"version":"mine","prices":[{"vendor":"openai"}]}')
    with pytest.raises(InvalidSettings, match=r"prices\[0\]\.model"):
        price_table(str(own))
    with pytest.raises(InvalidSettings, match="cannot be read"):
        price_table(str(tmp_path / "none.json"))


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"ANTHROPIC_API_KEY": "k"}, "MODEL is not"),
        ({"ANTHROPIC_MODEL": "strong"}, "neither API_KEY nor BASE_URL"),
        ({"OPENAI_MODEL": "cheap"}, "neither API_KEY nor BASE_URL"),
        ({"COMPATIBLE_API_KEY": "k"}, "COMPATIBLE_BASE_URL"),
        ({"GEMINI_API_KEY": "k", "GEMINI_REQUESTS_PER_MINUTE": "-1"}, "REQUESTS_PER_MINUTE"),
        ({"PROTECTED_LABELS": "production,Not A Label"}, "Not A Label"),
        ({"BREAKER_FAILURES": "0"}, "FAILURES"),
        ({"REPLICAS": "0"}, "REPLICAS"),
        ({"LEDGER_AWAY": "perhaps"}, "refuse, serve"),
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
