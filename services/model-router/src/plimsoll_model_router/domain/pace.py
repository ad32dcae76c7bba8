"""How long each model's answers take at present: a moving average that rises at once and falls slowly."""

from collections import OrderedDict

_RISES, _FALLS = 0.5, 0.1
_MOST_MODELS = 1000


class Pace:
    """Of one process; models not heard of for longest are forgotten."""

    def __init__(self) -> None:
        self._seconds: OrderedDict[str, float] = OrderedDict()

    def note(self, model: str, seconds: float) -> None:
        """An answer, or a wait for one that was given up, took so long."""
        before = self._seconds.get(model, seconds)
        share = _RISES if seconds > before else _FALLS
        self._seconds[model] = before + share * (seconds - before)
        self._seconds.move_to_end(model)
        while len(self._seconds) > _MOST_MODELS:
            self._seconds.popitem(last=False)

    def latency_s(self, model: str) -> float | None:
        return self._seconds.get(model)
