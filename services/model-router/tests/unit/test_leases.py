"""Budgets held in advance, as one replica keeps them."""

from model_router_samples import opening
from plimsoll_model_router.adapters.leases import LASTS_S, Leases
from plimsoll_model_router.domain.budgets import Estimate
from plimsoll_model_router.domain.calls import Opened
from plimsoll_runtime.usage import Usage
from plimsoll_testkit.clock import FakeClock

WANTED, ROOM = Estimate(tokens=14, cost_micros=7), Estimate(tokens=1_000_000, cost_micros=1_000_000)
CAPPED = Opened(caps_tokens=True)


def often(leases: Leases, first: int) -> None:
    for number in range(first, first + 4):
        leases.note(opening(number, wanted=WANTED), CAPPED, ROOM)


def held(leases: Leases) -> None:
    [(payer, wish)] = leases.wishes.items()
    leases.hold(wish, CAPPED, ROOM)
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


def test_the_next_lease_is_asked_for_before_the_first_is_used_up() -> None:
    leases = Leases(FakeClock())
    often(leases, 1)
    held(leases)
    covered = 0
    while not leases.wishes:
        assert leases.take(opening(1000 + covered, wanted=WANTED)) == CAPPED
        covered += 1
    assert 300 < covered < 512
    held(leases)
    assert leases.take(opening(5000, wanted=WANTED)) == CAPPED
    assert not list(leases.over()), "calls of the first are under way"
    for number in range(covered):
        leases.settled(opening(1000 + number).call_id, Usage(input_tokens=14))
    assert [lease.tokens for lease in leases.over()] == [(512 - covered) * WANTED.tokens]


def test_the_next_lease_is_asked_for_before_the_time_of_the_first_is_over_and_only_once() -> None:
    clock = FakeClock()
    leases = Leases(clock)
    often(leases, 1)
    held(leases)
    leases.take(opening(10, wanted=WANTED))
    assert not leases.wishes
    clock.advance(LASTS_S * 0.9)
    assert leases.take(opening(11, wanted=WANTED)) == CAPPED
    assert leases.wishes
    leases.wishes.clear()  # the ledger had no room for it
    assert leases.take(opening(12, wanted=WANTED)) == CAPPED
    assert not leases.wishes


def test_a_lease_under_other_caps_than_were_known_covers_nobody_and_is_given_back() -> None:
    """Somebody set a budget meanwhile, of which the lease holds nothing."""
    leases = Leases(FakeClock())
    often(leases, 1)
    [(_, wish)] = leases.wishes.items()
    leases.hold(wish, Opened(caps_tokens=True, caps_money=True), ROOM)
    assert leases.take(opening(10, wanted=WANTED)) is None
    assert [lease.lease_id for lease in leases.over()] == [f"lease_{wish.opening.call_id}"]


def test_without_a_cap_the_ledger_is_asked_again_when_the_time_is_over() -> None:
    """Only it knows whether a budget was set since."""
    clock = FakeClock()
    leases = Leases(clock)
    for number in range(1, 5):
        leases.note(opening(number, wanted=WANTED), Opened(), Estimate())
    [(payer, wish)] = leases.wishes.items()
    leases.hold(wish, Opened(), Estimate())
    del leases.wishes[payer]
    clock.advance(LASTS_S * 0.9)
    assert leases.take(opening(10, wanted=WANTED)) == Opened()
    assert not leases.wishes
    clock.advance(LASTS_S * 0.2)
    assert leases.take(opening(11, wanted=WANTED)) is None
