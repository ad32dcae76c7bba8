"""HTTP responses are read the same in whatever pieces they come, and what is not clear is not believed."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plimsoll_model_router.adapters.providers.response import BadResponse, ResponseReader

LENGTH = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n{"a": "b\\u0"'
CHUNKED = (
    b"HTTP/1.1 100 Continue\r\nx-b: 0\r\n\r\nHTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nX-A: 1\r\nx-a: 2\r\n\r\n"
    b"5;note\r\nhello\r\n0b\r\n dear world\r\n0\r\nTrailer: t\r\n\r\n"
)
CLOSED = b"HTTP/1.0 503 Gone fishing\r\n\r\nuntil the end"


def read(pieces: list[bytes], *, ends: bool) -> tuple[int, bytes, bool, bool]:
    reader = ResponseReader()
    for piece in pieces:
        reader.feed(piece)
    if ends:
        reader.end()
    assert reader.has_head
    return reader.status, reader.taken(), reader.leaves_open, reader.done


@pytest.mark.parametrize(
    ("sent", "ends", "wanted"),
    [
        (LENGTH, False, (200, LENGTH.partition(b"\r\n\r\n")[2], True, True)),
        (CHUNKED, False, (200, b"hello dear world", True, True)),
        (CLOSED, True, (503, b"until the end", False, True)),
        (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", True, (200, b"until the end", False, True)),
        (b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n", False, (204, b"", False, True)),
    ],
    ids=["length", "chunked", "closed", "neither", "nothing"],
)
@given(cuts=st.lists(st.integers(0, 200), max_size=8))
def test_a_response_is_the_same_in_whatever_pieces_it_comes(
    sent: bytes, ends: bool, wanted: tuple[int, bytes, bool, bool], cuts: list[int]
) -> None:
    places = sorted({0, len(sent), *(cut for cut in cuts if cut < len(sent))})
    assert read([sent[a:b] for a, b in pairwise(places)], ends=ends) == wanted
    assert read([sent[at : at + 1] for at in range(len(sent))], ends=ends) == wanted


@pytest.mark.parametrize("sent", [LENGTH, CHUNKED], ids=["length", "chunked"])
def test_one_that_is_cut_anywhere_is_never_whole(sent: bytes) -> None:
    for at in range(len(sent)):
        reader = ResponseReader()
        reader.feed(sent[:at])
        with pytest.raises(BadResponse, match="in the middle"):
            reader.end()
        assert not reader.done


@pytest.mark.parametrize(
    "sent",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 200 OK\r\na header\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\nab",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x-a: " + b"a" * 70_000,
    ],
)
def test_what_is_not_clear_is_not_believed(sent: bytes) -> None:
    with pytest.raises(BadResponse):
        ResponseReader().feed(sent)


@pytest.mark.parametrize("more", [b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", b"what is that", b"\r\n\r\nx"])
@pytest.mark.parametrize("together", [True, False])
def test_what_comes_behind_a_response_is_no_part_of_it_and_ends_its_connection(more: bytes, together: bool) -> None:
    reader = ResponseReader()
    for piece in [LENGTH + more] if together else [LENGTH, more]:
        reader.feed(piece)
    assert reader.done
    assert reader.taken() == LENGTH.partition(b"\r\n\r\n")[2]
    assert not reader.leaves_open


def test_headers_that_come_twice_are_joined_and_trailers_are_none() -> None:
    reader = ResponseReader()
    reader.feed(CHUNKED)
    assert reader.headers == {"transfer-encoding": "chunked", "x-a": "1, 2"}
