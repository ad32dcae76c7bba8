"""What the dispatcher is asked about tools: one case per method."""

from gateway_cases import Case
from plimsoll.tool_dispatcher.v1 import tool_dispatcher_service_pb2 as pb

TOOLS = [
    Case(
        method="ListTools",
        http="GET",
        path="/v1/tools",
        service="tool_dispatcher",
        heard=pb.ListToolsRequest(),
        answer=pb.ListToolsResponse(tools=[{"name": "refund"}]),
        shows={"tools.0.name": "refund"},
    ),
    Case(
        method="GetTool",
        http="GET",
        path="/v1/tools/refund",
        service="tool_dispatcher",
        heard=pb.GetToolRequest(name="refund"),
        answer=pb.GetToolResponse(tool={"name": "refund", "timeout": {"seconds": 5}}),
        shows={"tool.timeout": "5s"},
    ),
    Case(
        method="RegisterTools",
        http="POST",
        path="/v1/tools",
        body={"tools": [{"name": "rates", "source": {"kind": "http", "source": "bank", "tool": "getRates"}}]},
        service="tool_dispatcher",
        heard=pb.RegisterToolsRequest(
            tools=[{"text": '{"name":"rates","source":{"kind":"http","source":"bank","tool":"getRates"}}'}],
        ),
        answer=pb.RegisterToolsResponse(tools=[{"name": "rates"}], warnings=[{"field": "tools[0].source.tool", "problem": "p"}]),
        shows={"tools.0.name": "rates", "warnings.0.field": "tools[0].source.tool"},
    ),
    Case(
        method="UnregisterTool",
        http="DELETE",
        path="/v1/tools/rates",
        service="tool_dispatcher",
        heard=pb.UnregisterToolRequest(name="rates"),
        answer=pb.UnregisterToolResponse(),
        shows={},
    ),
    Case(
        method="ListToolVersions",
        http="GET",
        path="/v1/tools/rates/versions",
        service="tool_dispatcher",
        heard=pb.ListToolVersionsRequest(name="rates"),
        answer=pb.ListToolVersionsResponse(versions=[{"name": "rates", "digest": "d2"}], standing={"disabled": True}),
        shows={"versions.0.digest": "d2", "standing.disabled": True},
    ),
    Case(
        method="SetToolStanding",
        http="PUT",
        path="/v1/tools/rates/standing",
        body={"disabled": True, "pinnedDigest": "d1"},
        service="tool_dispatcher",
        heard=pb.SetToolStandingRequest(name="rates", standing={"disabled": True, "pinned_digest": "d1"}),
        answer=pb.SetToolStandingResponse(),
        shows={},
    ),
]
