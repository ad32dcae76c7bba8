"""/openai/v1: chat completions, embeddings and models, inside the frame that every REST request has."""

import asyncio
import re
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import TypeAlias

import orjson
from plimsoll.model_router.v1 import model_router_service_pb2 as pb
from plimsoll_runtime.errors import PlimsollError, Unavailable
from plimsoll_runtime.status import known

from plimsoll_gateway.errors import BadHeader, MethodNotAllowed, NoSuchPath
from plimsoll_gateway.service.models import Models, unanswered
from plimsoll_gateway.transport.openai import answers
from plimsoll_gateway.transport.openai.chat import ROUTED, generation_of
from plimsoll_gateway.transport.openai.reading import Fields, body_fields, checked

ROOT = "/openai/v1"

_WAITING = 16  # pieces read ahead of the client
_HEARTBEAT = b": still here\n\n"
_KEY = re.compile(r"[\x21-\x7e]{1,255}", re.ASCII)
_TEXTS_MOST = 2048
_DIMENSIONS_MOST = 100_000
_SURPLUS = frozenset({"user"})

Write: TypeAlias = Callable[[bytes], Awaitable[None]]
ToError: TypeAlias = Callable[[Exception], bytes]
_Item: TypeAlias = "pb.GenerateStreamResponse | PlimsollError"


@dataclass(frozen=True, slots=True)
class Operation:
    """What a request asks: its name among the scopes, and the model that it asks about."""

    name: str
    model: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request, read: its body, the idempotency key beside it, and how a stream is written and its error told."""

    body: bytes
    key: str
    write: Write
    to_error: ToError


def operation_of(http: str, path: str) -> Operation:
    """Raises NoSuchPath, MethodNotAllowed."""
    tail = path.removeprefix(ROOT)
    method, operation = {
        "/chat/completions": ("POST", Operation("openai.chat")),
        "/embeddings": ("POST", Operation("openai.embeddings")),
        "/models": ("GET", Operation("openai.models")),
    }.get(tail, ("GET", Operation("openai.models", tail.removeprefix("/models/"))))
    if operation.model and (not tail.startswith("/models/") or "/" in operation.model):
        raise NoSuchPath
    if http != method:
        raise MethodNotAllowed(http, [method])
    return operation


class Facade:
    """`leaving` ends the streams when the gateway stops."""

    def __init__(self, models: Models, leaving: asyncio.Event, heartbeat_s: float) -> None:
        self._models = models
        self._leaving = leaving
        self._heartbeat_s = heartbeat_s

    async def answer(self, operation: Operation, asked: Asked) -> bytes | None:
        """The whole answer; None when it was written as a stream."""
        match operation.name:
            case "openai.chat":
                return await self._chat(asked)
            case "openai.embeddings":
                return await self._embed(body_fields(asked.body))
            case _:
                return await self._list(operation.model)

    async def _chat(self, asked: Asked) -> bytes | None:
        if asked.key and not _KEY.fullmatch(asked.key):
            raise BadHeader("Idempotency-Key", "is no key", "use 1 to 255 visible ASCII characters")
        fields = body_fields(asked.body)
        streaming = fields.flag("stream")
        with_usage = fields.has("stream_options") and fields.inner("stream_options").flag("include_usage")
        generation = generation_of(fields, asked.key)
        if not streaming:
            return answers.completion(await self._models.generate(generation), int(time.time()))
        await self._stream(generation, answers.Chunks(int(time.time()), with_usage=with_usage), asked)
        return None

    async def _stream(self, generation: pb.Generation, chunks: answers.Chunks, asked: Asked) -> None:
        """Raises the error of a stream that fails before its first piece: then it is the whole answer."""
        waiting: asyncio.Queue[_Item] = asyncio.Queue(_WAITING)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_read(self._models.stream(generation), waiting)), group.create_task(self._leave(waiting))]
            try:
                await self._write(waiting, chunks, asked)
            finally:
                for task in tasks:
                    task.cancel()

    async def _write(self, waiting: asyncio.Queue[_Item], chunks: answers.Chunks, asked: Asked) -> None:
        begun = False
        while True:
            item: _Item | None = None
            with suppress(TimeoutError):
                async with asyncio.timeout(self._heartbeat_s):
                    item = await waiting.get()
            try:
                text = _HEARTBEAT if item is None else _told(item, chunks)
            except PlimsollError as error:
                if not begun:
                    raise
                await asked.write(answers.broken(asked.to_error(error)))
                return
            if text:
                begun = True
                await asked.write(text)
            if isinstance(item, pb.GenerateStreamResponse) and item.WhichOneof("event") == "answer":
                return

    async def _leave(self, waiting: asyncio.Queue[_Item]) -> None:
        await self._leaving.wait()
        await waiting.put(Unavailable("the gateway stops", reason="STREAM_CUT", retry_after_s=1.0))

    async def _embed(self, fields: Fields) -> bytes:
        given = fields.raw("input")
        texts = [given] if isinstance(given, str) else given if isinstance(given, list) else []
        if not 1 <= len(texts) <= _TEXTS_MOST or not all(isinstance(one, str) and one for one in texts):
            fields.wrong(
                "input", "is no text and no list of texts", f"send 1 to {_TEXTS_MOST} texts that are not empty; tokens are not read"
            )
        form, model = fields.text("encoding_format", "float"), fields.text("model")
        if form not in {"float", "base64"}:
            fields.wrong("encoding_format", f"is {form[:20]!r}", "send float or base64")
        request = pb.EmbedRequest(model="" if model == ROUTED else model, dimensions=fields.whole("dimensions", 1, _DIMENSIONS_MOST))
        fields.done(_SURPLUS)
        checked(fields.problems)
        request.texts.extend(str(one) for one in texts)
        return answers.embeddings(await self._models.embed(request), packed=form == "base64")

    async def _list(self, name: str) -> bytes:
        known = answers.models(await self._models.list())
        if not name:
            return orjson.dumps({"object": "list", "data": known})
        for one in known:
            if isinstance(one, dict) and one["id"] == name:
                return orjson.dumps(one)
        raise NoSuchPath(f"there is no model {name[:100]!r}", remedy="list the models", reason="MODEL_NOT_FOUND")


def _told(item: _Item, chunks: answers.Chunks) -> bytes:
    """Raises why no model answered."""
    if isinstance(item, PlimsollError):
        raise item
    match item.WhichOneof("event"):
        case "began":
            chunks.began(item.began)
            return b""
        case "text":
            return chunks.text(item.text)
        case "tool_call":
            return chunks.call(item.tool_call)
        case "answer":
            return chunks.end(item.answer)
        case "failure":
            raise unanswered(item.failure)
        case _:
            return b""


async def _read(pieces: AsyncGenerator[pb.GenerateStreamResponse, None], waiting: asyncio.Queue[_Item]) -> None:
    async with aclosing(pieces) as answers_:
        try:
            async for piece in answers_:
                await waiting.put(piece)
        except Exception as error:  # noqa: BLE001 - whatever broke the stream is told to the client as what it is
            await waiting.put(known(error))
        else:
            await waiting.put(Unavailable("the answer was cut", reason="STREAM_CUT", retry_after_s=1.0))  # after its end nobody looks
