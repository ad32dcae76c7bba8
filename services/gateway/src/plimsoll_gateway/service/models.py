"""Questions to models straight from clients, without a run; what a model does not answer, as an error."""

from collections.abc import AsyncGenerator

from plimsoll.model_router.v1 import model_router_service_pb2 as pb
from plimsoll_runtime.errors import DeadlineExpired, Exhausted, Internal, Invalid, PlimsollError, Unavailable
from plimsoll_runtime.failures import Category, Failure, failure_from_proto

from plimsoll_gateway.ports import ModelRouter


class Models:
    def __init__(self, router: ModelRouter) -> None:
        self._router = router

    async def generate(self, generation: pb.Generation) -> pb.Answer:
        """The answer. Raises what the router refuses with, and why no model answered."""
        answer = await self._router.generate(pb.GenerateRequest(generation=generation))
        if answer.WhichOneof("outcome") == "answer":
            return answer.answer
        raise unanswered(answer.failure)

    def stream(self, generation: pb.Generation) -> AsyncGenerator[pb.GenerateStreamResponse, None]:
        """The same in pieces, none of which is ever taken back: a stream that breaks after its first piece is a failure."""
        return self._router.generate_stream(pb.GenerateStreamRequest(generation=generation, delivery=pb.DELIVERY_STRICT))

    async def embed(self, request: pb.EmbedRequest) -> pb.Embeddings:
        answer = await self._router.embed(request)
        if answer.WhichOneof("outcome") == "embeddings":
            return answer.embeddings
        raise unanswered(answer.failure)

    async def list(self) -> pb.ListModelsResponse:
        return await self._router.list_models(pb.ListModelsRequest())


def unanswered(outcome: pb.GenerationFailure) -> PlimsollError:
    """Why no model answered, as the error that a client understands."""
    failure: Failure = failure_from_proto(outcome.failure)
    match failure.category:
        case Category.RATE_LIMITED | Category.BUDGET_EXCEEDED:
            return Exhausted(failure.message, reason=failure.reason, retry_after_s=failure.retry_after_s)
        case Category.TIMEOUT:
            return DeadlineExpired(failure.message, reason=failure.reason)
        case Category.UPSTREAM_UNAVAILABLE | Category.MODEL_MALFORMED:
            return Unavailable(failure.message, reason=failure.reason, retry_after_s=failure.retry_after_s or 1.0)
        case Category.INTERNAL | Category.OUTCOME_UNKNOWN:
            return Internal(failure.message, reason=failure.reason)
        case _:
            return Invalid(failure.message, reason=failure.reason)
