"""Limits of the web view: addresses, sizes of requests, connections, silent and stalled peers, TLS."""

import logging
import socket
import ssl
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import pytest
from fakes_web import LIMIT_S, Running, serving, wait_until

from app.core.errors import OutputError
from app.web import http_protocol


def test_a_port_in_use_is_a_clear_error(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(OutputError, match=f"127.0.0.1:{port}.*choose another"), serving(tmp_path, port=port):
            pass


def test_an_invalid_certificate_is_a_clear_error(tmp_path: Path) -> None:
    junk = tmp_path / "junk.pem"
    junk.write_text("no certificate")
    with pytest.raises(OutputError, match=r"junk\.pem"), serving(tmp_path, tls_cert=junk, tls_key=junk):
        pass


def test_large_bodies_are_refused_unread(running: Running, caplog: pytest.LogCaptureFixture) -> None:
    with running.browser() as (client, secret):
        response = client.post("/api/v1/cameras/1/mute", content=b"x" * 40_000, headers=secret)
        assert response.status_code == 413

    with running.connect() as raw:  # the Content-Length alone is sufficient
        head = f"POST /login HTTP/1.1\r\nHost: 127.0.0.1:{running.port}\r\nContent-Length: 99999999999\r\n\r\n"
        raw.sendall(head.encode())
        assert raw.recv(100).startswith(b"HTTP/1.1 413")

    with running.connect() as raw:  # without a Content-Length
        head = f"POST /login HTTP/1.1\r\nHost: 127.0.0.1:{running.port}\r\nTransfer-Encoding: chunked\r\n\r\n"
        raw.sendall(head.encode() + b"4000\r\n" + b"x" * 0x4000 + b"\r\n" + b"4000\r\n" + b"x" * 0x4000 + b"\r\n")
        assert raw.recv(100).startswith(b"HTTP/1.1 413")

    # Endless headers; the server may disconnect the sender early.
    with running.connect() as raw, suppress(ConnectionError):
        raw.sendall(b"GET / HTTP/1.1\r\nX: " + b"y" * 200_000)
        assert raw.recv(100).startswith(b"HTTP/1.1 4")
    assert "413" in caplog.text


def test_the_number_of_connections_is_bounded(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with serving(tmp_path, max_connections=6) as running:
        held = [running.connect() for _ in range(8)]
        try:
            refused = 0
            for each in held:
                try:
                    each.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
                    refused += not each.recv(100).startswith(b"HTTP/1.1 200")
                except OSError:
                    refused += 1
            assert refused == 2
            assert [entry.getMessage() for entry in caplog.records].count(
                "web view: more than 6 connections; new ones are refused; see web.max_connections"
            ) == 1  # once a minute
        finally:
            for each in held:
                each.close()
        wait_until(lambda: _is_served(running))


def _is_served(running: Running, certificate: dict[str, Path] | None = None) -> bool:
    """Whether a new connection is served; closed connections are released with a delay."""
    trust = ssl.create_default_context(cafile=certificate["tls_cert"]) if certificate else True
    base = f"https://localhost:{running.port}" if certificate else running.base
    with suppress(httpx.TransportError):
        return httpx.get(f"{base}/healthz", timeout=LIMIT_S, verify=trust).status_code == 200
    return False


def test_a_silent_client_is_disconnected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_protocol, "REQUEST_LIMIT_S", 0.3)
    with serving(tmp_path) as running:
        for sent in (b"", b"GET / HT", b"POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 10\r\n\r\nx"):
            with running.connect() as raw, suppress(ConnectionError):
                raw.sendall(sent)
                assert raw.recv(100) == b""


def is_disconnected(peer: socket.socket) -> bool:
    """Whether the server has closed the connection of this silent peer."""
    peer.setblocking(False)
    try:
        return peer.recv(100) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_silent_peers_count_as_connections_from_the_start(
    tmp_path: Path, certificate: dict[str, Path], tls: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for limit in ("REQUEST_LIMIT_S", "HANDSHAKE_LIMIT_S"):
        monkeypatch.setattr(http_protocol, limit, 3600.0)  # no time limit applies
    with serving(tmp_path, max_connections=4, **(certificate if tls else {})) as running, ExitStack() as held:
        peers = [held.enter_context(running.connect()) for _ in range(100)]
        wait_until(lambda: sum(is_disconnected(peer) for peer in peers) >= 96)
        assert sum(is_disconnected(peer) for peer in peers) == 96


class Handshake:
    """The client side of a TLS handshake, step by step."""

    def __init__(self, certificate: dict[str, Path]) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        trust = ssl.create_default_context(cafile=certificate["tls_cert"])
        self._tls = trust.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")
        self.is_done = False

    def step(self, received: bytes = b"") -> bytes:
        """The bytes to send after ``received``; the last message is kept for ``request``."""
        self._incoming.write(received)
        with suppress(ssl.SSLWantReadError):
            self._tls.do_handshake()
            self.is_done = True
        return b"" if self.is_done else self._outgoing.read()

    def request(self, content: bytes) -> bytes:
        """The last handshake message together with the request ``content``."""
        self._tls.write(content)
        return self._outgoing.read()

    def read(self, received: bytes) -> bytes:
        self._incoming.write(received)
        with suppress(ssl.SSLWantReadError):
            return self._tls.read()
        return b""


def test_failed_handshakes_time_out_and_release_their_connections(
    tmp_path: Path, certificate: dict[str, Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(http_protocol, "HANDSHAKE_LIMIT_S", 0.3)
    hello = Handshake(certificate).step()
    with serving(tmp_path, max_connections=4, **certificate) as running:
        for sent in (b"", hello[:40], hello, b"GET / HTTP/1.1\r\n\r\n", b"\0" * 9):
            for disconnects in (False, True):
                with running.connect() as raw, suppress(ConnectionError):
                    raw.sendall(sent)
                    while not disconnects and raw.recv(4096):
                        pass
        monkeypatch.setattr(http_protocol, "HANDSHAKE_LIMIT_S", LIMIT_S)
        wait_until(lambda: _is_served(running, certificate))
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_a_request_that_arrives_with_the_end_of_the_handshake_is_answered(
    tmp_path: Path, certificate: dict[str, Path]
) -> None:
    client, response = Handshake(certificate), b""
    with serving(tmp_path, **certificate) as running, running.connect() as raw:
        raw.sendall(client.step())
        while not client.is_done:
            raw.sendall(client.step(raw.recv(65_536)))
        raw.sendall(client.request(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"))
        while b"\r\n\r\n" not in response:
            response += client.read(raw.recv(65_536))
    assert response.startswith(b"HTTP/1.1 200")


def test_pages_are_served_over_tls(tmp_path: Path, certificate: dict[str, Path]) -> None:
    trust = ssl.create_default_context(cafile=certificate["tls_cert"])
    with serving(tmp_path, **certificate) as running:
        base = f"https://localhost:{running.port}"
        assert running.server.url == f"https://127.0.0.1:{running.port}/"
        with httpx.Client(base_url=base, verify=trust, timeout=LIMIT_S) as client:
            secret = {"X-CSRF-Token": client.get("/api/v1/session").json()["csrf"], "Origin": base}
            for _ in range(3):
                assert client.post("/api/v1/cameras/1/mute", json={"minutes": 5}, headers=secret).status_code == 200
            assert len(client.get("/static/style.css").content) > 1000
