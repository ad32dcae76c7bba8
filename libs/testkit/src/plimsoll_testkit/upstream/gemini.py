"""The scripted upstream in Gemini's generateContent."""

from collections.abc import Iterator

from plimsoll_runtime.json_types import JsonObject, JsonValue

from plimsoll_testkit.upstream import script as s
from plimsoll_testkit.upstream.frames import bare
from plimsoll_testkit.upstream.script import Error, Script

_KINDS = {
    "limited": "RESOURCE_EXHAUSTED",
    "quota": "RESOURCE_EXHAUSTED",
    "broken": "INTERNAL",
    "unavailable": "UNAVAILABLE",
    "overloaded": "OVERLOADED",
    "key": "UNAUTHENTICATED",
    "model": "NOT_FOUND",
    "invalid": "INVALID_ARGUMENT",
}
_TYPE = "type.googleapis.com/google.rpc."


def error(told: Error) -> JsonObject:
    details: list[JsonValue] = []
    if told.pause_told:
        details.append({"@type": f"{_TYPE}RetryInfo", "retryDelay": told.pause_told})
    if told.kind == "quota":
        quota: JsonObject = {"quotaId": "GenerateRequestsPerDayPerProjectPerModel"}
        details.append({"@type": f"{_TYPE}QuotaFailure", "violations": [quota]})
    return {"error": {"code": told.status, "message": told.message, "status": _KINDS[told.kind], "details": details}}


def late_error(told: Error) -> bytes:
    return bare(error(told))


def ping() -> bytes:
    return b": still here\n\n"


def body(script: Script) -> JsonObject:
    if script.fault == "no-choices":
        return {"modelVersion": script.name, "usageMetadata": _usage()}
    candidate: JsonObject = {"index": 0, "content": {"role": "model", "parts": list(_parts(script, [script.text] if script.text else []))}}
    if script.fault != "no-finish":
        candidate["finishReason"] = _finish(script)
    return {"candidates": [candidate], "usageMetadata": _usage(), "modelVersion": script.name, "responseId": "r1"}


def frames(script: Script) -> Iterator[bytes]:
    """The dialect has no end mark: `no-end` is a fine stream here."""
    if script.fault == "no-choices":
        yield bare(body(script))
        return
    for part in _parts(script, s.words(script.text)):
        yield bare(_partial(script, [part]))
    last = s.an_object(s.objects(_partial(script, [])["candidates"])[0])
    if script.fault != "no-finish":
        last["finishReason"] = _finish(script)
    yield bare({"candidates": [last], "usageMetadata": _usage(), "modelVersion": script.name, "responseId": "r1"})


def holds_reasoning(request: JsonObject) -> bool:
    """Whether a signature of earlier thinking came with the request, other than the word for calls of other models."""
    signatures = (part.get("thoughtSignature") for turn in s.objects(request.get("contents")) for part in s.objects(turn.get("parts")))
    return any(signature not in {None, "skip_thought_signature_validator"} for signature in signatures)


def problem(request: JsonObject) -> str:
    """Why the API would refuse the request; empty when it would not."""
    turns = s.objects(request.get("contents"))
    if not turns:
        return "contents are required"
    calls = 0
    for turn in turns:
        parts = s.objects(turn.get("parts"))
        results = sum("functionResponse" in part for part in parts)
        if results != calls:
            return "the number of function response parts has to equal the number of function call parts"
        calls = sum("functionCall" in part for part in parts)
    return "a function call turn comes before a function response turn" if calls else ""


def embeddings(request: JsonObject) -> JsonObject:
    asked = s.objects(request.get("requests"))
    vectors: list[JsonValue] = []
    for one in asked:
        size = one.get("outputDimensionality")
        parts = s.objects(s.an_object(one.get("content")).get("parts"))
        vectors.append({"values": s.numbers("".join(str(part.get("text")) for part in parts), size if isinstance(size, int) else 0)})
    return {"embeddings": vectors}


def _parts(script: Script, pieces: list[str]) -> Iterator[JsonObject]:
    if script.thinks:
        yield {"text": s.THOUGHT, "thought": True}
    for piece in pieces:
        yield {"text": piece}
    for number, call in enumerate(script.calls):
        given: JsonObject = {"id": call.call_id} if call.call_id else {}
        signed: JsonObject = {"thoughtSignature": s.SIGNATURE} if script.thinks and number == 0 else {}
        arguments = {} if script.fault == "bad-arguments" else call.arguments
        yield {"functionCall": {**given, "name": s.TOOL, "args": arguments}, **signed}
    if script.thinks and not script.calls:
        yield {"text": "", "thoughtSignature": s.SIGNATURE}


def _partial(script: Script, parts: list[JsonObject]) -> JsonObject:
    content: JsonObject = {"role": "model", "parts": list[JsonValue](parts)}
    return {"candidates": [{"index": 0, "content": content}], "modelVersion": script.name, "responseId": "r1"}


def _finish(script: Script) -> str:
    if script.fault == "bad-arguments":
        return "MALFORMED_FUNCTION_CALL"
    return "SAFETY" if script.refuses else "MAX_TOKENS" if script.stops_at_limit else "STOP"


def _usage() -> JsonObject:
    return {
        "promptTokenCount": s.INPUT_TOKENS,
        "cachedContentTokenCount": s.CACHED_TOKENS,
        "candidatesTokenCount": s.OUTPUT_TOKENS - s.REASONING_TOKENS,
        "thoughtsTokenCount": s.REASONING_TOKENS,
        "totalTokenCount": s.INPUT_TOKENS + s.OUTPUT_TOKENS,
    }
