"""Connections to providers, on the loop of the tests and on the one that services run on."""

import asyncio
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
import uvloop
from plimsoll_devstack.authority import certificate_files, ensure_certificates
from plimsoll_model_router.adapters.providers.connections import ConnectionBroke, Connections, Unreachable, open_connections
from plimsoll_model_router.adapters.providers.response import BadResponse

LOOPS = pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
CAP_S = 60.0
Reply = Callable[[socket.socket, int], bool]


class Peer:
    """A server in a thread of its own: what it does, the loop of the client may not know yet."""

    def __init__(self, reply: Reply, tls: ssl.SSLContext | None = None) -> None:
        self._reply = reply
        self._tls = tls
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        self.requests: list[int] = []  # the connection that each came on
        self.hung_up = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listening.close()

    def _accept(self) -> None:
        number = 0
        while True:
            try:
                accepted, _ = self._listening.accept()
            except OSError:
                return
            number += 1
            threading.Thread(target=self._serve, args=(accepted, number), daemon=True).start()

    def _serve(self, accepted: socket.socket, number: int) -> None:
        try:
            connection = self._tls.wrap_socket(accepted, server_side=True) if self._tls is not None else accepted
            with connection, connection.makefile("rb") as stream:
                while _request(stream):
                    self.requests.append(number)
                    if not self._reply(connection, number):
                        return
        except OSError:
            pass
        finally:
            accepted.close()
            self.hung_up.set()


def _request(stream: object) -> bool:
    length = 0
    while line := stream.readline():  # type: ignore[attr-defined]
        if line == b"\r\n":
            return len(stream.read(length)) == length  # type: ignore[attr-defined]
        name, _, value = line.partition(b":")
        length = int(value) if name == b"content-length" else length
    return False


@contextmanager
def peer(reply: Reply, tls: ssl.SSLContext | None = None) -> Iterator[Peer]:
    found = Peer(reply, tls)
    try:
        yield found
    finally:
        found.close()


def answers(connection: socket.socket, _: int) -> bool:
    connection.sendall(OK)
    return True


def answers_once(connection: socket.socket, _: int) -> bool:
    connection.sendall(OK)
    return False


