"""How long to wait before starting a crashed part again."""

from dataclasses import dataclass

_FIRST_S = 0.2
_LONGEST_S = 15.0
_CALM_AFTER_S = 30.0


@dataclass(frozen=True, slots=True)
class Backoff:
    """Doubles with every crash, and begins anew once the part has run for a while."""

    crashes: int = 0

    def after_crash(self, *, ran_s: float) -> "Backoff":
        """The backoff that follows a crash after `ran_s` seconds of service."""
        return Backoff(1 if ran_s >= _CALM_AFTER_S else self.crashes + 1)

    @property
    def wait_s(self) -> float:
        """Seconds until the next start."""
        return min(_LONGEST_S, _FIRST_S * 2.0 ** min(self.crashes - 1, 16)) if self.crashes else 0.0
