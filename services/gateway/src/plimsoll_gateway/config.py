"""The gateway's settings, read once from PLIMSOLL_GATEWAY_… variables."""

from dataclasses import dataclass

from plimsoll_runtime.settings import PostgresSettings, ServerSettings, nested, setting

PREFIX = "PLIMSOLL_GATEWAY_"
SCHEMA = "gateway"


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSettings:
    listen: str = setting("127.0.0.1:0", doc="address of the REST server, host:port")
    body_mib: int = setting(8, doc="largest request in MiB, over REST (the body) and gRPC (the message)")
    body_cap_s: float = setting(30.0, doc="seconds that a client may take to send a body")
    idle_cap_s: float = setting(60.0, doc="seconds that a connection may stay without a complete request")
    write_cap_s: float = setting(30.0, doc="seconds that a client may leave an answer unread before it is cut off")
    heartbeat_s: float = setting(15.0, doc="seconds of silence on an event stream before a heartbeat")

    def __post_init__(self) -> None:
        if self.body_mib < 1:
            raise ValueError("HTTP_BODY_MIB must be at least 1")
        if min(self.body_cap_s, self.idle_cap_s, self.write_cap_s, self.heartbeat_s) <= 0:
            raise ValueError("HTTP_BODY_CAP_S, HTTP_IDLE_CAP_S, HTTP_WRITE_CAP_S and HTTP_HEARTBEAT_S must be positive")

    @property
    def body_bytes(self) -> int:
        return self.body_mib * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundSettings:
    requests: int = setting(512, doc="requests under way at once, over both protocols")
    streams: int = setting(2000, doc="event streams open at once, over both protocols")
    bodies_mib: int = setting(128, doc="request bodies in memory at once, in MiB")

    def __post_init__(self) -> None:
        if min(self.requests, self.streams, self.bodies_mib) < 1:
            raise ValueError("BOUND_REQUESTS, BOUND_STREAMS and BOUND_BODIES_MIB must be at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    server: ServerSettings = nested(ServerSettings, "")
    postgres: PostgresSettings = nested(PostgresSettings, "POSTGRES_")
    http: HttpSettings = nested(HttpSettings, "HTTP_")
    bound: BoundSettings = nested(BoundSettings, "BOUND_")
    public_grpc_listen: str = setting("127.0.0.1:0", doc="address of the gRPC server for clients, host:port")
    orchestrator_address: str = setting(doc="gRPC address of the orchestrator, host:port")
    tool_dispatcher_address: str = setting(doc="gRPC address of the tool-dispatcher, host:port")
    model_router_address: str = setting(doc="gRPC address of the model-router, host:port")
    memory_address: str = setting(doc="gRPC address of memory, host:port")
    feedback_address: str = setting(doc="gRPC address of feedback, host:port")
    bootstrap_key_file: str = setting("", doc="file for the first API key, made at the first start; empty for none")
    bootstrap_tenant: str = setting("default", doc="tenant of the first API key")

    def __post_init__(self) -> None:
        if self.bound.bodies_mib < self.http.body_mib:
            raise ValueError("BOUND_BODIES_MIB must be at least HTTP_BODY_MIB, or no body would fit")
