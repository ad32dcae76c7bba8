"""The embedded servers: PostgreSQL with pgvector, NATS with JetStream, and Redis, from the wheels that ship them."""

from plimsoll_devstack.servers.embedded import Servers, configure, recorded, running, server_parts

__all__ = ["Servers", "configure", "recorded", "running", "server_parts"]
