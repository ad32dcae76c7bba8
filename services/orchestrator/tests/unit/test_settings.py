"""The orchestrator's settings: what is wrong is told at the start."""

import pytest
from plimsoll_orchestrator.config import RetentionSettings, WebhookSettings
from plimsoll_runtime.egress import EgressGuard, EgressRefused, EgressRules
from plimsoll_runtime.settings import InvalidSettings, load


def test_webhooks_go_anywhere_by_https_unless_origins_are_named() -> None:
    anywhere = EgressGuard(load(WebhookSettings, "W_", {}).rules)
    assert anywhere.target("https://hooks.example.com/x").host == "hooks.example.com"
    for url in ("http://hooks.example.com/x", "https://hooks.example.com:8443/x"):
        with pytest.raises(EgressRefused):
            anywhere.target(url)
    named = load(WebhookSettings, "W_", {"W_ORIGINS": "http://127.0.0.1:9000,*.example.com", "W_NETWORKS": "127.0.0.0/8"}).rules
    assert named == EgressRules.parse(["http://127.0.0.1:9000", "*.example.com"], ["127.0.0.0/8"])


@pytest.mark.parametrize("environ", [{"W_ORIGINS": "ftp://x"}, {"W_NETWORKS": "10.0.0.0/99"}, {"W_NETWORKS": "everything"}])
def test_origins_and_networks_that_cannot_be_read_are_refused(environ: dict[str, str]) -> None:
    with pytest.raises(InvalidSettings):
        load(WebhookSettings, "W_", environ)


@pytest.mark.parametrize("environ", [{"R_JOURNAL_DAYS": "-1"}, {"R_RUN_DAYS": "-0.5"}, {"R_RUN_DAYS": "soon"}, {"R_RUN_DAYS": "nan"}])
def test_retention_of_less_than_no_days_is_refused(environ: dict[str, str]) -> None:
    with pytest.raises(InvalidSettings):
        load(RetentionSettings, "R_", environ)
