"""What the services may say to NATS, as rules."""

from fnmatch import fnmatchcase

import pytest
from plimsoll_devstack.names import SERVICES
from plimsoll_devstack.servers.nats import permissions


def _may(service: str, verb: str, subject: str) -> bool:
    allowed = permissions(service)[verb]
    assert isinstance(allowed, list)
    return any(fnmatchcase(subject, pattern.replace(">", "*")) for pattern in allowed)


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_publishes_under_its_own_name_and_to_the_dead_letters(service: str) -> None:
    assert _may(service, "publish", f"plimsoll.v1.{service}.thing.happened")
    assert _may(service, "publish", "plimsoll.v1.dead_letter.durable")
    assert not any(_may(service, "publish", f"plimsoll.v1.{other}.thing.happened") for other in SERVICES if other != service)


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("call", ["STREAM.DELETE", "STREAM.PURGE", "STREAM.MSG.DELETE", "CONSUMER.DELETE"])
def test_no_service_destroys_what_a_stream_holds(service: str, call: str) -> None:
    assert not _may(service, "publish", f"$JS.API.{call}.PLIMSOLL_{service.upper()}")


@pytest.mark.parametrize("source", ["orchestrator", "tool_dispatcher", "model_router", "memory"])
def test_feedback_reads_the_services_it_learns_from(source: str) -> None:
    stream = f"PLIMSOLL_{source.upper()}"
    assert _may("feedback", "publish", f"$JS.API.CONSUMER.CREATE.{stream}.feedback_{source}.plimsoll.v1.{source}.call.completed")
    assert _may("feedback", "publish", f"$JS.API.CONSUMER.MSG.NEXT.{stream}.feedback_{source}")
    assert _may("feedback", "publish", f"$JS.ACK.{stream}.feedback_{source}.1.2.3.4.5")
