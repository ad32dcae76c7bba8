"""Budgets held in advance, as one replica keeps them."""

from model_router_samples import opening
from plimsoll_model_router.adapters.leases import LASTS_S, Leases
from plimsoll_model_router.domain.budgets import Estimate
from plimsoll_model_router.domain.calls import Opened
from plimsoll_testkit.clock import FakeClock

WANTED, ROOM = Estimate(tokens=14, cost_micros=7), Estimate(tokens=1_000_000, cost_micros=1_000_000)
CAPPED = Opened(caps_tokens=True)


def often(leases: Leases, first: int) -> None:
    for number in range(first, first + 4):
        leases.note(opening(number, wanted=WANTED), CAPPED, ROOM)


def held(leases: Leases) -> None:
    [(payer, wish)] = leases.wishes.items()
    leases.hold(wish)
    del leases.wishes[payer]


def test_calls_that_were_opened_while_a_lease_came_ask_for_no_other() -> None:
    leases = Leases(FakeClock())
    often(leases, 1)
    held(leases)
    often(leases, 100)
    assert not leases.wishes
    assert not list(leases.over())


def test_who_needs_more_than_is_left_of_a_lease_asks_for_another() -> None:
    leases = Leases(FakeClock())
    often(leases, 1)
    held(leases)
    number = 1000
    while leases.take(opening(number, wanted=WANTED)) is not None:
        number += 1
    often(leases, 5000)
    assert leases.wishes


def test_who_calls_on_after_a_lease_has_ended_asks_for_another() -> None:
    clock = FakeClock()
    leases = Leases(clock)
    often(leases, 1)
    held(leases)
    clock.advance(LASTS_S)
    often(leases, 100)
    assert leases.wishes
