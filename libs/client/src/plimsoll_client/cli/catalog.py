"""`plimsoll agents`, `tools`, `prompts`, `models`: what runs are made of."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from plimsoll_client.cli.checking import check_agents
from plimsoll_client.cli.dry_run import dry_run
from plimsoll_client.cli.labels import list_moves, list_versions, move_label, override_label, roll_back_label
from plimsoll_client.cli.options import AsJson, Data
from plimsoll_client.cli.output import (
    console,
    error_console,
    money,
    one_line,
    pretty,
    print_json,
    print_list,
    print_table,
    table,
    visible,
    when,
)
from plimsoll_client.cli.program import spelled
from plimsoll_client.cli.references import missing
from plimsoll_client.cli.session import on_mesh
from plimsoll_client.cli.tools import (
    accept_tool,
    disable_tool,
    enable_tool,
    pin_tool,
    register_tools,
    unpin_tool,
    unregister_tool,
)
from plimsoll_client.cli.tools import list_versions as list_tool_versions
from plimsoll_client.models import Accepts, Agent, Model

if TYPE_CHECKING:
    from plimsoll_client.bundles import Applied, Bundle
    from plimsoll_client.mesh import Mesh

app = typer.Typer()
agents = typer.Typer(help="Agents: list, show, check a graph, and apply a folder.", no_args_is_help=True, rich_markup_mode=None)
tools = typer.Typer(help="Tools that agents may call.", no_args_is_help=True, rich_markup_mode=None)
prompts = typer.Typer(help="Prompts, their versions and labels.", no_args_is_help=True, rich_markup_mode=None)
models = typer.Typer(help="Models that can answer.", no_args_is_help=True, rich_markup_mode=None)
for group, name in ((agents, "agents"), (tools, "tools"), (prompts, "prompts"), (models, "models")):
    app.add_typer(group, name=name)
agents.command("check")(check_agents)
agents.command("dry-run")(dry_run)
prompts.command("versions")(list_versions)
prompts.command("move")(move_label)
prompts.command("override")(override_label)
prompts.command("rollback")(roll_back_label)
prompts.command("moves")(list_moves)
tools.command("register")(register_tools)
tools.command("unregister")(unregister_tool)
tools.command("versions")(list_tool_versions)
tools.command("disable")(disable_tool)
tools.command("enable")(enable_tool)
tools.command("pin")(pin_tool)
tools.command("unpin")(unpin_tool)
tools.command("accept")(accept_tool)


@agents.command("list")
def list_agents(data: Data = None, as_json: AsJson = False) -> None:
    """List the newest version of each agent."""
    found = on_mesh(data, lambda mesh: mesh.agents.list())
    rows = ((a.name, str(a.version), a.digest[:12], when(a.created_at), _takes(a.accepts), a.description) for a in found)
    made = table(("agent", "version", "digest", "registered", "takes", "what it does"), rows, right=("version",))
    print_list(found, made, as_json=as_json, empty="There are no agents. Bring some with `plimsoll agents apply DIR`.")


@agents.command("show")
def show_agent(
    name: Annotated[str, typer.Argument(metavar="AGENT", show_default=False)], data: Data = None, as_json: AsJson = False
) -> None:
    """Show an agent: what it takes, and its graph."""
    found = on_mesh(data, lambda mesh: mesh.agents.get(name))
    if as_json:
        print_json(found)
    else:
        _print_agent(found)


@agents.command("apply")
def apply_agents(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="A folder with an agent.yaml, or a folder of such folders", show_default=False)
    ],
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Bring agents into the mesh. Prompts, knowledge and graph of each; repeating it changes nothing.

    Their tools come from the same folder, by `plimsoll up --agents DIR`. Warns of tools, prompts and collections that a graph names and
    the mesh does not have. A graph in Python becomes an agent.yaml by `agent.to_yaml()`.
    """
    from plimsoll_client.bundles import read_bundles  # noqa: PLC0415 - YAML takes 40 ms, which only this command should pay

    bundles = read_bundles(directory)
    applied, warnings = on_mesh(data, lambda mesh: _apply_all(mesh, bundles))
    for warning in warnings:
        error_console().print(visible(spelled(f"warning: {warning}")), style="yellow", soft_wrap=True)
    if as_json:
        print_json(applied)
    else:
        rows = ((a.agent, _version(a), _of(a.prompts_created, a.prompts), _of(a.documents_changed, a.documents)) for a in applied)
        print_table(table(("agent", "version", "new prompts", "new or changed documents"), rows))


