# ruff: noqa: N802 - gRPC names the methods
"""The part of the fake gateway that keeps documents, conversations and labelled queries."""

from typing import TYPE_CHECKING, Any

from plimsoll.gateway.v1 import memory_pb2
from plimsoll.memory.v1 import conversation_pb2, document_pb2, quality_pb2

Context = Any
_PART = 1024 * 1024


class FakeKnowledge:
    """`uploads` holds what came in pieces; `lost` counts calls whose answer does not arrive; `taken_at_most` bounds what a call takes."""

    if TYPE_CHECKING:

        async def _enter(self, method: str, context: Context) -> None: ...

    def __init__(self) -> None:
        super().__init__()
        self.documents: dict[tuple[str, str], memory_pb2.IngestDocumentRequest] = {}
        self.uploads: dict[tuple[str, str, str], bytearray] = {}
        self.deleted: list[tuple[str, str]] = []
        self.searched: list[memory_pb2.SearchCollectionRequest] = []
        self.evaluated: list[memory_pb2.EvaluateCollectionRequest] = []
        self.configured: list[memory_pb2.ConfigureCollectionRequest] = []
        self.query_sets: dict[str, quality_pb2.QuerySet] = {}
        self.forgotten: list[memory_pb2.ForgetMemoryRequest] = []
        self.reported: list[memory_pb2.ReportUseRequest] = []
        self.taken_at_most = _PART * 1024

    async def UploadDocument(self, request: memory_pb2.UploadDocumentRequest, context: Context) -> memory_pb2.UploadDocumentResponse:
        await self._enter("UploadDocument", context)
        kept = self.uploads.setdefault((request.collection, request.source, request.upload_key), bytearray())
        if request.offset <= len(kept):
            kept += request.content[len(kept) - request.offset :][: self.taken_at_most]
        done = request.last and len(kept) == request.offset + len(request.content)
        return memory_pb2.UploadDocumentResponse(offset=len(kept), documents=len(kept) // _PART + 1, chunks=7, changed=1, done=done)

    async def ConfigureCollection(
        self, request: memory_pb2.ConfigureCollectionRequest, context: Context
    ) -> memory_pb2.ConfigureCollectionResponse:
        await self._enter("ConfigureCollection", context)
        self.configured.append(request)
        collection = document_pb2.Collection(
            name=request.collection, embedder="old-1", next_embedder=request.embedder, chunks=4, reembedded=1
        )
        return memory_pb2.ConfigureCollectionResponse(collection=collection)

    async def DeleteCollection(self, request: memory_pb2.DeleteCollectionRequest, context: Context) -> memory_pb2.DeleteCollectionResponse:
        await self._enter("DeleteCollection", context)
        self.deleted.append((request.collection, ""))
        return memory_pb2.DeleteCollectionResponse(documents=3)

    async def GetCollectionQuality(
        self, request: memory_pb2.GetCollectionQualityRequest, context: Context
    ) -> memory_pb2.GetCollectionQualityResponse:
        await self._enter("GetCollectionQuality", context)
        window = quality_pb2.QualityWindow(searches=9, empty=0.25, best_similarity=0.5, reported=4, used=0.5)
        drift = quality_pb2.Drift(signal="empty", baseline=0.01, value=0.25, sigmas=7.5, searches=9)
        return memory_pb2.GetCollectionQualityResponse(windows=[window], drifts=[drift])

    async def ReportUse(self, request: memory_pb2.ReportUseRequest, context: Context) -> memory_pb2.ReportUseResponse:
        await self._enter("ReportUse", context)
        self.reported.append(request)
        return memory_pb2.ReportUseResponse(passages=5, used=len(request.chunk_ids))

    async def PutQuerySet(self, request: memory_pb2.PutQuerySetRequest, context: Context) -> memory_pb2.PutQuerySetResponse:
        await self._enter("PutQuerySet", context)
        self.query_sets[request.name] = request.query_set
        return memory_pb2.PutQuerySetResponse(query_set=_summary(request.name, request.query_set))

    async def ListQuerySets(self, request: memory_pb2.ListQuerySetsRequest, context: Context) -> memory_pb2.ListQuerySetsResponse:
        await self._enter("ListQuerySets", context)
        return memory_pb2.ListQuerySetsResponse(query_sets=[_summary(name, kept) for name, kept in self.query_sets.items()])

    async def DeleteQuerySet(self, request: memory_pb2.DeleteQuerySetRequest, context: Context) -> memory_pb2.DeleteQuerySetResponse:
        await self._enter("DeleteQuerySet", context)
        del self.query_sets[request.name]
        return memory_pb2.DeleteQuerySetResponse()

    async def ReadThreadMemory(self, request: memory_pb2.ReadThreadMemoryRequest, context: Context) -> memory_pb2.ReadThreadMemoryResponse:
        await self._enter("ReadThreadMemory", context)
        return memory_pb2.ReadThreadMemoryResponse(
            turns=[conversation_pb2.Turn(number=3, origin=conversation_pb2.ORIGIN_USER, text="Where is my parcel?")],
            summary=conversation_pb2.Summary(text="Ada ordered a lamp.", through_turn=2),
            facts=[FACT],
            turns_total=3,
            tokens=40,
        )

    async def ListFacts(self, request: memory_pb2.ListFactsRequest, context: Context) -> memory_pb2.ListFactsResponse:
        await self._enter("ListFacts", context)
        return memory_pb2.ListFactsResponse(facts=[FACT] if "ada" in {request.subject, request.thread_id} else [])

    async def ForgetMemory(self, request: memory_pb2.ForgetMemoryRequest, context: Context) -> memory_pb2.ForgetMemoryResponse:
        await self._enter("ForgetMemory", context)
        self.forgotten.append(request)
        return memory_pb2.ForgetMemoryResponse(turns=4, facts=2)

    async def IngestDocument(self, request: memory_pb2.IngestDocumentRequest, context: Context) -> memory_pb2.IngestDocumentResponse:
        await self._enter("IngestDocument", context)
        key = (request.collection, request.source)
        changed = self.documents.get(key) != request
        self.documents[key] = request
        document = document_pb2.Document(collection=request.collection, source=request.source, version=1, chunks=1)
        return memory_pb2.IngestDocumentResponse(document=document, changed=changed)

    async def SearchCollection(self, request: memory_pb2.SearchCollectionRequest, context: Context) -> memory_pb2.SearchCollectionResponse:
        await self._enter("SearchCollection", context)
        self.searched.append(request)
        found = [kept for (collection, _), kept in self.documents.items() if collection == request.collection]
        passages = [document_pb2.Passage(source=kept.source, text=kept.content.decode(), score=0.5) for kept in found[: request.limit]]
        return memory_pb2.SearchCollectionResponse(
            passages=passages, receipt=document_pb2.Receipt(requested=request.limit, returned=len(passages))
        )

    async def EvaluateCollection(
        self, request: memory_pb2.EvaluateCollectionRequest, context: Context
    ) -> memory_pb2.EvaluateCollectionResponse:
        await self._enter("EvaluateCollection", context)
        self.evaluated.append(request)
        evaluation = quality_pb2.Evaluation(
            collection=request.collection,
            embedder="latent-128-v1.1",
            queries=len(request.queries),
            measures=[quality_pb2.Measure(name="ndcg", k=10, value=0.5, low=0.4, high=0.6)],
            worst=[quality_pb2.QueryOutcome(query_id="1")],
            left_out=["2: nothing is judged relevant"],
        )
        if request.HasField("baseline"):
            evaluation.comparisons.add(name="ndcg", k=10, difference=0.1, low=0.05, high=0.2, wins=3, verdict="better")
        return memory_pb2.EvaluateCollectionResponse(evaluation=evaluation)

    async def ListCollections(self, request: memory_pb2.ListCollectionsRequest, context: Context) -> memory_pb2.ListCollectionsResponse:
        await self._enter("ListCollections", context)
        return memory_pb2.ListCollectionsResponse(
            collections=[document_pb2.Collection(name=name) for name in {key[0] for key in self.documents}]
        )

    async def ListDocuments(self, request: memory_pb2.ListDocumentsRequest, context: Context) -> memory_pb2.ListDocumentsResponse:
        await self._enter("ListDocuments", context)
        documents = [
            document_pb2.Document(document_id=f"doc_{number}", collection=collection, source=source)
            for number, (collection, source) in enumerate(self.documents)
            if collection == request.collection
        ]
        return memory_pb2.ListDocumentsResponse(documents=documents)

    async def DeleteDocument(self, request: memory_pb2.DeleteDocumentRequest, context: Context) -> memory_pb2.DeleteDocumentResponse:
        await self._enter("DeleteDocument", context)
        self.deleted.append((request.collection, request.document_id))
        return memory_pb2.DeleteDocumentResponse()


FACT = conversation_pb2.Fact(
    fact_id="fact_1", subject="ada", attribute="email", text="Her e-mail is ada@example.org.", origin=conversation_pb2.ORIGIN_USER, times=2
)


def _summary(name: str, kept: quality_pb2.QuerySet) -> quality_pb2.QuerySetSummary:
    return quality_pb2.QuerySetSummary(name=name, collection=kept.collection, queries=len(kept.queries))
