"""Ports for the processes that tests start."""

import random

from plimsoll_devstack.loopback import unused_port


def free_ports(count: int) -> list[int]:
    """So many ports where nobody listens, and which no outgoing connection can be given meanwhile."""
    found: set[int] = set()
    while len(found) < count:
        found.add(unused_port(random.SystemRandom(), found))
    return list(found)


def free_address() -> str:
    """An address, `host:port`, of this machine where nobody listens."""
    return f"127.0.0.1:{free_port()}"


def free_port() -> int:
    """One of them."""
    return free_ports(1)[0]
