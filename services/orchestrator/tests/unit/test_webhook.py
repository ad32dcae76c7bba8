"""What webhooks are told, and how it is signed."""

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plimsoll_orchestrator.domain.journal import RunStatus
from plimsoll_orchestrator.domain.webhook import OUTPUT_CAP_BYTES, RETRIES_S, Ended, body_of, headers_of, pause_s, secret_of
from plimsoll_orchestrator.ports.webhooks import Parcel
from plimsoll_runtime.failures import Category, Failure
from plimsoll_runtime.settings import Secret

AT = datetime(2026, 5, 4, 3, 2, 1, 5000, tzinfo=UTC)
ENDED = Ended(
    run_id="run_1", agent="greets", status=RunStatus.SUCCEEDED, thread_id="t1", finished_at=AT, output={"who": "all"}, failure=None
)


def test_the_signature_is_that_of_the_published_example() -> None:
    """From the documentation of Standard Webhooks."""
    headers = headers_of(
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        datetime.fromtimestamp(1614265330, UTC),
        b'{"test": 2432232314}',
        [Secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")],
    )
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert (headers["webhook-id"], headers["webhook-timestamp"]) == ("msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330")


@given(keys=st.lists(st.binary(min_size=24, max_size=64), min_size=1, max_size=2), body=st.binary(max_size=200))
def test_there_is_a_signature_for_each_secret_and_a_receiver_can_check_it(keys: list[bytes], body: bytes) -> None:
    secrets = [secret_of(key) for key in keys]
    headers = headers_of("dlv_1", AT, body, secrets)
    signatures = headers["webhook-signature"].split(" ")
    for secret, signature in zip(secrets, signatures, strict=True):
        key = base64.b64decode(secret.reveal().removeprefix("whsec_"))
        expected = hmac.new(key, f"dlv_1.{headers['webhook-timestamp']}.".encode() + body, hashlib.sha256).digest()
        assert signature == "v1," + base64.b64encode(expected).decode()


def test_the_body_says_which_run_ended_how_and_with_what() -> None:
    assert json.loads(body_of(ENDED)) == {
        "type": "run.succeeded",
        "timestamp": "2026-05-04T03:02:01.005Z",
        "data": {"run_id": "run_1", "agent": "greets", "status": "succeeded", "thread_id": "t1", "output": {"who": "all"}, "failure": None},
    }


def test_a_failed_run_is_told_with_its_failure() -> None:
    failure = Failure(category=Category.TIMEOUT, reason="RUN_DEADLINE", message="late " * 1000, where="a")
    ended = Ended(run_id="run_1", agent="a", status=RunStatus.FAILED, thread_id="", finished_at=AT, output=None, failure=failure)
    told = json.loads(body_of(ended))
    assert told["type"] == "run.failed"
    assert told["data"]["failure"] | {"message": ""} == {
        "category": "timeout",
        "reason": "RUN_DEADLINE",
        "message": "",
        "retryable": False,
        "where": "a",
    }
    assert len(told["data"]["failure"]["message"]) == 2000


@pytest.mark.parametrize(("size", "abridged"), [(OUTPUT_CAP_BYTES - 2, False), (OUTPUT_CAP_BYTES - 1, True)])
def test_a_large_output_is_left_out_and_that_is_said(size: int, abridged: bool) -> None:
    ended = Ended(run_id="run_1", agent="a", status=RunStatus.SUCCEEDED, thread_id="", finished_at=AT, output="x" * size, failure=None)
    data = json.loads(body_of(ended))["data"]
    assert ("output" in data, data.get("abridged", False)) == (not abridged, abridged)


@given(tries=st.integers(1, 20), draw=st.floats(0, 1), asked=st.none() | st.floats(0, 1e9))
def test_pauses_grow_within_their_jitter_and_honour_what_the_receiver_asks(tries: int, draw: float, asked: float | None) -> None:
    pause = pause_s(tries, draw, asked)
    if tries > len(RETRIES_S):
        assert pause is None
        return
    assert pause is not None
    own = RETRIES_S[tries - 1]
    assert own <= pause <= max(own * 1.2, RETRIES_S[-1])
    if asked is None or asked <= own:
        assert pause <= own * 1.2
    else:
        assert pause >= min(asked, RETRIES_S[-1])


def test_a_secret_never_shows_where_a_message_is_printed() -> None:
    secret = secret_of(b"k" * 32)
    parcel = Parcel(delivery_id="d", tenant="t", webhook="w", url="https://x", secrets=(secret,), claim=1, tries=1, ended=ENDED)
    assert secret.reveal() not in repr(parcel)
    assert secret.reveal() not in str(secret)
