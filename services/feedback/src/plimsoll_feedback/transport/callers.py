"""Who may ask feedback for what: the gateway for everything, the model-router for the report that lets a label move."""

from plimsoll_runtime.rpc_server import Context, Identity, PeerCertificates

_OF_THE_REGISTRY = "GetEvaluationReport"


class FeedbackCallers:
    def __init__(self, *, insecure: bool) -> None:
        self._any = PeerCertificates(frozenset({"gateway"}), insecure=insecure)
        self._registry = PeerCertificates(frozenset({"gateway", "model-router"}), insecure=insecure)

    async def __call__(self, method: str, context: Context) -> Identity:
        """Raises Unauthenticated or Denied."""
        name = method.rpartition("/")[2]
        return await (self._registry if name == _OF_THE_REGISTRY else self._any)(method, context)
