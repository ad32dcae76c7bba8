"""The scripted upstream's connections: requests in, scripted answers out, everything that goes wrong done, and every attempt noted."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from enum import StrEnum
from urllib.parse import unquote

from plimsoll_runtime.json_types import JsonObject, dump_json, parse_object

from plimsoll_testkit.upstream import anthropic, chat, frames, gemini, responses
from plimsoll_testkit.upstream import script as s
from plimsoll_testkit.upstream.script import Error, Script
from plimsoll_testkit.waiting import eventually

_HEAD_CAP = 64 * 1024
_POLL_S = 0.02
_CLOSE_S = 5.0
_CLOCK_OFF = timedelta(hours=1)
_HTML = b"<html><h1>Bad gateway</h1></html>"


class Outcome(StrEnum):
    """How an attempt ended, as the upstream saw it."""

    OPEN = "open"
    ANSWERED = "answered"
    REFUSED = "refused"  # an error status
    FAILED = "failed"  # the script broke it
    ABANDONED = "abandoned"  # whoever asked went away


@dataclass(slots=True, kw_only=True)
class Attempt:
    """One request that arrived. `at` and `ended_at` are seconds of a monotonic clock; `key` is the credential it came with."""

    path: str
    dialect: str
    model: str
    key: str
    streaming: bool
    body: JsonObject
    headers: Mapping[str, str]
    at: float
    ended_at: float = 0.0
    outcome: Outcome = Outcome.OPEN


@dataclass(slots=True)
class ScriptedUpstream:
    """Serve it with `serving`. The name of the model that is asked says what happens; `script.read` knows the names.

    Attributes:
    attempts  every request, in order; none are kept when `keeps` is off
    gate      opened, it lets go of what hangs in `silent`, `stall`, `slow-start` and `chatter`
    down      while it is set, the model `flap` answers 503
    pace_s    between the pieces of paced streams
    """

    url: str = ""
    attempts: list[Attempt] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    down: bool = False
    keeps: bool = True
    pace_s: float = s.PACE_S
    _tries: dict[str, int] = field(default_factory=dict)
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def attend(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, request after request."""
        self._writers.add(writer)
        try:
            while await self._exchange(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.close()
            self._writers.discard(writer)

    async def close(self) -> None:
        """Let go of what hangs, and cut every connection."""
        self.gate.set()
        for writer in self._writers:
            writer.transport.abort()
        await eventually(lambda: not self._writers, within_s=_CLOSE_S)

    def outcomes(self) -> list[tuple[str, Outcome]]:
        """Which models were tried, and how each try ended."""
        return [(attempt.model, attempt.outcome) for attempt in self.attempts]

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request and its answer; whether the connection goes on."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        _, target, _ = head[0].split(" ", 2)
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        body = parse_object(await reader.readexactly(int(headers.get("content-length", "0"))) or b"{}")
        attempt = _attempt(target, headers, body)
        if self.keeps:
            self.attempts.append(attempt)
        try:
            goes_on = await _Answer(self, attempt, reader, writer).give()
        except ConnectionError:
            attempt.outcome = Outcome.ABANDONED
            raise
        finally:
            attempt.ended_at = time.monotonic()
        return goes_on and not reader.at_eof()

    def script_of(self, model: str) -> Script:
        """What this try at the model sees. Raises ValueError for a name that is no script."""
        script = s.read(model)
        self._tries[model] = self._tries.get(model, 0) + 1
        return script.on_try(self._tries[model])


@dataclass(slots=True)
class _Answer:
    """One answer while it is given."""

    upstream: ScriptedUpstream
    attempt: Attempt
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def give(self) -> bool:
        """Whether the connection goes on."""
        attempt = self.attempt
        if attempt.dialect == "embeddings":
            return await self._json(200, (gemini if ":" in attempt.path else chat).embeddings(attempt.body))
        try:
            script = self.upstream.script_of(attempt.model)
        except ValueError as error:
            return await self._error(Error(status=404, kind="model", message=str(error)))
        told = self._refusal(script)
        if told is not None:
            return await self._error(told)
        if script.fault in s.DEEDS:
            done = await self._deed(script)
            if done is not None:
                return done
        return await (self._stream(script) if attempt.streaming and script.fault != "json" else self._whole(script))

    def _refusal(self, script: Script) -> Error | None:
        dialect, fault = _SPEAKING[self.attempt.dialect], script.fault
        by_key = s.BY_KEY.get(self.attempt.key)
        if by_key is not None:
            return by_key
        if fault in s.ERRORS:
            return s.ERRORS[fault]
        if fault == "flap" and self.upstream.down:
            return s.ERRORS["unavailable"]
        if fault == "bad-signature" and dialect.holds_reasoning(self.attempt.body):
            return s.BAD_SIGNATURE
        if fault in {"limited-date", "limited-skewed"}:
            return _limited_until(self._now(fault))
        problem = dialect.problem(self.attempt.body)
        return Error(status=400, kind="invalid", message=problem) if problem else None

    def _now(self, fault: str) -> datetime:
        """By this upstream's clock, which `limited-skewed` has wrong."""
        return datetime.now(UTC) + (_CLOCK_OFF if fault == "limited-skewed" else timedelta())

    async def _deed(self, script: Script) -> bool | None:
        """What happens before an answer; None when one follows."""
        match script.fault:
            case "html" | "html-200":
                return await self._plain(502 if script.fault == "html" else 200)
            case "error-inside" if not self.attempt.streaming:
                self.attempt.outcome = Outcome.FAILED
                return await self._json(200, _SPEAKING[self.attempt.dialect].error(s.ERROR_INSIDE))
            case "hang-up":
                return self._cut()
            case "silent":
                await self._hang()
                return self._cut()
            case "cut" | "clean-cut" | "stall" | "malformed" if not self.attempt.streaming:
                return await self._half(script)
            case _:
                return None

    async def _whole(self, script: Script) -> bool:
        if script.fault in {"slow", "slow-start", "chatter"}:
            await self._hang()
        self.attempt.outcome = Outcome.ANSWERED
        return await self._json(200, _SPEAKING[self.attempt.dialect].body(script))

    async def _stream(self, script: Script) -> bool:
        dialect = _SPEAKING[self.attempt.dialect]
        pieces = [dialect.late_error(s.ERROR_INSIDE)] if script.fault == "error-inside" else list(dialect.frames(script))
        self._begin()
        if script.fault == "slow-start":
            await self._hang()
        if script.paced or script.fault in _MIDDLE:
            if not await self._pieces(script, pieces):
                return False
        else:
            self.writer.write(b"".join(map(_chunk, pieces)))
        self.writer.write(b"0\r\n\r\n")
        await self.writer.drain()
        self.attempt.outcome = Outcome.FAILED if script.fault in {"error-inside", *_MIDDLE} else Outcome.ANSWERED
        return True

    async def _pieces(self, script: Script, pieces: Sequence[bytes]) -> bool:
        """The pieces of a stream, with what goes wrong in its middle; whether it may end."""
        middle = len(pieces) // 2
        for at, piece in enumerate(pieces):
            if at == middle and script.fault in _MIDDLE:
                ends = await self._middle(script)
                if ends is not None:
                    return ends
            if script.paced or script.fault == "slow":
                if self.reader.at_eof():
                    raise ConnectionResetError
                await asyncio.sleep(self.upstream.pace_s)
            self.writer.write(_chunk(piece))
            await self.writer.drain()
        return True

    async def _middle(self, script: Script) -> bool | None:
        """Whether the stream may end now; None when it goes on."""
        dialect = _SPEAKING[self.attempt.dialect]
        match script.fault:
            case "cut":
                return self._cut()
            case "clean-cut":
                return True
            case "late-error":
                self.writer.write(_chunk(dialect.late_error(s.LATE_ERROR)))
                return True
            case "malformed":
                self.writer.write(_chunk(frames.BROKEN))
            case "chatter":
                await self._hang(_chunk(dialect.ping()))
            case "stall":
                await self._hang()
            case _:
                pass
        return None

    async def _hang(self, meanwhile: bytes = b"") -> None:
        """Until the gate opens. Raises ConnectionResetError when whoever asked goes away."""
        await self.writer.drain()
        while not self.upstream.gate.is_set():
            if self.reader.at_eof():
                raise ConnectionResetError
            if meanwhile:
                self.writer.write(meanwhile)
                await self.writer.drain()
            try:
                async with asyncio.timeout(_POLL_S):
                    await self.upstream.gate.wait()
            except TimeoutError:
                continue

    def _cut(self) -> bool:
        self.attempt.outcome = Outcome.FAILED
        self.writer.transport.abort()
        return False

    async def _half(self, script: Script) -> bool:
        """Half of a whole answer, and then what the script says."""
        raw = dump_json(_SPEAKING[self.attempt.dialect].body(script)).encode()
        if script.fault == "malformed":
            return await self._send(200, "application/json", raw[: len(raw) // 2], Outcome.FAILED)
        self.writer.write(_head(200, "application/json", length=len(raw)) + raw[: len(raw) // 2])
        await self.writer.drain()
        if script.fault == "stall":
            await self._hang()
        return self._cut()

    async def _error(self, told: Error) -> bool:
        body = dump_json(_SPEAKING[self.attempt.dialect].error(told)).encode()
        return await self._send(told.status, "application/json", body, Outcome.REFUSED, told.headers)

    async def _json(self, status: int, body: JsonObject) -> bool:
        outcome = Outcome.ANSWERED if self.attempt.outcome is Outcome.OPEN else self.attempt.outcome
        return await self._send(status, "application/json", dump_json(body).encode(), outcome)

    async def _plain(self, status: int) -> bool:
        return await self._send(status, "text/html", _HTML, Outcome.REFUSED if status >= 400 else Outcome.FAILED)

    async def _send(self, status: int, kind: str, body: bytes, outcome: Outcome, headers: Sequence[tuple[str, str]] = ()) -> bool:
        self.writer.write(_head(status, kind, length=len(body), headers=headers) + body)
        await self.writer.drain()
        self.attempt.outcome = outcome
        return True

    def _begin(self) -> None:
        self.writer.write(_head(200, "text/event-stream; charset=utf-8"))


_SPEAKING = {"anthropic": anthropic, "chat": chat, "responses": responses, "gemini": gemini}
_MIDDLE = frozenset({"cut", "clean-cut", "late-error", "malformed", "chatter", "stall", "slow"})


@asynccontextmanager
async def serving(*, port: int = 0, keeps: bool = True, host: str = "127.0.0.1") -> AsyncIterator[ScriptedUpstream]:
    """The upstream on this machine alone, or on `host`, until the block ends; what hangs then is let go."""
    upstream = ScriptedUpstream(keeps=keeps)
    server = await asyncio.start_server(upstream.attend, host, port, limit=_HEAD_CAP, backlog=1024)
    upstream.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield upstream
    finally:
        server.close()
        await upstream.close()


def _attempt(target: str, headers: Mapping[str, str], body: JsonObject) -> Attempt:
    path, _, query = target.partition("?")
    key = headers.get("x-api-key") or headers.get("x-goog-api-key") or headers.get("authorization", "").removeprefix("Bearer ")
    dialect, model, streaming = _asked(path, body)
    return Attempt(
        path=path if not query else f"{path}?{query}",
        dialect=dialect,
        model=model,
        key=key,
        streaming=streaming,
        body=body,
        headers=headers,
        at=time.monotonic(),
    )


def _asked(path: str, body: JsonObject) -> tuple[str, str, bool]:
    """The dialect, the model, and whether a stream is wanted."""
    model, streaming = str(body.get("model", "")), body.get("stream") is True
    if ":" in path:
        name, _, verb = unquote(path.rsplit("/", 1)[1]).partition(":")
        return "embeddings" if verb == "batchEmbedContents" else "gemini", name, verb == "streamGenerateContent"
    if path.endswith("/messages"):
        return "anthropic", model, streaming
    if path.endswith("/responses"):
        return "responses", model, streaming
    return "embeddings" if path.endswith("/embeddings") else "chat", model, streaming


def _limited_until(now: datetime) -> Error:
    """Two seconds from now, told as a date beside the upstream's own."""
    until = format_datetime(now + timedelta(seconds=2), usegmt=True)
    headers = (("date", format_datetime(now, usegmt=True)), ("retry-after", until))
    return Error(status=429, kind="limited", message="slow down", headers=headers)


def _head(status: int, kind: str, *, length: int | None = None, headers: Sequence[tuple[str, str]] = ()) -> bytes:
    size = "transfer-encoding: chunked" if length is None else f"content-length: {length}"
    more = "".join(f"{name}: {value}\r\n" for name, value in headers)
    return f"HTTP/1.1 {status} scripted\r\ncontent-type: {kind}\r\n{size}\r\n{more}\r\n".encode("latin-1")


def _chunk(piece: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(piece), piece)
