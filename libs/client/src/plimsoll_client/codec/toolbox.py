"""proto ↔ what a tenant decides about its tools."""

from plimsoll.gateway.v1 import tools_pb2
from plimsoll.tool_dispatcher.v1 import tool_pb2
from plimsoll_runtime.wire import timestamp_from_proto

from plimsoll_client.codec.catalog import tool_from_proto
from plimsoll_client.toolbox import RegisteredTools, ToolHistory, ToolStanding, ToolVersion, ToolWarning


def registered_from_proto(message: tools_pb2.RegisterToolsResponse) -> RegisteredTools:
    return RegisteredTools(
        tools=tuple(map(tool_from_proto, message.tools)),
        warnings=tuple(ToolWarning(field=one.field, problem=one.problem, remedy=one.remedy) for one in message.warnings),
    )


def history_from_proto(message: tools_pb2.ListToolVersionsResponse) -> ToolHistory:
    standing = message.standing
    return ToolHistory(
        versions=tuple(map(_version_from_proto, message.versions)),
        standing=ToolStanding(disabled=standing.disabled, pinned=standing.pinned_digest, accepted=standing.accepted_digest),
    )


def standing_to_proto(standing: ToolStanding) -> tool_pb2.ToolStanding:
    return tool_pb2.ToolStanding(disabled=standing.disabled, pinned_digest=standing.pinned, accepted_digest=standing.accepted)


def _version_from_proto(message: tool_pb2.ToolVersion) -> ToolVersion:
    return ToolVersion(
        name=message.name,
        version=message.version,
        digest=message.digest,
        origin=message.origin,
        shared=message.shared,
        registered_at=timestamp_from_proto(message.register_time),
    )
