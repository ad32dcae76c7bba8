"""What the client itself refuses or misses; everything else arrives as the mesh's own error with its own reason.

PlimsollError
├── Invalid
│   ├── BadAddress       an address that is not host:port
│   ├── BadInput         a file, an option or a text that cannot be used
│   └── BadBundle        an agent's directory with mistakes, all of them at once
├── Unauthenticated
│   └── NoKey            there is an address but no API key
├── Unavailable
│   ├── NoMesh           no mesh is running where we looked
│   └── Unreachable      nothing answers at the address
└── Internal
    └── BrokenStream     a run's stream skipped an entry
"""

from plimsoll_runtime.errors import Internal, Invalid, Unauthenticated, Unavailable


class BadAddress(Invalid):
    """The address is not host:port."""

    reason = "BAD_ADDRESS"


class BadInput(Invalid):
    """The input cannot be used."""

    reason = "BAD_INPUT"


class BadBundle(Invalid):
    """The agent's directory has mistakes."""

    reason = "BAD_BUNDLE"


class NoKey(Unauthenticated):
    """There is no API key."""

    reason = "NO_KEY"


class NoMesh(Unavailable):
    """No mesh is running."""

    reason = "NO_MESH"


class Unreachable(Unavailable):
    """Nothing answers at the mesh's address."""

    reason = "UNREACHABLE"


class BrokenStream(Internal):
    """A run's stream skipped an entry."""

    reason = "BROKEN_STREAM"
