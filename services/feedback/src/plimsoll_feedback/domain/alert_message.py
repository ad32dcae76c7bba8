"""What a webhook is told of an alert, in the form of Standard Webhooks, and when it is told again.

A receiver checks `webhook-signature`: HMAC-SHA256 over `id.timestamp.body` with the secret behind `whsec_`, in Base64, after `v1,`.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime

from plimsoll_runtime.json_types import dump_json
from plimsoll_runtime.settings import Secret

from plimsoll_feedback.domain.monitor import Alert

RETRIES_S = (5.0, 60.0, 300.0, 1800.0, 7200.0, 21600.0, 43200.0)
"""How long after each failed try the next one comes; after the last of them there is none."""

SECRET_PREFIX = "whsec_"  # noqa: S105 - the form of a secret, not one


def body_of(alert: Alert) -> bytes:
    """The message; the same whenever it is sent."""
    at = alert.raised_at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    watched = alert.watched
    data = {
        "alert_id": alert.id,
        "tenant": alert.tenant,
        "measure": watched.measure.value,
        "category": watched.category,
        "subject_kind": watched.subject_kind.value,
        "subject": watched.subject,
        "version": alert.version,
        "baseline_mean": alert.baseline_mean,
        "live_mean": alert.live_mean,
        "live_size": alert.live_size,
        "summary": alert.summary,
    }
    return dump_json({"type": "alert.raised", "timestamp": at, "data": {**data}}).encode()


def headers_of(alert: Alert, at: datetime, body: bytes, secret: Secret) -> Mapping[str, str]:
    """The headers of a message that is sent at `at`; signed when there is a secret."""
    timestamp = int(at.timestamp())
    headers = {"content-type": "application/json", "webhook-id": alert.id, "webhook-timestamp": str(timestamp)}
    if not secret:
        return headers
    digest = hmac.digest(key_of(secret), f"{alert.id}.{timestamp}.".encode() + body, hashlib.sha256)
    return headers | {"webhook-signature": "v1," + base64.b64encode(digest).decode()}


def key_of(secret: Secret) -> bytes:
    """Raises ValueError for a secret that is not Base64 behind the prefix."""
    text = secret.reveal()
    if not text.startswith(SECRET_PREFIX):
        raise ValueError("a webhook secret begins with whsec_")
    try:
        return base64.b64decode(text.removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error as error:
        raise ValueError("a webhook secret is Base64 behind whsec_") from error


def pause_s(tries: int) -> float | None:
    """How long to wait after `tries` that failed; None to give up."""
    return RETRIES_S[tries - 1] if tries <= len(RETRIES_S) else None
