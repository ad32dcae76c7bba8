"""`plimsoll tools register | unregister | versions | disable | enable | pin | unpin | accept`: what a tenant decides about its tools."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from plimsoll_runtime.json_types import JsonObject

from plimsoll_client.cli.options import AsJson, Data
from plimsoll_client.cli.output import console, error_console, print_json, print_list, table, visible, when
from plimsoll_client.cli.session import on_mesh
from plimsoll_client.errors import BadInput
from plimsoll_client.toolbox import ToolStanding

if TYPE_CHECKING:
    from plimsoll_client.mesh import Mesh

Name = Annotated[str, typer.Argument(metavar="TOOL", show_default=False)]
Digest = Annotated[str, typer.Argument(metavar="DIGEST", help="As `plimsoll tools versions` shows it", show_default=False)]


def register_tools(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="YAML or JSON: `tools:`, each with `source: {kind, source, tool}`", show_default=False),
    ],
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Register tools of the tenant while the mesh runs, all of a file or none."""
    declared = _declared(file)
    done = on_mesh(data, lambda mesh: mesh.tools.register(declared))
    for one in done.warnings:
        text = f"warning: {one.field} {one.problem}" + (f": {one.remedy}" if one.remedy else "")
        error_console().print(visible(text), style="yellow", soft_wrap=True)
    if as_json:
        print_json(done)
    else:
        for tool in done.tools:
            console().print(visible(f"{tool.name} is registered, {tool.digest[:12]}"), soft_wrap=True)


def unregister_tool(name: Name, data: Data = None) -> None:
    """Take a registered tool away; its versions stay known."""
    on_mesh(data, lambda mesh: mesh.tools.unregister(name))
    console().print(visible(f"{name} is taken away"), soft_wrap=True)


def list_versions(name: Name, data: Data = None, as_json: AsJson = False) -> None:
    """List the versions of a tool that were ever offered, newest first, and say what was decided about it."""
    found = on_mesh(data, lambda mesh: mesh.tools.history(name))
    if as_json:
        print_json(found)
        return
    rows = (
        (one.version, when(one.registered_at), one.origin, ", ".join(_marks(one.digest, found.standing)), one.digest)
        for one in found.versions
    )
    made = table(("version", "registered", "from", "is", "digest"), rows)
    print_list(found.versions, made, as_json=False, empty="There are none.")
    if found.standing.disabled:
        console().print(visible(f"{name} is disabled"), soft_wrap=True)


def disable_tool(name: Name, data: Data = None) -> None:
    """Let nobody call a tool until it is enabled again."""
    _decide(name, data, lambda standing: replace(standing, disabled=True), "is disabled")


def enable_tool(name: Name, data: Data = None) -> None:
    """Let a disabled tool be called again."""
    _decide(name, data, lambda standing: replace(standing, disabled=False), "is enabled")


def pin_tool(name: Name, digest: Digest, data: Data = None) -> None:
    """Let the name mean one version, whatever its source offers."""
    _decide(name, data, lambda standing: replace(standing, pinned=digest), f"is pinned to {digest[:12]}")


def unpin_tool(name: Name, data: Data = None) -> None:
    """Let the name mean what its source offers."""
    _decide(name, data, lambda standing: replace(standing, pinned=""), "is no longer pinned")


def accept_tool(name: Name, digest: Digest, data: Data = None) -> None:
    """Let a changed tool of an untrusted source run in this version."""
    _decide(name, data, lambda standing: replace(standing, accepted=digest), f"may run as {digest[:12]}")


def _decide(name: str, data: Data, change: Callable[[ToolStanding], ToolStanding], done: str) -> None:
    async def decide(mesh: "Mesh") -> None:
        await mesh.tools.decide(name, change((await mesh.tools.history(name)).standing))

    on_mesh(data, decide)
    console().print(visible(f"{name} {done}"), soft_wrap=True)


def _marks(digest: str, standing: ToolStanding) -> list[str]:
    return [word for word, marked in (("pinned", standing.pinned), ("accepted", standing.accepted)) if marked == digest]


def _declared(file: Path) -> list[JsonObject]:
    """What the file lists. Category and credentials beside the list are those of each tool in it."""
    from plimsoll_client.bundles.yaml_text import NotReadable, parse_yaml  # noqa: PLC0415 - YAML takes 40 ms, which only this command should pay

    try:
        content = parse_yaml(file.read_text("utf-8")).value
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{file} cannot be read: {type(error).__name__}", remedy="give a YAML or JSON file of tools") from error
    except NotReadable as error:
        raise BadInput(f"{file}, line {error.mistake.line}: {error.mistake.problem}", remedy=error.mistake.remedy) from error
    beside: JsonObject = {name: content[name] for name in ("category", "credentials") if name in content}
    match content.get("tools"):
        case [*tools] if tools and all(isinstance(tool, dict) for tool in tools):
            return [beside | tool for tool in tools if isinstance(tool, dict)]
    raise BadInput(f"{file} lists no tools", remedy="write `tools:` with a list of mappings, one for each tool")
