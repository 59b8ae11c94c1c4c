"""Asks an RTSP camera (RFC 2326) what FFmpeg does not tell: its status codes, its login, its transports."""

import contextlib
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httpx

from app.capture.connection import read_head, tls_context
from app.capture.login import Login
from app.settings.source import SourceSettings

_PORTS = {"rtsp": 554, "rtsps": 322}
_MAX_BODY_BYTES = 65536
_STATUS = re.compile(r"RTSP/\d\.\d (\d{3})(.{0,60})", re.ASCII)
_UDP_PORTS = "50000-50001"
"""For a question only: nothing is received there."""


@dataclass(frozen=True, slots=True)
class RtspAnswer:
    """``status`` is 0 if the server closes the connection or stays silent, and -1 if its answer is not RTSP."""

    status: int
    reason: str = ""
    headers: httpx.Headers = field(default_factory=httpx.Headers)
    body: str = ""


class RtspClient:
    """One connection. All questions together take at most ``limit_s``, plus the time of the name lookup."""

    def __init__(self, settings: SourceSettings, connection: socket.socket, end_s: float) -> None:
        self._settings = settings
        self._connection = connection
        self._end_s = end_s
        self._login = Login(settings)
        self._sequence = 0
        self._uri = settings.uri
        self.can_login = False
        """Whether the server's challenge could be answered."""

    @classmethod
    @contextmanager
    def connected(cls, settings: SourceSettings, limit_s: float) -> Iterator["RtspClient"]:
        """Raises OSError if there is no connection, SourceError if ``tls_ca_file`` cannot be read."""
        end_s = time.monotonic() + limit_s
        host, port = host_and_port(settings)
        with contextlib.ExitStack() as stack:
            connection = stack.enter_context(socket.create_connection((host, port), timeout=limit_s))
            if urlsplit(settings.uri).scheme.lower() == "rtsps":
                context = tls_context(settings)
                connection = stack.enter_context(context.wrap_socket(connection, server_hostname=host))
            yield cls(settings, connection, end_s)

    def describe(self, with_login: bool) -> RtspAnswer:
        """The answer to DESCRIBE; with the user name and password if the server asks for them and ``with_login``."""
        answer = self._ask("DESCRIBE", self._uri, "Accept: application/sdp")
        if answer.status == 401 and with_login:
            self.can_login = self._login.accept_challenge(answer.headers.get_list("www-authenticate"))
        if self.can_login:
            answer = self._ask("DESCRIBE", self._uri, "Accept: application/sdp")
        return answer

    def setup(self, description: RtspAnswer, transport: str) -> RtspAnswer:
        """Whether the video of ``description`` can be sent by ``transport`` (tcp or udp). Ends the session again."""
        offers = {"udp": f"RTP/AVP;unicast;client_port={_UDP_PORTS}", "tcp": "RTP/AVP/TCP;unicast;interleaved=0-1"}
        answer = self._ask("SETUP", self._video_track(description), f"Transport: {offers[transport]}")
        session = answer.headers.get("session", "").partition(";")[0]
        if session:
            self._ask("TEARDOWN", self._uri, f"Session: {session}")
        return answer

    def _video_track(self, description: RtspAnswer) -> str:
        base = description.headers.get("content-base") or description.headers.get("content-location") or self._uri
        video = description.body.partition("m=video")[2].partition("\nm=")[0]
        control = re.search(r"^a=control:(\S+)", video, re.MULTILINE)
        if control is None or control.group(1) == "*":
            return base
        track = control.group(1)
        return track if "://" in track else f"{base.rstrip('/')}/{track.lstrip('/')}"

    def _ask(self, method: str, uri: str, *headers: str) -> RtspAnswer:
        self._sequence += 1
        login = self._login.header(method, uri)
        lines = [f"{method} {uri} RTSP/1.0", f"CSeq: {self._sequence}", "User-Agent: maskwatch", *headers]
        lines += [f"Authorization: {login}"] if login else []
        try:
            self._connection.settimeout(max(self._end_s - time.monotonic(), 0.01))
            self._connection.sendall("\r\n".join([*lines, "", ""]).encode())
            return self._receive()
        except OSError:
            return RtspAnswer(0)

    def _receive(self) -> RtspAnswer:
        line, headers, body = read_head(self._receive_some, (b"RTSP/",))
        match = _STATUS.match(line)
        if match is None:
            return RtspAnswer(-1 if line or body else 0)
        text = headers.get("content-length", "")
        length = int(text) if len(text) < 16 and text.isascii() and text.isdigit() else 0
        while len(body) < min(length, _MAX_BODY_BYTES) and (chunk := self._receive_some()):
            body += chunk
        return RtspAnswer(int(match[1]), match[2].strip(), headers, body[:length].decode("utf-8", "replace"))

    def _receive_some(self) -> bytes:
        left_s = self._end_s - time.monotonic()
        if left_s <= 0:
            return b""
        self._connection.settimeout(left_s)
        try:
            return self._connection.recv(4096)
        except TimeoutError:
            return b""


def host_and_port(settings: SourceSettings) -> tuple[str, int]:
    parts = urlsplit(settings.uri)
    return parts.hostname or "", parts.port or _PORTS.get(parts.scheme.lower(), 554)
