"""What the verbs need of what is outside: small protocols, one module a noun."""

from plimsoll_feedback.ports.operations import Decisions, OperationStore
from plimsoll_feedback.ports.signals import Keyed, SignalStore
from plimsoll_feedback.ports.traces import TraceStore

__all__ = ["Decisions", "Keyed", "OperationStore", "SignalStore", "TraceStore"]
