"""What can go wrong on the machine itself; every error says what to do about it.

PlimsollError
└── DevstackError
    ├── MissingServer    a server's wheel is not installed, or has none for this platform
    ├── MissingService   a service's package is not installed
    ├── NotWritable      the data directory cannot be written
    ├── NotReachable     the account that must run Postgres cannot reach its files
    ├── OtherVersion     the data directory belongs to another format or Postgres major
    ├── Busy             another `up` or `down` is at work in this data directory
    ├── PortTaken        a port that was asked for is in use
    ├── NotRunning       no mesh runs in this data directory
    ├── NoSuchPart       a name that is no part of the mesh, or a folder that is not there
    ├── FaultsDisabled   faults were asked of a mesh that was not started for them
    ├── ProviderIncomplete  a model provider's address is set and its model is not
    └── StartFailed      a process ended or stayed silent instead of becoming ready
"""

from plimsoll_runtime.errors import ErrorKind, PlimsollError


class DevstackError(PlimsollError):
    """A problem on this machine, with its remedy."""

    kind = ErrorKind.INVALID
    reason = "DEVSTACK"

    def __init__(self, problem: str, *, remedy: str) -> None:
        super().__init__(problem, remedy=remedy)


class MissingServer(DevstackError):
    """A server's wheel is not installed, or has none for this platform."""

    reason = "MISSING_SERVER"


class MissingService(DevstackError):
    """A service's package is not installed."""

    reason = "MISSING_SERVICE"


class NotWritable(DevstackError):
    """The data directory cannot be written."""

    reason = "NOT_WRITABLE"


class FaultsDisabled(DevstackError):
    """The mesh was not started with fault injection."""

    reason = "FAULTS_DISABLED"


class NotReachable(DevstackError):
    """The account that must run Postgres cannot reach its files."""

    reason = "NOT_REACHABLE"


class OtherVersion(DevstackError):
    """The data directory belongs to another format or Postgres major."""

    kind = ErrorKind.CONFLICT
    reason = "OTHER_VERSION"


class Busy(DevstackError):
    """Another `up` or `down` is at work in this data directory."""

    kind = ErrorKind.CONFLICT
    reason = "BUSY"


class PortTaken(DevstackError):
    """A port that was asked for is in use."""

    kind = ErrorKind.CONFLICT
    reason = "PORT_TAKEN"


class NotRunning(DevstackError):
    """No mesh runs in this data directory."""

    kind = ErrorKind.UNAVAILABLE
    reason = "MESH_NOT_RUNNING"


class NoSuchPart(DevstackError):
    """A name that is no part of the mesh, or a folder that is not there."""

    kind = ErrorKind.NOT_FOUND
    reason = "NO_SUCH_PART"


class ProviderIncomplete(DevstackError):
    """A model provider is only half configured."""

    reason = "PROVIDER_INCOMPLETE"


class StartFailed(DevstackError):
    """A process ended or stayed silent instead of becoming ready."""

    kind = ErrorKind.UNAVAILABLE
    reason = "START_FAILED"
