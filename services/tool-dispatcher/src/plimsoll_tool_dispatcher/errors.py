"""The errors of this service; how a call itself fails is a value (`domain.call.Failed`), not an error.

PlimsollError
├── Invalid
│   ├── InvalidDispatch    the request names no run, no call key …
│   ├── InvalidLookup      the request does not say which calls or entries
│   ├── InvalidResolution  the tool could not have given that result
│   └── InvalidTools       a declaration has mistakes
├── NotFound
│   ├── CallNotFound       no call has this key
│   ├── ToolNotFound       no tool has this name
│   └── DoubtNotFound      no call with an unknown outcome has this id
├── Conflict
│   ├── StaleEpoch         a newer claim acts for this run
│   └── CallKeyTaken       the call key stands for another request
└── Unavailable
    └── CallInFlight       an earlier dispatch of the call has not ended yet
"""

from plimsoll_runtime.errors import Conflict, Invalid, NotFound, Unavailable


class InvalidDispatch(Invalid):
    """The dispatch is incomplete."""

    reason = "INVALID_DISPATCH"


class InvalidLookup(Invalid):
    """The request does not say what to look up."""

    reason = "INVALID_LOOKUP"


class InvalidResolution(Invalid):
    """The tool could not have given that result."""

    reason = "INVALID_RESOLUTION"


class InvalidTools(Invalid):
    """The declaration has mistakes."""

    reason = "INVALID_TOOLS"


class CallNotFound(NotFound):
    """No call has this key, or not any more; one that was refused before it began has no entry."""

    reason = "CALL_NOT_FOUND"


class DoubtNotFound(NotFound):
    """No call with an unknown outcome has this id; it may have been settled meanwhile."""

    reason = "DOUBT_NOT_FOUND"


class ToolNotFound(NotFound):
    """No tool has this name."""

    reason = "TOOL_NOT_FOUND"


class StaleEpoch(Conflict):
    """A newer claim acts for this run; this one was fenced off."""

    reason = "STALE_EPOCH"


class CallKeyTaken(Conflict):
    """The call key was used for another request; a key stands for one request for ever."""

    reason = "CALL_KEY_TAKEN"


class CallInFlight(Unavailable):
    """An earlier dispatch of this call has not ended yet; ask again under the same call key."""

    reason = "CALL_IN_FLIGHT"
