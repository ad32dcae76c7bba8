"""The C library's allocator: what documents took in megabytes goes back when they are stored."""

import ctypes

_TRIM_FROM, _MAP_FROM, _ARENAS_AT_MOST = -1, -3, -8  # as glibc's malloc.h numbers them
_LARGE = 1024 * 1024  # bytes
_ARENAS = 2


def give_memory_back() -> None:
    """Keep large blocks apart from small ones, and few arenas; must be called before there are threads.

    By default glibc has an arena for every thread that embeds or reads, and after the first freed block of some megabytes puts others like
    it among the small ones, which hold the memory around them: a service that streams documents was a third larger, and grew. Other
    libraries have no such knobs.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for knob, value in ((_ARENAS_AT_MOST, _ARENAS), (_MAP_FROM, _LARGE), (_TRIM_FROM, _LARGE)):
            mallopt(knob, value)
