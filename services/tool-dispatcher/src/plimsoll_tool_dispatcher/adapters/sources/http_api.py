"""Operations of an HTTP API, as its OpenAPI document describes them and the operator listed them."""

import asyncio
import hashlib
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from plimsoll_runtime.clock import Clock
from plimsoll_runtime.egress import EgressGuard
from plimsoll_runtime.errors import FieldProblem, Invalid, PlimsollError, Unavailable
from plimsoll_runtime.failures import Category
from plimsoll_runtime.json_types import JsonValue, parse_json
from plimsoll_runtime.outbound_http import HttpAnswer, HttpLimits, HttpRequest, OutboundHttp

from plimsoll_tool_dispatcher.adapters.python_handlers.masking import masked
from plimsoll_tool_dispatcher.adapters.sources.outcomes import after_error, after_status, changed, gone, stopped
from plimsoll_tool_dispatcher.adapters.sources.runtime import Listing
from plimsoll_tool_dispatcher.domain.execution import Answered, Attempt, Invocation
from plimsoll_tool_dispatcher.domain.openapi import Operation, read_operations
from plimsoll_tool_dispatcher.domain.openapi_request import UnfitArgument, request_of
from plimsoll_tool_dispatcher.domain.openapi_schema import is_json
from plimsoll_tool_dispatcher.domain.remote_tools import RemoteTool
from plimsoll_tool_dispatcher.domain.source_declaration import DeclaredApi
from plimsoll_tool_dispatcher.domain.sources import HttpSource
from plimsoll_tool_dispatcher.domain.tool import Tool
from plimsoll_tool_dispatcher.domain.yaml_text import UnreadableYaml, read_yaml

_DOCUMENT_BYTES = 16 * 1024 * 1024
_DOCUMENT_S = 30.0
_ERROR_CHARS = 400


class HttpApi:
    """One API. Its document is read by the operator's list alone; requests go to the operator's server alone."""

    def __init__(self, declared: DeclaredApi, folder: Path, clock: Clock) -> None:
        self._declared = declared
        self._settings = declared.settings
        self._folder = folder
        self._clock = clock
        guard = EgressGuard(declared.settings.rules)
        self._http = OutboundHttp(guard, HttpLimits(total_s=3600.0, answer_bytes=declared.settings.answer_bytes))
        self._documents = OutboundHttp(guard, HttpLimits(total_s=_DOCUMENT_S, answer_bytes=_DOCUMENT_BYTES))
        self._operations: Mapping[str, Operation] = {}
        self._known: tuple[str, Listing] = ("", ((), ()))

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        await self._documents.__aenter__()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._documents.__aexit__(kind, error, trace)
        await self._http.__aexit__(kind, error, trace)

    async def listing(self) -> Listing:
        """Raises PlimsollError when the document cannot be had."""
        raw = await self._document()
        digest = hashlib.sha256(raw).hexdigest()
        if digest == self._known[0]:
            return self._known[1]
        wanted = {name: relaxation.idempotency_header for name, relaxation in (self._settings.tools or {}).items()}
        self._operations, problems = await asyncio.to_thread(_read, raw, wanted)
        tools = tuple(
            RemoteTool(
                name=one.id,
                description=one.summary,
                arguments=one.arguments,
                result=one.result,
                effect=one.effect,
                source=HttpSource(source=self._settings.name, tool=one.id, shape=one.shape),
                notes=one.omitted,
            )
            for one in self._operations.values()
        )
        self._known = (digest, (tools, problems))
        return tools, problems

    async def execute(self, tool: Tool, invocation: Invocation) -> Attempt:
        assert isinstance(tool.source, HttpSource)
        operation = self._operations.get(tool.source.tool)
        if operation is None:
            return gone(tool, f"the operation {tool.source.tool}")
        if tool.source.shape not in {"", operation.shape}:
            return changed(tool)
        try:
            made = request_of(operation, invocation.arguments, invocation.call_key)
        except UnfitArgument as error:
            return stopped(tool, Category.INVALID_ARGUMENTS, "ARGUMENT_UNFIT", str(error))
        secret = {use.target: use.form.replace("{}", invocation.credentials.get(use.name, "")) for use in self._settings.credentials}
        taken = {name.lower() for name in secret}  # no argument takes the place of a credential
        headers = {name: value for name, value in made.headers.items() if name.lower() not in taken} | secret
        request = HttpRequest(method=operation.method.upper(), url=self._declared.server + made.target, headers=headers, body=made.body)
        try:
            answer = await self._http.send(request, timeout_s=invocation.timeout_s)
        except PlimsollError as error:
            return after_error(tool, error)
        return self._judged(tool, answer, invocation)

    def _judged(self, tool: Tool, answer: HttpAnswer, invocation: Invocation) -> Attempt:
        if not 200 <= answer.status < 300:
            told = masked(answer.body[: _ERROR_CHARS * 4].decode("utf-8", "replace"), invocation.credentials)[:_ERROR_CHARS]
            return after_status(tool, answer.status, answer.headers.get("retry-after"), told, self._clock.now())
        try:
            body = _body(answer)
        except Invalid as error:
            return stopped(tool, Category.MALFORMED_RESULT, "ANSWER_UNFIT", f"the answer {error.problems[0].problem[:100]}")
        return Answered(result={"status": answer.status, "body": body}, size=len(answer.body))

    async def _document(self) -> bytes:
        if not self._declared.document.startswith(("http://", "https://")):
            return await asyncio.to_thread(_file, self._folder / self._declared.document)
        answer = await self._documents.send(HttpRequest(url=self._declared.document))
        if answer.status != 200:
            raise Unavailable(f"the document was answered with {answer.status}", reason="DOCUMENT_UNAVAILABLE")
        return answer.body


def _file(path: Path) -> bytes:
    try:
        if path.stat().st_size > _DOCUMENT_BYTES:
            raise Unavailable(f"{path} is larger than {_DOCUMENT_BYTES // 1024} KiB", reason="DOCUMENT_UNAVAILABLE")
        return path.read_bytes()
    except OSError as error:
        raise Unavailable(f"{path} cannot be read: {error.strerror}", reason="DOCUMENT_UNAVAILABLE") from error


def _read(raw: bytes, wanted: Mapping[str, str]) -> tuple[Mapping[str, Operation], tuple[FieldProblem, ...]]:
    """Runs in a thread: documents may be large."""
    try:
        document = parse_json(raw, field="document") if raw.lstrip()[:1] in {b"{", b"["} else read_yaml(raw.decode("utf-8"))
    except UnreadableYaml as error:
        return {}, (FieldProblem("document", str(error), "write JSON, which may also be larger"),)
    except (Invalid, UnicodeDecodeError):
        return {}, (FieldProblem("document", "is neither JSON nor YAML", "give an OpenAPI 3.x document"),)
    return read_operations(document, wanted)


def _body(answer: HttpAnswer) -> JsonValue:
    """What the answer carries: JSON as it is, text as text, nothing as null. Raises Invalid for what is neither."""
    if not answer.body:
        return None
    media = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    if is_json(media):
        return parse_json(answer.body, field="answer")
    try:
        return answer.body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Invalid(problems=(FieldProblem("answer", "is neither JSON nor text"),)) from error