@tools.command("list")
def list_tools(data: Data = None, as_json: AsJson = False) -> None:
    """List the declared tools."""
    found = on_mesh(data, lambda mesh: mesh.tools.list())
    rows = ((t.name, t.version, t.category, t.effect, t.risk, t.description) for t in found)
    made = table(("tool", "version", "category", "effect", "risk", "what it does"), rows)
    print_list(found, made, as_json=as_json, empty="There are no tools. `plimsoll up --agents DIR` brings those of DIR.")


@prompts.command("list")
def list_prompts(data: Data = None, as_json: AsJson = False) -> None:
    """List the newest version of each prompt."""
    found = on_mesh(data, lambda mesh: mesh.prompts.list())
    rows = ((p.name, str(p.version), ", ".join(p.labels), ", ".join(p.draft.variables), p.draft.description) for p in found)
    made = table(("prompt", "version", "labels", "variables", "what it does"), rows, right=("version",))
    print_list(found, made, as_json=as_json, empty="There are no prompts.")


@models.command("list")
def list_models(data: Data = None, as_json: AsJson = False) -> None:
    """List the models that can answer now, the preferred one first."""
    found = on_mesh(data, lambda mesh: mesh.models.list())
    rows = ((m.provider, m.name, _price(m), "rehearsal: not a language model" if m.rehearsal else "") for m in found)
    made = table(("provider", "model", "price per million tokens", "note"), rows)
    print_list(found, made, as_json=as_json, empty="No model can answer.")


async def _apply_all(mesh: "Mesh", bundles: "tuple[Bundle, ...]") -> "tuple[list[Applied], list[str]]":
    from plimsoll_client.bundles import apply  # noqa: PLC0415 - as above

    notes = error_console()
    total = sum(len(bundle.prompts) + len(bundle.knowledge) + 1 for bundle in bundles)
    done: list[str] = []
    with notes.status("Applying") as status:

        def on_step(step: str) -> None:
            done.append(step)
            status.update(f"{len(done)} of {total}: {visible(step)}")

        applied = [await apply(mesh, bundle, on_step=on_step) for bundle in bundles]
        return applied, await missing(mesh, [bundle.graph for bundle in bundles])


def _print_agent(agent: Agent) -> None:
    out = console()
    out.print(f"{agent.name}  version {agent.version}  {agent.digest[:12]}", style="bold")
    out.print(visible(agent.description), soft_wrap=True)
    out.print(f"takes: {_takes(agent.accepts)}", soft_wrap=True)
    for title, value in (("input", agent.input_schema), ("graph", agent.graph)):
        out.print()
        out.print(title, style="bold")
        out.print(pretty(value), soft_wrap=True)


def _takes(accepts: Accepts) -> str:
    kinds = [name for name, field in (("text", accepts.text_field), ("binary", accepts.base64_field)) if field]
    return ", ".join([*kinds, "json"])


def _version(applied: "Applied") -> str:
    return f"{applied.version}{' (new)' if applied.created else ''}"


def _of(some: int, total: int) -> str:
    return f"{some} of {total}"


def _price(model: Model) -> str:
    if not model.priced:
        return "not known"
    return one_line(f"{money(model.input_price_micros)} in, {money(model.output_price_micros)} out")
