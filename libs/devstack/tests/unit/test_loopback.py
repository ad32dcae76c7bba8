"""Ports stay the same between starts while they can."""

import random
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plimsoll_devstack.errors import PortTaken
from plimsoll_devstack.loopback import PortBook, is_free


@pytest.fixture
def listener() -> Iterator[int]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


def test_a_free_port_is_remembered(tmp_path: Path) -> None:
    first = PortBook(tmp_path / "ports.json").port("nats")
    assert is_free(first)
    assert PortBook(tmp_path / "ports.json").port("nats") == first


def test_names_get_different_ports(tmp_path: Path) -> None:
    book = PortBook(tmp_path / "ports.json", rng=random.Random(1))
    assert len({book.port(f"service-{n}") for n in range(50)}) == 50


def test_a_taken_port_is_chosen_anew_and_the_new_one_remembered(tmp_path: Path, listener: int) -> None:
    (tmp_path / "ports.json").write_text(f'{{"nats": {listener}}}')
    chosen = PortBook(tmp_path / "ports.json").port("nats")
    assert chosen != listener
    assert PortBook(tmp_path / "ports.json").recorded("nats") == chosen


def test_a_wish_for_a_taken_port_is_refused_with_the_option_to_change(tmp_path: Path, listener: int) -> None:
    with pytest.raises(PortTaken, match=f"port {listener} is in use") as refused:
        PortBook(tmp_path / "ports.json").fixed("gateway-http", listener, option="--port")
    assert "--port" in refused.value.remedy


@given(content=st.binary(max_size=200) | st.sampled_from([b"{}", b"[]", b'{"a": "x"}', b'{"a": -1}', b'{"a": 1e9}', b"null"]))
def test_any_damaged_book_is_forgotten(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("book") / "ports.json"
    path.write_bytes(content)
    assert 0 < PortBook(path).port("nats") < 65_536
