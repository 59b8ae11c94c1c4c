"""Why an RTSP camera shows nothing: asked with the login, and never with the same wrong password again."""

import hashlib
import re
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from fakes_video import FaultyServer
from hypothesis import given
from hypothesis import strategies as st

from app.capture.login import Login
from app.capture.source import make_source
from app.core.errors import LoginError, RetryLaterError, SourceError
from app.settings.source import SourceSettings

VIDEO = "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:track1\r\n"
AUDIO = "m=audio 0 RTP/AVP 0\r\na=control:track2\r\n"
REASONS = {200: "OK", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 453: "Not Enough Bandwidth"}


@dataclass
class RtspCamera:
    """A camera that answers questions, but sends no video."""

    answers: dict[str, int] = field(default_factory=dict)
    refused: tuple[str, int] = ("nothing", 0)
    """A word of a transport that is refused, and the status of the answer."""
    challenges: tuple[str, ...] = ()
    password: str = "s3cret"
    sdp: str = VIDEO
    headers: str = ""
    asked: list[tuple[str, str]] = field(default_factory=list)

    def serve(self, connection: socket.socket, server: FaultyServer) -> None:
        read = b""
        while not server.stop.is_set():
            try:
                received = connection.recv(4096)
            except TimeoutError:
                continue
            if not received:
                return
            read += received
            while b"\r\n\r\n" in read:
                head, _, read = read.partition(b"\r\n\r\n")
                connection.sendall(self._answer(head.decode()))

    def _answer(self, head: str) -> bytes:
        first, *lines = head.splitlines()
        method = first.split()[0]
        headers = dict(line.lower().split(": ", 1)[:1] + line.split(": ", 1)[1:] for line in lines)
        login = headers.get("authorization", "")
        self.asked.append((method, login))
        code, more, body = self.answers.get(method, 200), self.headers, ""
        if self.refused[0] in headers.get("transport", ""):
            code = self.refused[1]
        if self.challenges and method != "OPTIONS" and not self._is_right(method, login):
            code, more = 401, "".join(f"WWW-Authenticate: {challenge}\r\n" for challenge in self.challenges)
        elif method == "DESCRIBE" and code == 200:
            body = f"v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=x\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n{self.sdp}"
            more = f"Content-Type: application/sdp\r\nContent-Length: {len(body)}\r\n"
        reason = REASONS.get(code, "Reason")
        return f"RTSP/1.0 {code} {reason}\r\nCSeq: {headers['cseq']}\r\n{more}\r\n{body}".encode()

    def _is_right(self, method: str, login: str) -> bool:
        fields = dict(re.findall(r'(\w+)="?([^",]*)"?', login))
        name = fields.get("algorithm", "MD5")
        if not login.startswith("Digest") or name not in ("MD5", "SHA-256"):
            return False

        def hashed(text: str) -> str:
            return hashlib.new(name.replace("-", ""), text.encode()).hexdigest()

        secret = hashed(f"viewer:cam:{self.password}")
        return fields["response"] == hashed(f"{secret}:{fields['nonce']}:{hashed(method + ':' + fields['uri'])}")

    @property
    def logins(self) -> int:
        return sum(bool(login) for _, login in self.asked)


def failure(camera: RtspCamera, **values: Any) -> SourceError:
    """The error of a source that opens ``camera``."""
    with FaultyServer(camera.serve) as server:
        given = {"uri": f"rtsp://127.0.0.1:{server.port}/live", "open_timeout_s": 5.0, **values}
        source = make_source(SourceSettings.model_validate(given))
        with pytest.raises(SourceError) as caught:
            next(source.frames(threading.Event()))
    message = str(caught.value)
    assert "\n" not in message
    assert "pass" not in message.replace("password", "")
    return caught.value


MD5 = ('Digest realm="cam", nonce="n1"',)
SHA256 = ('Digest realm="cam", nonce="n1", algorithm=SHA-256',)
RIGHT = {"username": "viewer", "password": "s3cret"}
WRONG = {"username": "viewer", "password": "other-pass"}


@pytest.mark.parametrize("login", [(), MD5], ids=["open", "with a login"])
@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ({"DESCRIBE": 404}, "no such path"),
        ({"DESCRIBE": 453}, r"not enough bandwidth \(453 Not Enough Bandwidth\); close other viewers"),
        ({"DESCRIBE": 503}, r"is busy \(503"),
        ({"DESCRIBE": 500}, "answers 500"),
        ({"SETUP": 461}, "does not send by TCP; set --rtsp-transport udp"),
        ({"SETUP": 453}, "not enough bandwidth"),
        ({"PLAY": 503}, "sends no video"),
    ],
)
def test_a_fault_behind_a_right_password_is_named(answers: dict[str, int], reason: str, login: tuple[str, ...]) -> None:
    error = failure(RtspCamera(answers, challenges=login), **RIGHT)
    assert re.search(reason, str(error)), error
    assert not isinstance(error, LoginError)


