"""The gateway's settings, read once from PLIMSOLL_GATEWAY_… variables."""

from dataclasses import dataclass

from plimsoll_runtime.settings import PostgresSettings, RedisSettings, ServerSettings, nested, setting

PREFIX = "PLIMSOLL_GATEWAY_"
SCHEMA = "gateway"


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSettings:
    listen: str = setting("127.0.0.1:0", doc="address of the REST server, host:port")
    body_mib: int = setting(8, doc="largest request in MiB, over REST (the body) and gRPC (the message)")
    body_cap_s: float = setting(30.0, doc="seconds that a client may take to send a body")
    idle_cap_s: float = setting(60.0, doc="seconds that a connection may stay without a complete request")
    write_cap_s: float = setting(30.0, doc="seconds that a client may leave an answer unread before it is cut off, over both protocols")
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
    tenant_requests: int = setting(256, doc="requests of one tenant under way at once")
    tenant_streams: int = setting(1000, doc="event streams of one tenant open at once")
    bodies_mib: int = setting(128, doc="request bodies in memory at once, in MiB")

    def __post_init__(self) -> None:
        if min(self.requests, self.streams, self.tenant_requests, self.tenant_streams, self.bodies_mib) < 1:
            raise ValueError("BOUND_REQUESTS, BOUND_STREAMS, BOUND_TENANT_… and BOUND_BODIES_MIB must be at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitSettings:
    key_requests: int = setting(1000, doc="requests that a key may make in the window")
    tenant_requests: int = setting(2000, doc="requests that a tenant may make in the window")
    window_s: float = setting(1.0, doc="the window of the rate limits in seconds")
    tenants: str = setting("", doc="tenants with a rate of their own: acme=500,other=20")
    replicas: int = setting(1, doc="gateways that share the limits; while Redis is away each grants its part")

    def __post_init__(self) -> None:
        if min(self.key_requests, self.tenant_requests, self.replicas) < 1 or self.window_s <= 0:
            raise ValueError("LIMIT_KEY_REQUESTS, LIMIT_TENANT_REQUESTS, LIMIT_WINDOW_S and LIMIT_REPLICAS must be positive")
        if any(count < 1 for count in self.of_tenant.values()):
            raise ValueError("LIMIT_TENANTS: a rate must be at least 1")

    @property
    def of_tenant(self) -> dict[str, int]:
        """Raises ValueError when the text makes no sense."""
        rates: dict[str, int] = {}
        for part in filter(None, (part.strip() for part in self.tenants.split(","))):
            tenant, _, count = part.partition("=")
            if not tenant or not count.isascii() or not count.isdigit():
                raise ValueError(f"LIMIT_TENANTS: {part!r} is not tenant=count")
            rates[tenant] = int(count)
        return rates


@dataclass(frozen=True, slots=True, kw_only=True)
class BacklogSettings:
    runs: int = setting(100_000, doc="runs that may wait for a worker, before those of the highest priority are refused")
    tenant_runs: int = setting(50_000, doc="runs of one tenant that may wait")
    age_s: float = setting(900.0, doc="seconds that the oldest may have waited")

    def __post_init__(self) -> None:
        if min(self.runs, self.tenant_runs) < 1 or self.age_s <= 0:
            raise ValueError("BACKLOG_RUNS, BACKLOG_TENANT_RUNS and BACKLOG_AGE_S must be positive")


@dataclass(frozen=True, slots=True, kw_only=True)
class JwtSettings:
    issuer: str = setting("", doc="address of the OpenID Connect provider whose tokens count beside API keys; empty for none")
    audience: str = setting("", doc="audience that tokens must be made for")
    tenant_claim: str = setting("tenant", doc="claim that names the tenant")
    scopes_claim: str = setting("scope", doc="claim with scopes or roles, as a list or with spaces between them")
    roles_claim: str = setting("roles", doc="another such claim")
    leeway_s: float = setting(30.0, doc="seconds that the provider's clock may differ")
    keys_s: float = setting(600.0, doc="seconds after which the provider's keys are fetched again")

    def __post_init__(self) -> None:
        if self.issuer and not self.issuer.startswith(("https://", "http://127.0.0.1", "http://localhost")):
            raise ValueError("JWT_ISSUER must be an https address")
        if self.issuer and not self.audience:
            raise ValueError("JWT_AUDIENCE must be set with JWT_ISSUER, or tokens for others would count")
        if not 0 <= self.leeway_s <= 300 or self.keys_s <= 0:
            raise ValueError("JWT_LEEWAY_S must be 0 to 300 and JWT_KEYS_S positive")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    server: ServerSettings = nested(ServerSettings, "")
    postgres: PostgresSettings = nested(PostgresSettings, "POSTGRES_")
    redis: RedisSettings = nested(RedisSettings, "REDIS_")
    http: HttpSettings = nested(HttpSettings, "HTTP_")
    bound: BoundSettings = nested(BoundSettings, "BOUND_")
    limit: LimitSettings = nested(LimitSettings, "LIMIT_")
    backlog: BacklogSettings = nested(BacklogSettings, "BACKLOG_")
    jwt: JwtSettings = nested(JwtSettings, "JWT_")
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
