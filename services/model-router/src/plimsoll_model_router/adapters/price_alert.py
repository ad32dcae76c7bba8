"""The alert for models without a known price: a counter for whoever watches, and a line in the log now and then."""

from plimsoll_runtime import logs
from prometheus_client import CollectorRegistry, Counter

_LOG_EVERY = 1000  # calls of one model


class PriceAlert:
    def __init__(self, registry: CollectorRegistry, log: logs.Log) -> None:
        self._log = log
        self._told: dict[str, int] = {}
        self._counter = Counter(
            "plimsoll_model_router_unpriced_calls_total", "Calls billed without a known price", ("model",), registry=registry
        )

    def __call__(self, model: str) -> None:
        """A call of this model cannot be priced."""
        self._counter.labels(model).inc()
        calls = self._told[model] = self._told.get(model, 0) + 1
        if calls % _LOG_EVERY == 1:
            means = "its calls count in tokens only; tell a price in the settings, a model entry or the price table"
            self._log.error("price.missing", {"model": model, "calls": calls, "means": means})
