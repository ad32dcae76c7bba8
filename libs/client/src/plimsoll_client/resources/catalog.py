"""What runs are made of: agents, tools, prompts, models."""

from collections.abc import Sequence

from plimsoll.gateway.v1 import agents_pb2, models_pb2, tools_pb2
from plimsoll.gateway.v1 import gateway_service_pb2_grpc as rpc
from plimsoll_runtime.json_types import JsonObject
from plimsoll_runtime.wire import json_to_proto

from plimsoll_client.calls import Calls, every
from plimsoll_client.codec.catalog import agent_from_proto, model_from_proto, prompt_from_proto, prompt_to_proto, tool_from_proto
from plimsoll_client.codec.plans import checked_from_proto
from plimsoll_client.codec.toolbox import history_from_proto, registered_from_proto, standing_to_proto
from plimsoll_client.models import Agent, CheckedAgent, Model, Prompt, PromptDraft, RegisteredAgent, RegisteredPrompt, Tool
from plimsoll_client.toolbox import RegisteredTools, ToolHistory, ToolStanding


class Agents:
    """Named and versioned graphs."""

    def __init__(self, stub: "rpc.GatewayServiceAsyncStub", calls: Calls) -> None:
        self._stub = stub
        self._calls = calls

    async def register(self, source: str, *, source_name: str = "") -> RegisteredAgent:
        """Register a graph from its YAML or JSON text. Raises Invalid with every mistake; the old version stays."""
        request = agents_pb2.RegisterAgentRequest(source=source, source_name=source_name)
        answer = await self._calls.repeatable(self._stub.RegisterAgent, request)
        return RegisteredAgent(agent=agent_from_proto(answer.agent), created=answer.created)

    async def get(self, name: str) -> Agent:
        """The newest version, with its graph."""
        answer = await self._calls.repeatable(self._stub.GetAgent, agents_pb2.GetAgentRequest(name=name))
        return agent_from_proto(answer.agent)

    async def list(self, *, limit: int = 1000) -> list[Agent]:
        """The newest version of each, without graphs."""

        async def page(size: int, token: str) -> agents_pb2.ListAgentsResponse:
            return await self._calls.repeatable(self._stub.ListAgents, agents_pb2.ListAgentsRequest(page_size=size, page_token=token))

        return [agent_from_proto(message) for message in await every(page, lambda answer: answer.agents, limit=limit)]

    async def check(self, source: str, *, source_name: str = "") -> CheckedAgent:
        """Say what registering a graph would do, without doing it: its mistakes, and the unfinished runs that it would break."""
        request = agents_pb2.CheckAgentRequest(source=source, source_name=source_name)
        return checked_from_proto(await self._calls.repeatable(self._stub.CheckAgent, request))


class Tools:
    """Declared tools."""

    def __init__(self, stub: "rpc.GatewayServiceAsyncStub", calls: Calls) -> None:
        self._stub = stub
        self._calls = calls

    async def list(self) -> list[Tool]:
        """All of them."""
        answer = await self._calls.repeatable(self._stub.ListTools, tools_pb2.ListToolsRequest())
        return [tool_from_proto(message) for message in answer.tools]

    async def get(self, name: str) -> Tool:
        """One by name."""
        answer = await self._calls.repeatable(self._stub.GetTool, tools_pb2.GetToolRequest(name=name))
        return tool_from_proto(answer.tool)

    async def register(self, declarations: Sequence[JsonObject]) -> RegisteredTools:
        """Register tools of the tenant while the mesh runs, all of them or none; a name that was registered before means the new version.

        Each as a tool file declares it, with `source: {kind, source, tool}`. Raises Invalid with every mistake.
        """
        request = tools_pb2.RegisterToolsRequest(tools=map(json_to_proto, declarations))
        return registered_from_proto(await self._calls.repeatable(self._stub.RegisterTools, request))

    async def unregister(self, name: str) -> None:
        """Take a registered tool away; its versions stay known."""
        await self._calls.repeatable(self._stub.UnregisterTool, tools_pb2.UnregisterToolRequest(name=name))

    async def history(self, name: str) -> ToolHistory:
        """Every version that was ever offered, and what was decided about the name."""
        answer = await self._calls.repeatable(self._stub.ListToolVersions, tools_pb2.ListToolVersionsRequest(name=name))
        return history_from_proto(answer)

    async def decide(self, name: str, standing: ToolStanding) -> None:
        """Disable, pin or accept a tool; replaces what was decided before, and holds everywhere within about a second."""
        request = tools_pb2.SetToolStandingRequest(name=name, standing=standing_to_proto(standing))
        await self._calls.repeatable(self._stub.SetToolStanding, request)


class Prompts:
    """Immutable prompt versions with labels."""

    def __init__(self, stub: "rpc.GatewayServiceAsyncStub", calls: Calls) -> None:
        self._stub = stub
        self._calls = calls

    async def register(self, draft: PromptDraft, *, labels: tuple[str, ...] = ()) -> RegisteredPrompt:
        """Register a version and move `labels` to it; the same content again returns the version that exists."""
        request = models_pb2.RegisterPromptRequest(prompt=prompt_to_proto(draft), labels=labels)
        answer = await self._calls.repeatable(self._stub.RegisterPrompt, request)
        return RegisteredPrompt(prompt=prompt_from_proto(answer.prompt), created=answer.created)

    async def get(self, name: str, *, label: str = "production") -> Prompt:
        """The version that `label` points at."""
        answer = await self._calls.repeatable(self._stub.GetPrompt, models_pb2.GetPromptRequest(name=name, label=label))
        return prompt_from_proto(answer.prompt)

    async def list(self, *, limit: int = 1000) -> list[Prompt]:
        """The newest version of each."""

        async def page(size: int, token: str) -> models_pb2.ListPromptsResponse:
            return await self._calls.repeatable(self._stub.ListPrompts, models_pb2.ListPromptsRequest(page_size=size, page_token=token))

        return [prompt_from_proto(message) for message in await every(page, lambda answer: answer.prompts, limit=limit)]


class Models:
    """The models that can answer."""

    def __init__(self, stub: "rpc.GatewayServiceAsyncStub", calls: Calls) -> None:
        self._stub = stub
        self._calls = calls

    async def list(self) -> list[Model]:
        """Those that can answer now, in the order of preference."""
        answer = await self._calls.repeatable(self._stub.ListModels, models_pb2.ListModelsRequest())
        return [model_from_proto(message) for message in answer.models]
