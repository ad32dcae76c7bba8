"""Timers of a route come before those of its models, and those before the configuration's."""

from dataclasses import replace

import pytest
from model_router_samples import MODEL, ROUTE
from plimsoll_model_router.domain import entries, own_timers, routing
from plimsoll_model_router.domain.differences import differences
from plimsoll_model_router.domain.endpoints import Timers
from plimsoll_model_router.domain.entries import Entry, Kind
from plimsoll_model_router.domain.own_timers import NO_TIMERS, OwnTimers
from plimsoll_model_router.domain.routes import RouteCandidate
from plimsoll_model_router.domain.routing import Model
from plimsoll_model_router.errors import InvalidModel, InvalidRoute
from plimsoll_model_router.transport import registry_codec
from plimsoll_testkit.clock import FakeClock

USUAL = Timers(connect_s=1.0, first_token_s=2.0, silence_s=3.0, total_s=4.0)


def test_what_the_route_tells_comes_before_what_the_model_tells() -> None:
    slow = Model(provider="p", name="m", timers=OwnTimers(first_token_s=20.0, silence_s=30.0))
    route = replace(ROUTE, candidates=(RouteCandidate(model="p/m"),), timers=OwnTimers(first_token_s=9.0))
    [candidate] = routing.candidates([slow], route, wanted="")
    assert candidate.waits(USUAL) == Timers(connect_s=1.0, first_token_s=9.0, silence_s=30.0, total_s=4.0, exact=True)
    assert candidate.waits(USUAL).exact
    [plain] = routing.candidates([replace(slow, timers=NO_TIMERS)], None, wanted="p/m")
    assert plain.waits(USUAL) is USUAL


@pytest.mark.parametrize("content", [MODEL, ROUTE], ids=["model", "route"])
def test_they_are_part_of_the_version_and_change_no_digest_of_those_without(content: entries.Content, clock: FakeClock) -> None:
    timed = replace(content, timers=OwnTimers(first_token_s=0.5, total_s=60.0))  # type: ignore[call-arg]
    kind = Kind.MODEL if content is MODEL else Kind.ROUTE
    assert "timers" not in entries.to_plain(content)
    assert entries.digest_of(timed) != entries.digest_of(content)
    assert entries.from_plain(kind, content.name, content.description, entries.to_plain(timed)) == timed
    assert [one.field for one in differences(content, timed)] == ["timers"]
    told = registry_codec.entry_to_proto(Entry(content=timed, version=1, digest="d", created_at=clock.now()))
    if kind is Kind.MODEL:
        assert registry_codec.model_entry_from_proto(told.model) == timed
    else:
        assert registry_codec.route_from_proto(told.route) == timed


@pytest.mark.parametrize(("seconds", "told"), [(-1.0, "-1 seconds"), (7200.0, "7200 seconds"), (float("nan"), "nan seconds")])
def test_absurd_ones_are_refused_with_their_field(seconds: float, told: str) -> None:
    bad = OwnTimers(silence_s=seconds)
    with pytest.raises(InvalidModel, match=f"model.timers.silence: is {told}"):
        entries.checked(replace(MODEL, timers=bad), frozenset({MODEL.provider}))
    with pytest.raises(InvalidRoute, match=f"route.timers.silence: is {told}"):
        entries.checked(replace(ROUTE, timers=bad), frozenset())
    assert not list(own_timers.problems(NO_TIMERS, "x"))
