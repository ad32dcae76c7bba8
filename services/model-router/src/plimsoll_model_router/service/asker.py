"""Who asks."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """The tenant, and the API key that came in at the front door; empty for the mesh's own work."""

    tenant: str
    key: str = ""
