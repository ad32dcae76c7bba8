"""The registry while it runs: what sources offer and what was registered, under what operators decided, seen alike by all replicas."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from plimsoll_runtime.errors import FieldProblem, PlimsollError
from plimsoll_runtime.json_types import JsonObject, JsonValue
from plimsoll_runtime.logs import Log

from plimsoll_tool_dispatcher.domain.declaration import Place, read_tool
from plimsoll_tool_dispatcher.domain.definition import tool_of
from plimsoll_tool_dispatcher.domain.fields import Fields
from plimsoll_tool_dispatcher.domain.registry import (
    REGISTERED,
    SHARED,
    KeptVersion,
    Names,
    Offered,
    Offering,
    Operation,
    Resolved,
    Standing,
    View,
    laxer,
    operation_of,
    resolve,
)
from plimsoll_tool_dispatcher.domain.sources import PythonSource, Source, read_source
from plimsoll_tool_dispatcher.domain.tool import Tool
from plimsoll_tool_dispatcher.errors import InvalidTools, ToolNotFound
from plimsoll_tool_dispatcher.ports import Shelved, ToolShelf

_LOOK_S = 1.0
_MOST_AT_ONCE = 200


class ToolCatalogue:
    """Finds are look-ups in a view that is made anew when something changes; nothing waits for the database on the way of a call."""

    def __init__(self, shelf: ToolShelf, log: Log) -> None:
        self._shelf = shelf
        self._log = log
        self._offerings: dict[str, Offering] = {}
        self._shelved = Shelved(revision=-1, standings={}, pinned=(), registered=())
        self._view = View()

    def find(self, tenant: str, name: str) -> Resolved:
        return self._view.find(tenant, name)

    def list(self, tenant: str) -> Sequence[Tool]:
        return [found for found in self._view.list(tenant) if isinstance(found, Tool)]

    async def offer(self, offering: Offering) -> None:
        """Also when the database is away: the tools count at once, and their versions are kept when it is back."""
        known = self._offerings.get(offering.origin)
        if known == offering:
            return
        self._offerings[offering.origin] = offering
        self._rebuild()
        try:
            await self._keep(offering)
        except PlimsollError as error:
            self._log.warning("tools.not_kept", {"origin": offering.origin, "reason": error.reason})
            self._shelved = Shelved(revision=-1, standings=self._shelved.standings, pinned=(), registered=self._shelved.registered)

    async def withdraw(self, origin: str) -> None:
        if self._offerings.pop(origin, None) is not None:
            self._rebuild()

    async def register(self, tenant: str, entries: Sequence[JsonValue], by: str) -> Sequence[Tool]:
        """Tools in neutral form, each with a `source`. All of them or none: raises InvalidTools with every mistake."""
        problems: list[FieldProblem] = []
        if not 1 <= len(entries) <= _MOST_AT_ONCE:
            problems.append(FieldProblem("tools", f"are {len(entries)}", f"send 1 to {_MOST_AT_ONCE}"))
        tools = [_registered(f"tools[{index}]", entry, tenant, problems) for index, entry in enumerate(entries[:_MOST_AT_ONCE])]
        models = self._models()
        for index, tool in enumerate(tools):
            model = models.get(operation_of(tool) or ("", "", "")) if tool is not None else None
            if tool is not None and model is not None and model.tenant in {SHARED, tenant}:
                problems += [FieldProblem(f"tools[{index}].{one.field}", one.problem, one.remedy) for one in laxer(tool, model)]
        if problems:
            raise InvalidTools(problems=problems)
        made = [tool for tool in tools if tool is not None]
        await self._shelf.register(made, by)
        await self.refresh()
        return made

    def warnings(self, tools: Sequence[Tool]) -> Sequence[FieldProblem]:
        """What those who registered these tools should know: where one cannot run now, and what of its calls is never sent."""
        found: list[FieldProblem] = []
        for index, tool in enumerate(tools):
            if isinstance(tool.source, PythonSource):
                continue
            where, kind = f"tools[{index}].source", tool.source.identity()["kind"]
            offering = self._offerings.get(f"{kind}:{tool.source.source}")
            if offering is None or offering.tenant not in {SHARED, tool.tenant}:
                remedy = f"declare it in sources/{tool.source.source}.yaml of a directory of tools"
                found.append(FieldProblem(f"{where}.source", f"is no {kind} source that runs here now: calls will fail", remedy))
                continue
            names = {one.source.tool for one in offering.tools if not isinstance(one.source, PythonSource)}
            if tool.source.tool not in names:
                found.append(
                    FieldProblem(
                        f"{where}.tool", "is not offered by the source now: calls will fail", "name one that is, as the source does"
                    )
                )
            notes = offering.notes.get(tool.source.tool, ())
            found += [FieldProblem(f"{where}.tool", note.problem, note.remedy) for note in notes]
        return found

    async def unregister(self, tenant: str, name: str, by: str) -> None:
        """Raises ToolNotFound."""
        if not await self._shelf.unregister(tenant, name, by):
            raise ToolNotFound(f"no tool named {name[:80]!r} was registered here")
        await self.refresh()

    async def decide(self, tenant: str, name: str, standing: Standing, by: str) -> None:
        """Disable, pin or accept a tool. Raises ToolNotFound for a name, InvalidTools for a version that never was."""
        known = await self._shelf.versions(tenant, name)
        if not known and self.find(tenant, name) is None:
            raise ToolNotFound(f"no tool is named {name[:80]!r}")
        digests = {version.digest for version in known}
        wrong = [field for field, value in (("pinned", standing.pinned), ("accepted", standing.accepted)) if value and value not in digests]
        if wrong:
            remedy = "name the digest of a version that was offered"
            raise InvalidTools(problems=[FieldProblem(field, "is no version of this tool", remedy) for field in wrong])
        await self._shelf.decide(tenant, name, standing, by)
        self._log.info("tool.decided", {"tenant": tenant, "tool": name, "disabled": standing.disabled, "pinned": standing.pinned, "by": by})
        await self.refresh()

    async def versions(self, tenant: str, name: str) -> Sequence[KeptVersion]:
        """Every version of a name, newest first."""
        return await self._shelf.versions(tenant, name)

    def standing(self, tenant: str, name: str) -> Standing:
        """What was decided about a name."""
        return self._shelved.standings.get((tenant, name), Standing())

    async def refresh(self) -> None:
        """Take over what was decided and registered, here or at another replica."""
        self._shelved = await self._shelf.load()
        self._rebuild()

    async def follow(self, stop: asyncio.Event) -> None:
        """Until `stop`: look whether something was decided or registered elsewhere."""
        while not stop.is_set():
            try:
                if await self._shelf.revision() != self._shelved.revision:
                    if self._shelved.revision < 0:
                        for offering in list(self._offerings.values()):
                            await self._keep(offering)
                    await self.refresh()
            except PlimsollError as error:
                self._log.warning("tools.not_followed", {"reason": error.reason})
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await stop.wait()

    async def _keep(self, offering: Offering) -> None:
        await self._shelf.keep(offering.tools, first_accepted=not offering.trusted)
        await self.refresh()

    def _rebuild(self) -> None:
        offered = self._offered()
        versions = {}
        for definition in self._shelved.pinned:
            present = offered.get((str(definition.get("tenant")), _name(definition)))
            tool = tool_of(definition, present.tool.source if present else None)
            if tool is not None:
                versions[tool.tenant, tool.name, tool.digest] = tool
        self._view = resolve(offered, self._shelved.standings, versions, self._models())

    def _models(self) -> dict[Operation, Tool]:
        """The tools of sources, as these offer them."""
        operations = ((operation_of(tool), tool) for offering in self._offerings.values() for tool in offering.tools)
        return {operation: tool for operation, tool in operations if operation is not None}

    def _offered(self) -> dict[Names, Offered]:
        """By tenant and name; a name belongs to the origin that has it already, in the order in which they came."""
        offered: dict[Names, Offered] = {}
        for definition in self._shelved.registered:
            tool = tool_of(definition, None)
            if tool is not None:
                offered[tool.tenant, tool.name] = Offered(tool=tool)
        for offering in self._offerings.values():
            for tool in offering.tools:
                taken = offered.setdefault((tool.tenant, tool.name), Offered(tool=tool, trusted=offering.trusted))
                if taken.tool is not tool:
                    words = {"tool": tool.name, "origin": offering.origin, "taken_by": taken.tool.origin}
                    self._log.error("tools.name_taken", words | {"remedy": "rename one of the two tools"})
        return offered


def _registered(where: str, entry: JsonValue, tenant: str, problems: list[FieldProblem]) -> Tool | None:
    """An entry as in a file, with the keys category, credentials and source beside it."""
    if not isinstance(entry, dict):
        problems.append(FieldProblem(where, "is not an object", "send {name:, version:, source: {…}, …}"))
        return None
    source = _source(where, entry, problems)
    own = {"category": entry.get("category", "registered"), "credentials": entry.get("credentials", [])}
    fields = Fields(where, own, problems, ("category", "credentials"))
    place = (
        Place(
            category=fields.text("category", r"[a-z][a-z0-9_]{0,62}", "write a name such as accounts"),
            credentials=fields.names("credentials", r"[a-z][a-z0-9_]{0,62}", "list names of secrets"),
            source=source,
            origin=REGISTERED,
            tenant=tenant,
        )
        if source is not None
        else None
    )
    rest: JsonObject = {name: value for name, value in entry.items() if name not in {"source", "category", "credentials"}}
    return read_tool(where, rest, place, problems) if place is not None else None


def _source(where: str, entry: JsonObject, problems: list[FieldProblem]) -> Source | None:
    if entry.get("source") is None:
        problems.append(
            FieldProblem(f"{where}.source", "is missing", "say where it runs: {kind: http | host | mcp, source: NAME, tool: NAME}")
        )
    return read_source(Fields(where, entry, problems, tuple(entry)))


def _name(definition: JsonObject) -> str:
    tool = definition.get("tool")
    return str(tool.get("name")) if isinstance(tool, dict) else ""
