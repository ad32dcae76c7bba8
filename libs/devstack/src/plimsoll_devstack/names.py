"""The six services of the mesh and the names that derive from them."""

SERVICES = ("gateway", "orchestrator", "tool_dispatcher", "model_router", "memory", "feedback")
"""Every service by its snake name: its Postgres role and schema, NATS user and Redis user."""

LOOPBACK = "127.0.0.1"
"""Everything the devstack starts listens here and nowhere else."""


def folder_name(service: str) -> str:
    """The service's folder, image and certificate name: `tool_dispatcher` is `tool-dispatcher`."""
    return service.replace("_", "-")
