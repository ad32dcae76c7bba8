"""Versions of prompts, models and routes, and the labels that point at them."""

from collections.abc import Sequence

from plimsoll.gateway.v1 import gateway_service_pb2_grpc as rpc
from plimsoll.gateway.v1 import models_pb2 as pb
from plimsoll.model_router.v1 import registry_pb2

from plimsoll_client.calls import Calls, every
from plimsoll_client.codec.labels import entry_from_proto, kind_to_proto, move_from_proto
from plimsoll_client.labels import Entry, EntryKind, LabelMove, Moved


class Labels:
    """A protected label, such as production, moves only with the report of a passed evaluation."""

    def __init__(self, stub: "rpc.GatewayServiceAsyncStub", calls: Calls) -> None:
        self._stub = stub
        self._calls = calls

    async def versions(self, kind: EntryKind, name: str = "", *, limit: int = 50) -> Sequence[Entry]:
        """All versions of a name, newest first; without one, the newest of each."""

        async def page(size: int, token: str) -> pb.ListEntriesResponse:
            request = pb.ListEntriesRequest(kind=kind_to_proto(kind), name=name, page_size=size, page_token=token)
            return await self._calls.repeatable(self._stub.ListEntries, request)

        return [entry_from_proto(one) for one in await every(page, lambda answer: answer.entries, limit=limit)]

    async def move(self, kind: EntryKind, name: str, label: str, digest: str, *, report_digest: str = "") -> Moved:
        """Point a label at a version."""
        target = registry_pb2.EntryReference(kind=kind_to_proto(kind), name=name, digest=digest)
        request = pb.MoveLabelRequest(target=target, label=label, report_digest=report_digest)
        answer = await self._calls.repeatable(self._stub.MoveLabel, request)
        return Moved(move=move_from_proto(answer.move), moved=answer.moved)

    async def override(self, kind: EntryKind, name: str, label: str, digest: str, *, reason: str) -> Moved:
        """Point a protected label at a version without a report. Who did so, and why, is recorded."""
        target = registry_pb2.EntryReference(kind=kind_to_proto(kind), name=name, digest=digest)
        answer = await self._calls.repeatable(self._stub.OverrideLabel, pb.OverrideLabelRequest(target=target, label=label, reason=reason))
        return Moved(move=move_from_proto(answer.move), moved=answer.moved)

    async def roll_back(self, kind: EntryKind, name: str, label: str, *, reason: str = "") -> LabelMove:
        """Point a label back at what it had pointed at before. Twice goes back two, so it is not repeated."""
        request = pb.RollBackLabelRequest(kind=kind_to_proto(kind), name=name, label=label, reason=reason)
        return move_from_proto((await self._calls.once(self._stub.RollBackLabel, request)).move)

    async def moves(self, kind: EntryKind, name: str = "", *, limit: int = 50) -> Sequence[LabelMove]:
        """How labels moved, newest first."""

        async def page(size: int, token: str) -> pb.ListLabelMovesResponse:
            request = pb.ListLabelMovesRequest(kind=kind_to_proto(kind), name=name, page_size=size, page_token=token)
            return await self._calls.repeatable(self._stub.ListLabelMoves, request)

        return [move_from_proto(one) for one in await every(page, lambda answer: answer.moves, limit=limit)]
