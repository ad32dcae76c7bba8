"""Becomes another program: drops root where asked, and on Linux ties its life to the process that started it.

Run as a script by path with `python -I -S`, so it starts in milliseconds and needs nothing but the standard library:

    launch.py PARENT_PID DEATH_SIGNAL UID GID PASS_SEARCH PROGRAM [ARGUMENT…]

UID and GID are -1 to stay as we are. PASS_SEARCH 1 keeps the right to search directories after dropping root.
"""

import ctypes
import os
import sys
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1
_PR_SET_KEEPCAPS = 8
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE = 47, 2
_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH = 1, 2
_CAPABILITY_VERSION_3 = 0x20080522
_ORPHANED, _CANNOT_DROP = 120, 121


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def _become(uid: int, gid: int) -> None:
    os.setgroups([])
    os.setgid(gid)  # for root, these set the real, effective and saved id at once
    os.setuid(uid)


def _become_keeping_search(libc: ctypes.CDLL, uid: int, gid: int) -> None:
    """Drop root but keep one capability across exec: to pass through directories that only root may enter."""
    header, sets = _Header(_CAPABILITY_VERSION_3, 0), (_Sets * 2)()
    _checked(libc.capget(ctypes.byref(header), sets))
    held = sets[0].permitted
    kept = _CAP_DAC_READ_SEARCH if held & (1 << _CAP_DAC_READ_SEARCH) else _CAP_DAC_OVERRIDE
    _checked(libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0))
    _become(uid, gid)
    only = (_Sets * 2)(_Sets(1 << kept, 1 << kept, 1 << kept), _Sets(0, 0, 0))
    _checked(libc.capset(ctypes.byref(header), only))
    _checked(libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, kept, 0, 0))


def _checked(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _refusing(action: Callable[[], None], uid: int) -> None:
    try:
        action()
    except OSError as error:
        sys.stderr.write(f"cannot run as user id {uid}: {error.strerror}\n")
        sys.exit(_CANNOT_DROP)


def main() -> None:
    """Apply what the arguments ask for and exec the program."""
    parent, death_signal, uid, gid, pass_search = (int(text) for text in sys.argv[1:6])
    program = sys.argv[6:]
    linux = sys.platform == "linux"
    libc = ctypes.CDLL(None, use_errno=True)
    if uid >= 0 and linux and pass_search:
        _refusing(lambda: _become_keeping_search(libc, uid, gid), uid)
    elif uid >= 0:
        _refusing(lambda: _become(uid, gid), uid)
    if linux:
        libc.prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0)  # after the drop: a change of user clears it
    if os.getppid() != parent:
        sys.exit(_ORPHANED)
    os.execv(program[0], program)  # noqa: S606 - becoming the program is the purpose


if __name__ == "__main__":
    main()
