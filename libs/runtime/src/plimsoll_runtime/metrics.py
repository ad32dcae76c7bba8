"""Prometheus metrics that every service has; a service adds its own to the same registry."""

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.exposition import generate_latest

from plimsoll_runtime import names

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)  # seconds


class Metrics:
    """One registry for one service."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.rpc_seconds = Histogram(
            names.RPC_SECONDS, "Time to answer an RPC", ("method", "code"), buckets=_BUCKETS, registry=self.registry
        )
        self.messages = Counter(names.MESSAGES_TOTAL, "Messages consumed", ("durable", "outcome"), registry=self.registry)
        self.dead_letters = Counter(names.DEAD_LETTERS_TOTAL, "Messages given up", ("durable",), registry=self.registry)

    def render(self) -> bytes:
        """The text that Prometheus scrapes."""
        return bytes(generate_latest(self.registry))
