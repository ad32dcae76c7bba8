"""Which models are tried, and what they cost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plimsoll_model_router.domain.pricing import FREE, Price, most, priced
from plimsoll_model_router.domain.routing import Model, candidates
from plimsoll_model_router.errors import UnknownModel
from plimsoll_runtime.usage import Usage

STRONG, CHEAP = Model(provider="anthropic", name="strong"), Model(provider="openai", name="cheap")
REHEARSAL = Model(provider="rehearsal", name="rehearsal", rehearsal=True, price=FREE, variants=("rehearsal", "rehearsal-slow"))
MODELS = (STRONG, CHEAP, REHEARSAL)


def chosen(models: tuple[Model, ...] = MODELS, *, task: str = "", wanted: str = "", **routes: tuple[str, ...]) -> list[str]:
    table = {name.replace("every", "*"): providers for name, providers in routes.items()}
    return [candidate.ask_for for candidate in candidates(models, table, task=task, wanted=wanted)]


def test_without_a_route_all_real_models_are_tried_in_the_order_of_configuration() -> None:
    assert chosen() == ["strong", "cheap"]


def test_a_route_orders_the_providers_of_its_task() -> None:
    routes = {"classification": ("openai", "anthropic"), "reasoning": ("anthropic",)}
    assert chosen(task="classification", **routes) == ["cheap", "strong"]
    assert chosen(task="reasoning", **routes) == ["strong"]
    assert chosen(task="anything", **routes) == ["strong", "cheap"]
    assert chosen(task="anything", every=("openai",)) == ["cheap"]


def test_the_rehearsal_model_answers_only_where_nothing_else_is_configured_or_when_it_is_asked_for() -> None:
    assert chosen((REHEARSAL,)) == ["rehearsal"]
    assert chosen((REHEARSAL,), task="reasoning") == ["rehearsal"]
    assert chosen(wanted="rehearsal") == ["rehearsal"]
    assert chosen(wanted="rehearsal-slow") == ["rehearsal-slow"]
    assert chosen(wanted="rehearsal/rehearsal-slow") == ["rehearsal-slow"]


def test_a_model_asked_for_by_name_is_the_only_candidate() -> None:
    assert chosen(wanted="cheap") == ["cheap"]
    assert chosen(wanted="anthropic/strong") == ["strong"]


def test_a_name_with_a_stroke_in_it_is_not_mistaken_for_a_provider() -> None:
    served = (Model(provider="openai", name="meta/llama"), REHEARSAL)
    assert chosen(served, wanted="meta/llama") == ["meta/llama"]
    assert chosen(served, wanted="openai/meta/llama") == ["meta/llama"]


def test_an_unknown_model_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UnknownModel, match=r"'gpt'.*anthropic/strong, openai/cheap, rehearsal/rehearsal"):
        chosen(wanted="gpt")


def test_cached_input_has_its_own_price_and_a_part_of_a_micro_counts_whole() -> None:
    price = Price(input_micros=3_000_000, output_micros=15_000_000, cached_input_micros=300_000)
    assert priced(Usage(input_tokens=100, cached_input_tokens=80, output_tokens=10), price).cost_micros == 20 * 3 + 24 + 150
    assert priced(Usage(input_tokens=1), Price(input_micros=1, output_micros=0, cached_input_micros=0)).cost_micros == 1
    assert priced(Usage(input_tokens=5), None).cost_micros == 0


TOKENS = st.integers(0, 10**7)
PRICES = st.builds(Price, input_micros=st.integers(0, 10**8), output_micros=st.integers(0, 10**8), cached_input_micros=st.just(0))


@given(read=TOKENS, written=TOKENS, price=PRICES, share=st.floats(0, 1))
def test_no_call_costs_more_than_the_most_it_may_cost(read: int, written: int, price: Price, share: float) -> None:
    used = Usage(input_tokens=read, cached_input_tokens=int(read * share), output_tokens=int(written * share))
    assert priced(used, price).cost_micros <= most(read, written, price)