def run(new_loop: Callable[[], asyncio.AbstractEventLoop], work: Callable[[Connections], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(CAP_S), open_connections() as connections:
            await work(connections)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())


async def post(connections: Connections, port: int, *, scheme: str = "http", host: str = "127.0.0.1", body: bytes = b"{}") -> bytes:
    response = await connections.post(f"{scheme}://{host}:{port}/v1", {"x-a": "1"}, body, connect_s=5.0)
    try:
        told = b""
        while piece := await response.piece():
            told += piece
    finally:
        response.close()
    return told


@LOOPS
def test_a_connection_carries_one_request_after_the_other_and_many_carry_many(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    with peer(answers) as served:

        async def work(connections: Connections) -> None:
            for _ in range(3):
                assert await post(connections, served.port) == b"ok"
            assert served.requests == [1, 1, 1]
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(post(connections, served.port, body=b"x" * 300_000)) for _ in range(32)]
            assert {task.result() for task in tasks} == {b"ok"}

        run(new_loop, work)


@LOOPS
def test_a_connection_that_the_other_side_has_ended_is_not_used_again_though_the_loop_has_not_heard_of_it(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    with peer(answers_once) as served:

        async def work(connections: Connections) -> None:
            for number in range(1, 6):
                assert await post(connections, served.port) == b"ok"
                assert served.hung_up.wait(CAP_S)  # the loop stands still meanwhile
                served.hung_up.clear()
                assert served.requests == list(range(1, number + 1))

        run(new_loop, work)


@LOOPS
@pytest.mark.parametrize("behind", [b"x", OK], ids=["a byte", "a response"])
def test_what_nobody_asked_for_answers_nobody(new_loop: Callable[[], asyncio.AbstractEventLoop], behind: bytes) -> None:
    def chatters(connection: socket.socket, _: int) -> bool:
        connection.sendall(OK + behind)
        return True

    with peer(chatters) as served:

        async def work(connections: Connections) -> None:
            assert await post(connections, served.port) == b"ok"
            assert await post(connections, served.port) == b"ok"
            assert served.requests == [1, 2]

        run(new_loop, work)


@LOOPS
def test_a_response_that_is_larger_than_what_is_held_comes_whole_to_a_slow_reader(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    size = 3_000_000

    def tells_much(connection: socket.socket, _: int) -> bool:
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size + b"x" * size)
        return True

    with peer(tells_much) as served:

        async def work(connections: Connections) -> None:
            for _ in range(2):
                response = await connections.post(f"http://127.0.0.1:{served.port}/", {}, b"", connect_s=5.0)
                told = 0
                while piece := await response.piece():
                    told += len(piece)
                    assert len(piece) < 1_500_000
                    for _ in range(20):
                        await asyncio.sleep(0)
                response.close()
                assert told == size
            assert served.requests == [1, 1]

        run(new_loop, work)


@LOOPS
def test_what_is_left_unread_does_not_reach_the_next_request(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    with peer(answers) as served:

        async def work(connections: Connections) -> None:
            response = await connections.post(f"http://127.0.0.1:{served.port}/", {}, b"", connect_s=5.0)
            response.close()
            assert await post(connections, served.port) == b"ok"
            assert served.requests == [1, 2]

        run(new_loop, work)


@LOOPS
@pytest.mark.parametrize(
    ("sent", "error"),
    [(b"", ConnectionBroke), (OK[:-1], ConnectionBroke), (OK[:20], ConnectionBroke), (b"SSH-2.0\r\n\r\n", BadResponse)],
    ids=["nothing", "half a body", "half a head", "no HTTP"],
)
def test_what_is_cut_or_no_http_is_told(new_loop: Callable[[], asyncio.AbstractEventLoop], sent: bytes, error: type[Exception]) -> None:
    def cuts(connection: socket.socket, _: int) -> bool:
        connection.sendall(sent)
        return False

    with peer(cuts) as served:

        async def work(connections: Connections) -> None:
            with pytest.raises(error):
                await post(connections, served.port)
            assert served.requests == [1]  # and it is not sent again

        run(new_loop, work)


@LOOPS
def test_the_certificate_and_the_name_on_it_are_checked(
    new_loop: Callable[[], asyncio.AbstractEventLoop], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensure_certificates(tmp_path, ("gateway",), datetime.now(UTC))
    files = certificate_files(tmp_path, "gateway")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(files.certificate, files.key)

    async def trusting(connections: Connections) -> None:
        assert await post(connections, served.port, scheme="https", host="localhost") == b"ok"
        assert await post(connections, served.port, scheme="https", host="localhost") == b"ok"
        assert served.requests == [1, 1]

    async def strange(connections: Connections) -> None:
        with pytest.raises(Unreachable):
            await post(connections, served.port, scheme="https", host="localhost")
        assert served.requests == []

    with peer(answers, tls) as served:
        run(new_loop, strange)
    monkeypatch.setenv("SSL_CERT_FILE", str(files.ca))
    with peer(answers, tls) as served:
        run(new_loop, trusting)


@pytest.mark.parametrize("url", ["ftp://host/", "http://", "http://host:port/", "http://ho st/", "http://host/\r\nx: y", "http://[::1/"])
async def test_what_is_no_address_is_not_reached(url: str) -> None:
    async with open_connections() as connections:
        with pytest.raises(Unreachable):
            await connections.post(url, {}, b"", connect_s=1.0)


@pytest.mark.parametrize("value", ["a\r\nb", "a\nb", "a\0", "ключ"])
async def test_a_header_that_cannot_travel_is_not_sent(value: str) -> None:
    with peer(answers) as served:
        async with open_connections() as connections:
            with pytest.raises(ValueError):  # noqa: PT011 - whichever one
                await connections.post(f"http://127.0.0.1:{served.port}/", {"x-api-key": value}, b"", connect_s=1.0)
        assert served.requests == []


@LOOPS
def test_silence_is_noticed_when_it_has_lasted_and_not_before(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    go_on = threading.Event()

    def hesitates(connection: socket.socket, _: int) -> bool:
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\na")
        for letter in (b"b", b"c"):
            if not go_on.wait(CAP_S):
                return False
            go_on.clear()
            connection.sendall(letter)
        return not go_on.wait(CAP_S)

    with peer(hesitates) as served:

        async def work(connections: Connections) -> None:
            now = asyncio.get_running_loop().time
            response = await connections.post(f"http://127.0.0.1:{served.port}/", {}, b"", connect_s=5.0)
            assert await response.piece(now() + CAP_S) == b"a"
            for letter in (b"b", b"c"):
                for seconds in (0.03, 0.06):  # the timer of the first wait rings in the second
                    with pytest.raises(TimeoutError):
                        await response.piece(now() + seconds)
                asyncio.get_running_loop().call_later(0.02, go_on.set)
                assert await response.piece(now() + CAP_S) == letter
            began = now()
            with pytest.raises(TimeoutError):
                await response.piece(began + 0.05)
            assert 0.045 <= now() - began < CAP_S / 2
            response.close()
            go_on.set()

        run(new_loop, work)
