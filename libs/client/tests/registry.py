# ruff: noqa: N802 - gRPC names the methods
"""The part of the fake gateway that keeps versions and labels of prompts: production needs the report `r1`."""

from typing import Any

from plimsoll.gateway.v1 import models_pb2
from plimsoll.model_router.v1 import registry_pb2
from plimsoll_runtime.errors import Denied, FieldProblem, Invalid, NotFound

Context = Any


class FakeRegistry:
    """`versions` are digests, the oldest first; `points_at` is where labels point."""

    async def _enter(self, method: str, context: Context) -> None: ...
    async def _refuse(self, context: Context, error: Exception) -> None: ...

    def __init__(self) -> None:
        super().__init__()
        self.versions: list[str] = []
        self.points_at: dict[str, int] = {}
        self.label_moves: list[registry_pb2.LabelMove] = []

    async def ListEntries(self, request: models_pb2.ListEntriesRequest, context: Context) -> models_pb2.ListEntriesResponse:
        await self._enter("ListEntries", context)
        told = models_pb2.ListEntriesResponse()
        for version, digest in reversed(list(enumerate(self.versions, start=1))):
            labels = [label for label, at in self.points_at.items() if at == version]
            told.entries.add(kind=request.kind, name=request.name, version=version, digest=digest, labels=labels)
        return told

    async def MoveLabel(self, request: models_pb2.MoveLabelRequest, context: Context) -> models_pb2.MoveLabelResponse:
        await self._enter("MoveLabel", context)
        if request.target.digest not in self.versions:
            await self._refuse(context, NotFound("no version has this digest", reason="ENTRY_NOT_FOUND"))
        if request.label == "production" and request.report_digest != "r1":
            await self._refuse(context, Denied("production is protected", reason="LABEL_PROTECTED"))
        version = self.versions.index(request.target.digest) + 1
        moved = self.points_at.get(request.label) != version
        return models_pb2.MoveLabelResponse(move=self._moved(request.target.name, request.label, version), moved=moved)

    async def OverrideLabel(self, request: models_pb2.OverrideLabelRequest, context: Context) -> models_pb2.OverrideLabelResponse:
        await self._enter("OverrideLabel", context)
        if not request.reason.strip():
            problem = FieldProblem("reason", "is empty", "say why, for those who read the record")
            await self._refuse(context, Invalid(problems=(problem,), reason="INVALID_LABEL"))
        version = self.versions.index(request.target.digest) + 1
        moved = self.points_at.get(request.label) != version
        move = self._moved(request.target.name, request.label, version)
        move.reason, move.grounds = request.reason, registry_pb2.MOVE_GROUNDS_OVERRIDE
        return models_pb2.OverrideLabelResponse(move=move, moved=moved)

    async def RollBackLabel(self, request: models_pb2.RollBackLabelRequest, context: Context) -> models_pb2.RollBackLabelResponse:
        await self._enter("RollBackLabel", context)
        move = self._moved(request.name, request.label, self.points_at[request.label] - 1)
        move.reason, move.grounds = request.reason, registry_pb2.MOVE_GROUNDS_ROLLBACK
        return models_pb2.RollBackLabelResponse(move=move)

    async def ListLabelMoves(self, _: models_pb2.ListLabelMovesRequest, context: Context) -> models_pb2.ListLabelMovesResponse:
        await self._enter("ListLabelMoves", context)
        return models_pb2.ListLabelMovesResponse(moves=reversed(self.label_moves))

    def _moved(self, name: str, label: str, version: int) -> registry_pb2.LabelMove:
        move = registry_pb2.LabelMove(
            kind=registry_pb2.ENTRY_KIND_PROMPT,
            name=name,
            label=label,
            from_version=self.points_at.get(label, 0),
            to_version=version,
            grounds=registry_pb2.MOVE_GROUNDS_REPORT,
            moved_by="console (key_1)",
        )
        self.points_at[label] = version
        self.label_moves.append(move)
        return move
