"""Poison: runs that end their workers. Which are suspects, how many of those share a worker, and when one is found guilty.

A worker that ends was ended by one of the runs that it held, or by none of them: somebody killed it, or its machine went down. So those
that did not get on in between are tried again, fewer together each time, until one of them ends a worker with no other suspect beside it.
Whoever gets on is no suspect any more. (Group testing: R. Dorfman, The Detection of Defective Members of Large Populations, 1943.)
"""

from collections import Counter
from collections.abc import Iterable, Sequence

SUSPECT = 2  # losses without getting on after which a run is a suspect
POISONED = 3  # losses without getting on after which one that was tried alone is set aside
TOGETHER = (128, 8, 1)  # suspects that one worker tries at once: with two losses, with three, with more
ALONE = len(TOGETHER) - 1


def room(on_trial: Iterable[int]) -> Sequence[int]:
    """For how many more suspects a worker has room, by their losses from SUSPECT on, that tries some with so many losses."""
    tried = Counter(min(losses - SUSPECT, ALONE) for losses in on_trial)
    return [most - tried[place] for place, most in enumerate(TOGETHER)]


def is_guilty(losses: int, beside: int) -> bool:
    """Whether a run is set aside that was lost so often, the last time as one of `beside` suspects; 0 stands for a worker's whole crowd."""
    return losses >= POISONED and beside == 1
