"""The REST server: connections, their limits and their end."""

from aiohttp import web
from aiohttp.web_protocol import RequestHandler
from plimsoll_runtime.errors import Internal, Invalid, PlimsollError

from plimsoll_gateway.config import HttpSettings
from plimsoll_gateway.transport.departure import Departure
from plimsoll_gateway.transport.problems import problem_of
from plimsoll_gateway.transport.rest import Parts, Rest

_LINGER_S = 5.0  # a client that is refused in the middle of a body gets this long to read why
_BACKLOG = 4096  # connections that the kernel holds while we are busy; one more, and it cuts off some that it told were made


class HttpServer:
    """Serves REST on one address, with the life of the gRPC server beside it."""

    def __init__(self, listen: str, parts: Parts) -> None:
        host, _, port = listen.rpartition(":")
        self._host, self._wanted_port = host or "127.0.0.1", int(port)
        self._settings: HttpSettings = parts.settings
        self._departure = Departure()
        self._rest = Rest(parts, self._departure)
        self._server: _Server | None = None
        self._runner: web.ServerRunner | None = None
        self.port = 0

    async def start(self) -> None:
        """Bind and serve. Raises OSError when the address is taken."""
        self._server = _Server(
            self._rest.answer,
            handler_cancellation=True,
            access_log=None,
            keepalive_timeout=self._settings.idle_cap_s,
            lingering_time=_LINGER_S,
            auto_decompress=False,
        )
        self._runner = web.ServerRunner(self._server, handle_signals=False)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self._wanted_port, backlog=_BACKLOG).start()
        except OSError as error:
            raise OSError(f"cannot listen on {self._host}:{self._wanted_port}: is the port taken?") from error
        self.port = int(self._runner.addresses[0][1])

    async def set_serving(self, serving: bool) -> None:
        """Readiness is told by the admin server; connections are taken as long as they can be."""

    async def stop(self, grace_s: float) -> None:
        """Take no connection, end the streams, let requests in flight finish within `grace_s`, then cancel them."""
        if self._runner is None or self._server is None:
            return
        self._departure.announce()
        for site in list(self._runner.sites):
            await site.stop()
        self._server.pre_shutdown()
        await self._server.shutdown(grace_s)
        await self._runner.cleanup()


class _Server(web.Server):
    """aiohttp's server with connections of ours."""

    def __call__(self) -> RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)


class _Connection(RequestHandler):
    """One connection; what aiohttp itself refuses is answered in our form."""

    __slots__ = ()

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """A problem instead of a page, and the connection's end. Raises ConnectionError when the answer has begun."""
        if request.writer.output_size > 0:
            raise ConnectionError("the answer is cut")
        if status < 500:
            error: PlimsollError = Invalid(
                f"this is not HTTP that the gateway reads: {(message or 'malformed').splitlines()[0][:200]}", reason="MALFORMED_HTTP"
            )
        else:
            self.log_exception("unhandled", exc_info=exc)
            error = Internal()
        problem = problem_of(error, "")
        response = web.Response(status=status, headers=problem.headers, body=problem.body)
        response.force_close()
        return response
