"""On whose behalf the present task works: set at the edge, carried along by the RPC client."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from plimsoll_runtime.errors import Internal


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Attributes:
    service    the authenticated peer, a service's folder name
    tenant     whom the work is for; trusted because the peer is
    principal  who asked at the front door; empty for the mesh's own work
    """

    service: str
    tenant: str
    principal: str = ""


_caller: ContextVar[Caller | None] = ContextVar("plimsoll_caller", default=None)


def current_caller() -> Caller:
    """The caller of the present request. Raises Internal outside of one."""
    caller = _caller.get()
    if caller is None:
        raise Internal("no caller: this code runs outside of a request", reason="NO_CALLER")
    return caller


def present_tenant() -> str:
    """The tenant that the present task works for; empty when it works for nobody in particular."""
    caller = _caller.get()
    return "" if caller is None else caller.tenant


def work_for(caller: Caller) -> None:
    """Work for the caller from now on: for a task that is one request's own."""
    _caller.set(caller)


@contextmanager
def acting_for(tenant: str, principal: str = "", *, service: str = "") -> Iterator[None]:
    """Work for `tenant` inside the block: every RPC made there carries it."""
    token = _caller.set(Caller(service=service, tenant=tenant, principal=principal))
    try:
        yield
    finally:
        _caller.reset(token)
