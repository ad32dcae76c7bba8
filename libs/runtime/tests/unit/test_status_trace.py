"""An error says at the client by which trace it is found at the server."""

from plimsoll_runtime.errors import NotFound
from plimsoll_runtime.status import error_from_status, status_of

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def test_the_trace_of_an_error_travels_with_it() -> None:
    error = NotFound("no run is called r", reason="RUN_NOT_FOUND", remedy="look again")
    assert error_from_status(status_of(error)).trace_id == ""
    error.trace_id = TRACE
    back = error_from_status(status_of(error))
    assert (back.trace_id, back.reason, back.remedy) == (TRACE, "RUN_NOT_FOUND", "look again")
