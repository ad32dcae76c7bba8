"""Telling others that a run ended, in the form of Standard Webhooks: what is said, how it is signed, and when it is said again.

A receiver checks `webhook-signature`: HMAC-SHA256 over `id.timestamp.body` with the secret behind `whsec_`, in Base64, after `v1,`. While a
secret is being replaced there are two signatures, one for each. `webhook-id` stays the same when a message is sent again.
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from plimsoll_runtime.failures import Failure
from plimsoll_runtime.json_types import JsonObject, JsonValue, dump_json
from plimsoll_runtime.settings import Secret

from plimsoll_orchestrator.domain.journal import RunStatus

OUTPUT_CAP_BYTES = 128 * 1024
RETRIES_S = (5.0, 60.0, 300.0, 1800.0, 7200.0, 21600.0, 43200.0)
"""How long after each failed try the next one comes; after the last of them there is none."""

_JITTER = 0.2  # a pause is longer by up to this share, so that what failed together does not come back together
_MESSAGE_CAP = 2000
_SECRET_PREFIX = "whsec_"  # noqa: S105 - the form of a secret, not one
SECRET_BYTES = 32


class DeliveryStatus(StrEnum):
    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"  # every try failed


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """Where to tell that runs ended. An empty agent and no statuses mean any."""

    name: str
    url: str
    agent: str
    statuses: tuple[RunStatus, ...]
    disabled: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A run that ended, as it is told. `output` counts when it succeeded."""

    run_id: str
    agent: str
    status: RunStatus
    thread_id: str
    finished_at: datetime
    output: JsonValue
    failure: Failure | None


def secret_of(random: bytes) -> Secret:
    """A signing secret in its written form."""
    return Secret(_SECRET_PREFIX + base64.b64encode(random).decode())


def body_of(ended: Ended) -> bytes:
    """The message; the same whenever it is sent."""
    data: JsonObject = {"run_id": ended.run_id, "agent": ended.agent, "status": ended.status.value, "thread_id": ended.thread_id}
    output = dump_json(ended.output)
    if len(output.encode()) <= OUTPUT_CAP_BYTES:
        data["output"] = ended.output
    else:
        data["abridged"] = True
    data["failure"] = _failure(ended.failure)
    at = ended.finished_at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return dump_json({"type": f"run.{ended.status.value}", "timestamp": at, "data": data}).encode()


def headers_of(delivery_id: str, at: datetime, body: bytes, secrets: Sequence[Secret]) -> Mapping[str, str]:
    """The headers of a message that is sent at `at`."""
    timestamp = int(at.timestamp())
    signed = f"{delivery_id}.{timestamp}.".encode() + body
    return {
        "content-type": "application/json",
        "webhook-id": delivery_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(_signature(secret, signed) for secret in secrets),
    }


def pause_s(tries: int, draw: float, asked_s: float | None = None) -> float | None:
    """How long to wait after `tries` that failed; None to give up. `draw` is from 0 to 1, `asked_s` what the receiver asked for."""
    if tries > len(RETRIES_S):
        return None
    own = RETRIES_S[tries - 1] * (1 + _JITTER * draw)
    return max(own, min(asked_s or 0.0, RETRIES_S[-1]))


def _signature(secret: Secret, signed: bytes) -> str:
    key = base64.b64decode(secret.reveal().removeprefix(_SECRET_PREFIX))
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def _failure(failure: Failure | None) -> JsonValue:
    if failure is None:
        return None
    return {
        "category": failure.category.value,
        "reason": failure.reason,
        "message": failure.message[:_MESSAGE_CAP],
        "retryable": failure.retryable,
        "where": failure.where,
    }
