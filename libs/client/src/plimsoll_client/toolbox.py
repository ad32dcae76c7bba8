"""What a tenant decides about its tools: those it registers while the mesh runs, and which definition of each may run."""

from dataclasses import dataclass
from datetime import datetime

from plimsoll_client.models import Tool


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolWarning:
    """What a tool that was registered will not do, though its source can. `field` is such as `tools[0].source.tool`."""

    field: str
    problem: str
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredTools:
    """All that was sent, as it is now."""

    tools: tuple[Tool, ...]
    warnings: tuple[ToolWarning, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolVersion:
    """One definition that was ever offered under a name. `shared` ones are the mesh's, not the tenant's own."""

    name: str
    version: str
    digest: str
    origin: str
    shared: bool
    registered_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolStanding:
    """What was decided about a name.

    Attributes:
    pinned    the digest that the name means, whatever its source offers; empty for what is offered
    accepted  the digest that may run of a tool whose source is not trusted
    """

    disabled: bool = False
    pinned: str = ""
    accepted: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolHistory:
    """Every version, the newest first, and what was decided."""

    versions: tuple[ToolVersion, ...]
    standing: ToolStanding
