"""Test support shared by all packages: real servers, a settable clock, sequential ids, and waiting without sleeping."""

from plimsoll_testkit.clock import FakeClock
from plimsoll_testkit.ids import FakeIds
from plimsoll_testkit.waiting import eventually

__all__ = ["FakeClock", "FakeIds", "eventually"]
