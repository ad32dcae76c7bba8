"""A provider's key in the environment is all that it takes."""

import pytest
from plimsoll_devstack.errors import ProviderIncomplete
from plimsoll_devstack.providers import provider_settings


def test_without_a_key_nothing_is_configured() -> None:
    assert provider_settings({"ANTHROPIC_MODEL": "claude", "PATH": "/usr/bin"}) == {}


def test_a_key_alone_configures_its_provider() -> None:
    found = provider_settings({"ANTHROPIC_API_KEY": "k"})
    assert found["PLIMSOLL_MODEL_ROUTER_ANTHROPIC_API_KEY"] == "k"
    assert found["PLIMSOLL_MODEL_ROUTER_ANTHROPIC_MODEL"]
    assert not any("OPENAI" in name for name in found)


def test_a_compatible_server_needs_an_address_and_a_model_and_no_key() -> None:
    found = provider_settings({"OPENAI_BASE_URL": "http://127.0.0.1:1/v1", "OPENAI_MODEL": "local"})
    assert found == {"PLIMSOLL_MODEL_ROUTER_OPENAI_BASE_URL": "http://127.0.0.1:1/v1", "PLIMSOLL_MODEL_ROUTER_OPENAI_MODEL": "local"}
    with pytest.raises(ProviderIncomplete) as refused:
        provider_settings({"OPENAI_BASE_URL": "http://127.0.0.1:1/v1"})
    assert "OPENAI_MODEL" in refused.value.remedy


def test_the_model_routers_own_setting_wins() -> None:
    found = provider_settings({"OPENAI_API_KEY": "k", "OPENAI_MODEL": "a", "PLIMSOLL_MODEL_ROUTER_OPENAI_MODEL": "b"})
    assert found["PLIMSOLL_MODEL_ROUTER_OPENAI_MODEL"] == "b"
