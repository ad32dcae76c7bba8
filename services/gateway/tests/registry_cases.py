"""What the router is asked of its registry: one case per method."""

from gateway_cases import Case
from plimsoll.model_router.v1 import model_router_service_pb2 as pb
from plimsoll.model_router.v1 import registry_pb2

PROMPT = registry_pb2.ENTRY_KIND_PROMPT
MOVE = registry_pb2.LabelMove(kind=PROMPT, name="answer", label="production", to_version=2, grounds=registry_pb2.MOVE_GROUNDS_REPORT)

REGISTRY = [
    Case(
        method="RegisterPrompt",
        http="POST",
        path="/v1/prompts",
        body={"prompt": {"name": "p", "examples": [{"user": "u", "assistant": {"a": 1}}]}, "labels": ["production"]},
        service="model_router",
        heard=pb.RegisterPromptRequest(
            prompt={"name": "p", "examples": [{"user": "u", "assistant": {"text": '{"a":1}'}}]}, labels=["production"]
        ),
        answer=pb.RegisterPromptResponse(prompt={"name": "p"}, created=True),
        shows={"created": True},
    ),
    Case(
        method="GetPrompt",
        http="GET",
        path="/v1/prompts/p",
        service="model_router",
        heard=pb.GetPromptRequest(reference={"name": "p", "label": "production"}),
        answer=pb.GetPromptResponse(prompt={"name": "p"}),
        shows={"prompt.name": "p"},
    ),
    Case(
        method="ListPrompts",
        http="GET",
        path="/v1/prompts?pageSize=2&pageToken=t",
        service="model_router",
        heard=pb.ListPromptsRequest(page_size=2, page_token="t"),
        answer=pb.ListPromptsResponse(prompts=[{"name": "p"}], next_page_token="u"),
        shows={"prompts.0.name": "p", "nextPageToken": "u"},
    ),
    Case(
        method="ListModels",
        http="GET",
        path="/v1/models",
        service="model_router",
        heard=pb.ListModelsRequest(),
        answer=pb.ListModelsResponse(models=[{"name": "rehearsal", "rehearsal": True}]),
        shows={"models.0.rehearsal": True},
    ),
    Case(
        method="ListEntries",
        http="GET",
        path="/v1/entries?kind=ENTRY_KIND_PROMPT&name=answer&pageSize=2&pageToken=3",
        service="model_router",
        heard=pb.ListEntriesRequest(kind=PROMPT, name="answer", page_size=2, page_token="3"),
        answer=pb.ListEntriesResponse(entries=[{"kind": PROMPT, "version": 2, "digest": "d2"}], next_page_token="2"),
        shows={"entries.0.version": "2", "entries.0.digest": "d2", "nextPageToken": "2"},
    ),
    Case(
        method="MoveLabel",
        http="POST",
        path="/v1/labels:move",
        body={
            "target": {"kind": "ENTRY_KIND_PROMPT", "name": "answer", "digest": "d2"},
            "label": "production",
            "reportDigest": "r",
        },
        service="model_router",
        heard=pb.MoveLabelRequest(target={"kind": PROMPT, "name": "answer", "digest": "d2"}, label="production", report_digest="r"),
        answer=pb.MoveLabelResponse(move=MOVE, moved=True),
        shows={"move.grounds": "MOVE_GROUNDS_REPORT", "moved": True},
    ),
    Case(
        method="OverrideLabel",
        http="POST",
        path="/v1/labels:override",
        body={
            "target": {"kind": "ENTRY_KIND_PROMPT", "name": "answer", "digest": "d2"},
            "label": "production",
            "reason": "the old one insults people",
        },
        service="model_router",
        heard=pb.OverrideLabelRequest(
            target={"kind": PROMPT, "name": "answer", "digest": "d2"}, label="production", reason="the old one insults people"
        ),
        answer=pb.OverrideLabelResponse(move=MOVE, moved=True),
        shows={"move.toVersion": "2", "moved": True},
    ),
    Case(
        method="RollBackLabel",
        http="POST",
        path="/v1/labels:rollback",
        body={"kind": "ENTRY_KIND_PROMPT", "name": "answer", "label": "production", "reason": "worse"},
        service="model_router",
        heard=pb.RollBackLabelRequest(kind=PROMPT, name="answer", label="production", reason="worse"),
        answer=pb.RollBackLabelResponse(move=MOVE),
        shows={"move.toVersion": "2"},
    ),
    Case(
        method="ListLabelMoves",
        http="GET",
        path="/v1/labels:moves?kind=ENTRY_KIND_PROMPT&name=answer&pageSize=2&pageToken=3",
        service="model_router",
        heard=pb.ListLabelMovesRequest(kind=PROMPT, name="answer", page_size=2, page_token="3"),
        answer=pb.ListLabelMovesResponse(moves=[MOVE], next_page_token="2"),
        shows={"moves.0.name": "answer", "nextPageToken": "2"},
    ),
]
