"""One question, one quick answer."""

import socket
import time

import pytest
from huggingface_hub import constants

from tests.helpers.llm_server import serving
from weightgen import network
from weightgen.network import public_address, require_network


@pytest.fixture(autouse=True)
def _online(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


def test_a_refusal_is_a_network():
    with serving(lambda n, q: 500) as server:
        require_network(server.base_url)  # 501: it knows no GET


def test_nobody_there_is_an_error():
    with serving(lambda n, q: 500) as server:
        pass
    with pytest.raises(OSError, match="refused"):
        require_network(server.base_url)


@pytest.mark.parametrize("silent", ["server", "names"])
def test_silence_ends_in_time(monkeypatch, silent):
    monkeypatch.setattr(network, "SECONDS", 0.3)
    if silent == "names":
        monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: time.sleep(5))
    with socket.create_server(("127.0.0.1", 0)) as listener:  # accepts, and says nothing
        start = time.monotonic()
        with pytest.raises(OSError, match=r"timed out|no answer"):
            require_network(f"http://127.0.0.1:{listener.getsockname()[1]}/")
        assert time.monotonic() - start < 4


def test_offline_mode_asks_nobody(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(OSError, match="HF_HUB_OFFLINE is set"):
        require_network("http://127.0.0.1:1/")


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("https://user:secret@host:8000/v1?api_key=secret#x", "https://host:8000/v1"),
        ("http://127.0.0.1:11434/v1", "http://127.0.0.1:11434/v1"),
    ],
)
def test_an_address_is_written_down_without_what_is_secret(address, public):
    assert public_address(address) == public