@pytest.mark.parametrize("code", [400, 406, 461, 551])
def test_a_camera_with_one_transport_only_is_named(code: int) -> None:
    error = failure(RtspCamera(refused=("client_port", code)), rtsp_transport="udp")
    assert "does not send by UDP; set --rtsp-transport tcp" in str(error)
    error = failure(RtspCamera(refused=("interleaved", code)))
    assert "does not send by TCP; set --rtsp-transport udp" in str(error)


def test_a_camera_without_video_and_a_redirect_are_named() -> None:
    assert "no video" in str(failure(RtspCamera(sdp=AUDIO)))
    moved = RtspCamera({"DESCRIBE": 302}, headers="Location: rtsp://viewer:pass-2@127.0.0.1:1/other\r\n")
    assert re.search(r"redirects to rtsp://\*\*\*@127.0.0.1:1/other; give that|refuses", str(failure(moved)))


@pytest.mark.parametrize(
    "challenges",
    [MD5, SHA256, ('Basic realm="cam"',), MD5 + SHA256, SHA256 + MD5, ('Basic realm="cam"', *SHA256)],
    ids=["MD5", "SHA-256", "basic", "MD5 before SHA-256", "SHA-256 before MD5", "basic before SHA-256"],
)
def test_a_wrong_password_is_sent_once_in_ten_minutes(challenges: tuple[str, ...]) -> None:
    camera = RtspCamera(challenges=challenges)
    with FaultyServer(camera.serve) as server:
        for channel in range(3):
            source = make_source(SourceSettings(uri=f"rtsp://127.0.0.1:{server.port}/{channel}", **WRONG))
            with pytest.raises(LoginError, match=r"rejects|rejected") as caught:
                next(source.frames(threading.Event()))
            assert 590 < caught.value.wait_s <= 600
        assert camera.logins == 1


@pytest.mark.parametrize("challenges", [SHA256, MD5 + SHA256, (*SHA256, 'Basic realm="cam"')])
def test_a_login_that_ffmpeg_cannot_do_is_not_called_wrong(challenges: tuple[str, ...]) -> None:
    error = failure(RtspCamera({"PLAY": 404}, challenges=challenges), **RIGHT)
    assert re.search(
        "accepts the user name and password, but FFmpeg cannot log in .* offers .*digest SHA-256", str(error)
    )
    assert not isinstance(error, LoginError)


@pytest.mark.parametrize(
    ("camera", "values", "reason", "kind"),
    [
        (lambda: RtspCamera(challenges=MD5), {}, "requires a user name and password", LoginError),
        (lambda: RtspCamera(challenges=("NTLM",)), RIGHT, r"no supported login \(ntlm\)", LoginError),
        (lambda: RtspCamera({"DESCRIBE": 403}, challenges=MD5), RIGHT, "forbids this user", RetryLaterError),
    ],
)
def test_other_refusals_are_told_apart(
    camera: Callable[[], RtspCamera], values: dict[str, str], reason: str, kind: type
) -> None:
    error = failure(camera(), **values)
    assert re.search(reason, str(error)), error
    assert type(error) is kind


@given(st.lists(st.text() | st.sampled_from(["Digest", "Basic realm=", 'Digest realm=, nonce="', ',="', "qop=auth"])))
def test_any_challenge_is_read_without_an_error(parts: list[str]) -> None:
    settings = SourceSettings(uri="rtsp://camera/x", username="viewer", password="s3cret")
    login = Login(settings)
    header = " ".join(parts)
    can_answer = login.accept_challenge([header, header])
    assert (login.header("DESCRIBE", settings.uri) is not None) == can_answer


def test_an_rtsp_address_that_ends_in_sdp_is_asked() -> None:
    def serve(connection: socket.socket, _server: FaultyServer) -> None:
        connection.recv(4096)

    with FaultyServer(serve) as server:
        source = make_source(SourceSettings(uri=f"rtsp://127.0.0.1:{server.port}/live.sdp", open_timeout_s=2.0))
        with pytest.raises(SourceError):
            next(iter(source.frames(threading.Event())))
        assert server.connections == 2  # FFmpeg's, and the one that asks for the reason
