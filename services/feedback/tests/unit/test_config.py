"""The settings of feedback."""

import pytest
from plimsoll_feedback.config import Settings
from plimsoll_runtime.settings import InvalidSettings, load

PREFIX = "PLIMSOLL_FEEDBACK_"
NEEDED = {
    PREFIX + "POSTGRES_DSN": "postgresql://feedback:secret@db/plimsoll",
    PREFIX + "NATS_URL": "nats://feedback:secret@bus",
    PREFIX + "TLS_CA": "ca.pem",
    PREFIX + "TLS_CERTIFICATE": "feedback.pem",
    PREFIX + "TLS_KEY": "feedback.key",
}


def test_addresses_and_certificates_are_all_that_must_be_set() -> None:
    settings = load(Settings, PREFIX, NEEDED)
    assert (settings.ingest_batch, settings.partition_days) == (256, 7)


@pytest.mark.parametrize(
    ("name", "value"), [("INGEST_BATCH", "0"), ("INGEST_BATCH", "2001"), ("PARTITION_DAYS", "0"), ("PARTITION_DAYS", "61")]
)
def test_a_number_out_of_range_is_refused_with_its_name(name: str, value: str) -> None:
    with pytest.raises(InvalidSettings, match=f"{name} is {value}"):
        load(Settings, PREFIX, NEEDED | {PREFIX + name: value})


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("RETENTION_DAYS", "-1", "RETENTION_DAYS must not be negative"),
        ("MONITOR_ALPHA", "0.9", "MONITOR_ALPHA is 0.9: use 0.000001 to 0.5"),
        ("MONITOR_BASELINE", "5", "MONITOR_BASELINE is 5: use 20 to 5000"),
        ("MONITOR_MINIMUM", "0", "MONITOR_MINIMUM must be at least 1"),
        ("ALERT_WEBHOOK_SECRET", "hunter2", "a webhook secret begins with whsec_"),
        ("ALERT_WEBHOOK_SECRET", "whsec_?", "a webhook secret is Base64 behind whsec_"),
        ("EXPORT_HEADERS", "Bearer abc", "EXPORT_HEADERS is not name=value, separated by commas"),
        ("EXPORT_SETTLE_S", "-1", "EXPORT_SETTLE_S must not be negative"),
    ],
)
def test_a_setting_that_makes_no_sense_is_told_without_its_secret(name: str, value: str, told: str) -> None:
    with pytest.raises(InvalidSettings) as refusal:
        load(Settings, PREFIX, NEEDED | {PREFIX + name: value})
    text = " ".join(map(str, refusal.value.problems))
    assert told in text
    assert "hunter2" not in text
    assert "abc" not in text
