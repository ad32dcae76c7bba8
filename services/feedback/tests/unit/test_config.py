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
