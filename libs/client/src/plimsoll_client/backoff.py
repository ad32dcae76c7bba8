"""How often and how late a call is repeated: exponential waits with full jitter, bounded by a number of tries."""

from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Wait up to `first_s`, then up to twice as long each time, never longer than `cap_s`; give up after `tries` in all."""

    tries: int = 4
    first_s: float = 0.2
    cap_s: float = 3.0

    def wait_s(self, tried: int, rng: Random, *, at_least_s: float | None = None) -> float | None:
        """Seconds to wait after `tried` tries, None to give up; also when the mesh asks for more patience than the cap."""
        if tried >= self.tries or (at_least_s is not None and at_least_s > self.cap_s):
            return None
        wait_s = rng.uniform(0.0, min(self.cap_s, self.first_s * 2.0 ** (tried - 1)))
        return max(wait_s, at_least_s or 0.0)
