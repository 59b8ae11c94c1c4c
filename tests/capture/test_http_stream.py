"""HTTP cameras: what they answer, how they ask for a login, and where they redirect to."""

import base64
import hashlib
import itertools
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from fakes_http import HttpCamera, Request, Respond, http_camera
from fakes_net import free_port
from fakes_video import LIMIT_S, FaultyServer, striped_image, wait_until, write_clip

from app.capture.capture import Capture, SourceState
from app.capture.opencv_backend import open_http_stream
from app.capture.slot import Slot
from app.capture.source import FrameSource, make_source
from app.core.errors import LoginError, RetryLaterError, SourceError
from app.core.types import Frame
from app.settings.source import SourceSettings

PASSWORD = "s3cret-p@ss"
LIMITS: dict[str, Any] = {"open_timeout_s": 5.0, "read_timeout_s": 5.0, "snapshot_interval_s": 0.02}
FIELD = Path(__file__).resolve().parents[2].parent / "shared" / "field"


def jpeg(index: int = 0) -> bytes:
    return cv2.imencode(".jpg", striped_image(index))[1].tobytes()


def multipart(request: Request, images: int = 5, **headers: object) -> None:
    """An endless motion JPEG, as far as a test reads it."""
    request.send(Content_Type="multipart/x-mixed-replace; boundary=frame", Content_Length=None, **headers)
    for i in range(images):
        image = jpeg(i)
        request.wfile.write(b"--frame\r\nContent-Length: %d\r\n\r\n" % len(image) + image + b"\r\n")


def read(source: FrameSource, count: int) -> list[Frame]:
    stop, frames = threading.Event(), []
    for frame in source.frames(stop):
        frames.append(frame)
        if len(frames) == count:
            stop.set()
    return frames


def watch(camera: HttpCamera, count: int = 3, path: str = "/", **values: Any) -> list[Frame]:
    settings = SourceSettings.model_validate({"uri": camera.url(path), **LIMITS, **values})
    return read(make_source(settings), count)


# -- what is answered ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def field_camera() -> Iterator[int]:
    """The port of the camera with quirks."""
    if not (FIELD / "http_peer.py").is_file():
        pytest.skip("the peers (../shared/field) are absent")
    port = free_port()
    peer = subprocess.Popen(
        [sys.executable, str(FIELD / "http_peer.py"), str(port), str(FIELD / "plain.mp4")],
        env={**os.environ, "PEER_FPS": "50"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:

        def answers() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        wait_until(answers, "the peer answers")
        yield port
    finally:
        peer.kill()
        peer.wait()


FORMS = (
    "plain dashed quoted space noct octet mixed noboundary imgjpeg upper rawjpeg charset icy nostatus http11 chunked "
    "esp32 nodht corrupt padded lf nolen lowerlen wronglen xts nodash nofirst otherboundary notail bigtail text"
)


@pytest.mark.parametrize("form", FORMS.split())
def test_every_form_of_motion_jpeg_is_read(form: str, field_camera: int, capfd: pytest.CaptureFixture[str]) -> None:
    frames = read(make_source(SourceSettings(uri=f"http://127.0.0.1:{field_camera}/m/{form}", **LIMITS)), 5)
    assert {frame.image.shape for frame in frames} == {(360, 640, 3)}
    assert all(frame.image.std() > 20 for frame in frames), "a picture, not a plain area"
    assert capfd.readouterr().err == ""


def png(_: int = 0) -> bytes:
    return cv2.imencode(".png", striped_image(0))[1].tobytes()


@pytest.mark.parametrize("body", [jpeg(), png()], ids=["JPEG", "PNG"])
@pytest.mark.parametrize("length", [True, False])
def test_a_single_image_is_polled(body: bytes, length: bool) -> None:
    def respond(request: Request) -> None:
        request.send(body, Content_Type="image/jpeg", **({} if length else {"Content_Length": None}))

    with http_camera(respond) as camera:
        frames = watch(camera, 4)
        assert len(camera.requests) == 4
    assert frames[0].image.shape == (48, 64, 3)
    assert frames[-1].time_s > 0.05


def chunked(body: bytes, size: int = 700) -> bytes:
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in [*pieces, b""])


BREAKS = b"HTTP/1.1 200 OK\r\nBad Header : x\r\n"
"""The start of an answer that a strict parser refuses."""
SNAPSHOT_FAULTS = {
    "no length": lambda image: b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\n\r\n" + image,
    "no length, no type": lambda image: b"HTTP/1.1 200 OK\r\n\r\n" + image,
    "too long": lambda image: b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(image) + 9) + image,
    "too short": lambda image: b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(image) // 2) + image,
    "a length of 0": lambda image: b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" + image,
    "two lengths": lambda image: b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nContent-Length: 5000\r\n\r\n" + image,
    "line ends before the status": lambda image: b"\r\n\r\n" + BREAKS + b"\r\n" + image,
    "broken": lambda image: BREAKS + b"Content-Type: image/jpeg\r\n\r\n" + image,
    "broken and chunked": lambda image: BREAKS + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(image),
    "line ends first": lambda image: b"HTTP/1.1 200 OK\r\n\r\n\r\n\r\n" + image,
}


@pytest.mark.parametrize("fault", SNAPSHOT_FAULTS)
def test_an_image_ends_where_it_is_complete(fault: str) -> None:
    """The camera keeps the connection, so its end never comes."""
    asked: list[Request] = []

    def respond(request: Request) -> None:
        asked.append(request)
        request.wfile.write(SNAPSHOT_FAULTS[fault](jpeg(len(asked))))
        left.wait(LIMIT_S)
        request.close_connection = True

    left = threading.Event()
    with http_camera(respond) as camera:
        frames = watch(camera, 3)
        left.set()
    assert all((a.image != b.image).any() for a, b in itertools.pairwise(frames))


def test_a_multipart_answer_with_one_image_is_polled() -> None:
    with http_camera(lambda request: multipart(request, images=1)) as camera:
        assert len(watch(camera, 3)) == 3


def test_the_interval_of_snapshots_is_kept_and_covers_the_time_limits() -> None:
    with http_camera(lambda request: request.send(jpeg(len(request.server.requests)))) as camera:
        start_s = time.monotonic()
        watch(camera, 4, snapshot_interval_s=0.1)
        assert 0.28 < time.monotonic() - start_s < 3
    settings = SourceSettings(uri="http://camera/snap.jpg", snapshot_interval_s=30)
    assert settings.read_timeout_s == settings.stale_after_s == settings.frozen_after_s == 60


def test_only_changed_snapshots_are_sent_by_servers_that_mark_them() -> None:
    sent: list[tuple[str | None, int]] = []

    def respond(request: Request) -> None:
        number = len(sent) // 3  # a new image after every third request
        tag = f'"{number}"'
        known = request.headers["If-None-Match"]
        sent.append((known, number))
        if known == tag:
            request.send(status=304, ETag=tag)
        else:
            request.send(jpeg(number), ETag=tag)

    with http_camera(respond) as camera:
        frames = watch(camera, 9)
    assert [known for known, _ in sent[:4]] == [None] * 4, "only after the tag has changed with the image"
    assert [known for known, _ in sent[4:6]] == ['"1"', '"1"']
    assert [(a.image == b.image).all() for a, b in itertools.pairwise(frames)] == [
        True, True, False, True, True, False, True, True
    ]  # fmt: skip


def test_a_server_that_sends_the_same_image_for_ever_is_frozen() -> None:
    with http_camera(lambda request: request.send(jpeg(0))) as camera:
        settings = SourceSettings(uri=camera.url("/snap.jpg"), **LIMITS, frozen_after_s=0.3, reconnect_s=(60,))
        capture = Capture(make_source(settings), settings, [Slot()])
        capture.start()
        wait_until(lambda: capture.status.state is SourceState.LIVE, "it is live at first")
        wait_until(lambda: capture.status.state is SourceState.STALE, "it is frozen")
        capture.stop()
        assert capture.join(LIMIT_S)


def test_a_slow_snapshot_is_waited_for_and_a_stuck_one_is_lost() -> None:
    def respond(request: Request) -> None:
        if len(request.server.requests) == 4:
            request.server.stop.wait(LIMIT_S)  # type: ignore[attr-defined]
        request.send(Content_Length=(length := len(body := jpeg(len(request.server.requests)))))
        request.wfile.write(body[: length // 2])
        time.sleep(0.1)  # a slow camera
        request.wfile.write(body[length // 2 :])

    with http_camera(respond) as camera:
        camera.stop = threading.Event()  # type: ignore[attr-defined]
        with pytest.raises(SourceError, match=r"no answer|no data"):
            watch(camera, 9, read_timeout_s=0.5)
        assert len(camera.requests) == 4
        camera.stop.set()  # type: ignore[attr-defined]


def test_a_snapshot_that_fails_once_is_no_loss() -> None:
    def respond(request: Request) -> None:
        number = len(request.server.requests)
        if number % 3 == 2:
            request.send(b"fault", 500)
        elif number % 3 == 0:
            request.close_connection = True  # without an answer
        else:
            request.send(jpeg(number))

    with http_camera(respond) as camera:
        assert len({frame.image.tobytes() for frame in watch(camera, 9)}) >= 3


def test_a_date_that_never_changes_does_not_stop_the_images() -> None:
    def respond(request: Request) -> None:
        same = "Thu, 01 Jan 1970 00:00:00 GMT"
        if request.headers["If-Modified-Since"] == same:
            request.send(status=304)
        else:
            request.send(jpeg(len(request.server.requests)), Last_Modified=same)

    with http_camera(respond) as camera:
        frames = watch(camera, 5)
    assert all((a.image != b.image).any() for a, b in itertools.pairwise(frames))


@pytest.mark.parametrize(
    ("respond", "reason"),
    [
        (lambda request: request.send(b"<!DOCTYPE html><title>Log in</title>", Content_Type="text/html"), "web page"),
        (lambda request: request.send(b'{"error": "login"}', Content_Type="application/json"), "web page"),
        (lambda request: request.send(b"ok\r\n"), "answers with text"),
        (
            lambda request: request.send(b'<?xml version="1.0"?>\n<MPD></MPD>'),
            "DASH playlist, which cannot be read; use",
        ),
        (lambda request: request.send(b""), "without content"),
        (lambda request: request.send(b"--b--\r\nContent-Type: video/x-h264\r\n\r\n\0\0\1" * 9), "type video/x-h264"),
        (lambda request: request.send(b"\x89PNG\r\n\x1a\n" + bytes(99)), "no image in JPEG, PNG or WebP"),
        (lambda request: request.send(jpeg()[:300]), "cut off"),
        (lambda request: request.send(bytes(range(256)) * 99), "cannot read this video"),
        (lambda request: request.send(status=404), "no such path"),
        (lambda request: request.send(status=410), "may have expired"),
        (lambda request: request.send(status=403), "may have expired, or need a user name"),
        (lambda request: request.send(status=500), "answers 500 Internal Server Error"),
        (lambda request: request.send(status=302, Location="rtsp://10.0.0.9/live?pwd=s3cret"), "give that address"),
        (lambda request: request.send(status=302, Location="/again"), "redirects"),
    ],
)
def test_an_answer_that_is_no_video_is_explained(respond: Respond, reason: str) -> None:
    with http_camera(respond) as camera, pytest.raises(SourceError, match=reason) as caught:
        watch(camera)
    assert "\n" not in str(caught.value)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("page", [b"<html>please log in</html>", b""])
def test_a_snapshot_that_becomes_a_login_page_is_a_loss(page: bytes) -> None:
    def respond(request: Request) -> None:
        request.send(jpeg(len(request.server.requests)) if len(request.server.requests) < 3 else page)

    with http_camera(respond) as camera, pytest.raises(SourceError, match=r"web page|without content"):
        watch(camera, 9)


@pytest.mark.parametrize(("code", "after", "wait_s"), [(429, "7", 7.0), (503, "120", 120.0), (503, "9" * 9, 3600.0)])
def test_a_server_that_asks_to_wait_is_obeyed(code: int, after: str, wait_s: float) -> None:
    with http_camera(lambda request: request.send(status=code, Retry_After=after)) as camera:
        with pytest.raises(RetryLaterError, match="is busy") as caught:
            watch(camera)
        assert caught.value.wait_s == wait_s


def test_a_busy_server_without_a_time_and_a_date_that_has_passed_are_no_special_wait() -> None:
    for headers in ({}, {"Retry_After": "Thu, 01 Jan 1970 00:00:00 GMT"}, {"Retry_After": "soon"}):
        with http_camera(lambda request, sent=headers: request.send(status=503, **sent)) as camera:
            with pytest.raises(SourceError, match="is busy") as caught:
                watch(camera)
            assert not isinstance(caught.value, RetryLaterError)


def test_an_empty_first_answer_and_an_unmarked_repetition_are_no_fault() -> None:
    def respond(request: Request) -> None:
        number = len(request.server.requests)
        if number == 1:
            request.send(b"", Content_Type="image/jpeg")
        elif number == 3:
            request.send(status=204, Content_Length=None)
        else:
            request.send(jpeg(number))

    with http_camera(respond) as camera:
        frames = watch(camera, 3)
    assert [(a.image == b.image).all() for a, b in itertools.pairwise(frames)] == [True, False]


def test_a_compressed_and_chunked_snapshot_is_read() -> None:
    import gzip

    def respond(request: Request) -> None:
        body = gzip.compress(jpeg())
        request.send(Content_Length=None, Transfer_Encoding="chunked", Content_Encoding="gzip")
        request.wfile.write(b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n")

    with http_camera(respond) as camera:
        assert watch(camera, 2)[1].image.shape == (48, 64, 3)


def test_a_server_that_breaks_the_protocol_is_read_like_a_browser_does() -> None:
    def serve(connection: Any, server: FaultyServer) -> None:
        connection.recv(4096)
        image = jpeg(server.connections)
        head = b"HTTP/1.1 200 OK\r\nBad Header\x01: x\r\nno colon\r\nContent-Length: %d\r\n\r\n" % len(image)
        connection.sendall(head + image)

    with FaultyServer(serve) as server:
        source = make_source(SourceSettings(uri=f"http://127.0.0.1:{server.port}/snap.jpg", **LIMITS))
        assert len(read(source, 3)) == 3


@pytest.mark.parametrize("status", [b"\xb2\xb2\xb2", b"9" * 5000])
def test_a_number_that_is_none_is_no_crash(status: bytes) -> None:
    def serve(connection: Any, server: FaultyServer) -> None:
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 " + status + b" OK\r\nContent-Length: " + status + b"\r\n\r\n" + jpeg())

    with FaultyServer(serve) as server:
        source = make_source(SourceSettings(uri=f"http://127.0.0.1:{server.port}/snap.jpg", **LIMITS))
        assert len(read(source, 1)) == 1


def test_an_endless_answer_without_content_is_given_up() -> None:
    def serve(connection: Any, _server: FaultyServer) -> None:
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(bytes(65536))

    with FaultyServer(serve) as server, pytest.raises(SourceError, match="without content"):
        read(make_source(SourceSettings(uri=f"http://127.0.0.1:{server.port}/", **LIMITS)), 1)


def test_an_invalid_host_name_is_an_error_in_one_line() -> None:
    with pytest.raises(SourceError, match="not a valid address; check the host"):
        read(make_source(SourceSettings(uri="http://\u2603.example/", **LIMITS)), 1)


def test_snapshots_use_one_connection() -> None:
    connections = set()

    def respond(request: Request) -> None:
        connections.add(request.client_address)
        request.send(jpeg(len(connections)))

    with http_camera(respond) as camera:
        watch(camera, 6)
    assert len(connections) <= 2  # the first answer may also be an endless one, so it is cut off


# -- videos ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("clips")
    images = [striped_image(i) for i in range(60)]
    return {
        "index last": write_clip(folder / "a.mp4", images).read_bytes(),
        "index first": write_clip(folder / "b.mp4", images, options={"movflags": "faststart"}).read_bytes(),
        "matroska": write_clip(folder / "c.mkv", images).read_bytes(),
        "transport stream": write_clip(folder / "d.ts", images).read_bytes(),
    }


def partial(request: Request, body: bytes) -> None:
    """``body``, or the part that is asked for."""
    asked = re.fullmatch(r"bytes=(\d+)-", request.headers["Range"] or "")
    start = int(asked.group(1)) if asked else 0
    span = f"bytes {start}-{len(body) - 1}/{len(body)}"
    if asked:
        request.send(body[start:], 206, Content_Range=span)
    else:
        request.send(body, Accept_Ranges="bytes")


@pytest.mark.parametrize("kind", ["index last", "index first", "matroska", "transport stream"])
@pytest.mark.parametrize("ranges", [True, False])
def test_a_response_with_an_end_is_a_video(kind: str, ranges: bool, clips: dict[str, bytes]) -> None:
    body = clips[kind]
    with http_camera((lambda r: partial(r, body)) if ranges else (lambda r: r.send(body))) as camera:
        source = make_source(SourceSettings(uri=camera.url("/clip"), **LIMITS))
        assert source.is_live, "unknown before the first answer"
        frames = list(source.frames(threading.Event()))
        assert not source.is_live
        assert len(frames) == 60
        assert frames[-1].time_s == pytest.approx(59 / 25, abs=0.1)
        again = list(source.frames(threading.Event()))
    assert [frame.time_s for frame in again] == [frame.time_s for frame in frames]


def test_a_server_that_always_sends_a_part_is_read_to_the_end(clips: dict[str, bytes]) -> None:
    body = clips["index last"]

    def respond(request: Request) -> None:
        start = int((request.headers["Range"] or "bytes=0-").partition("=")[2].rstrip("-"))
        part = body[start : start + 3000]
        request.send(part, 206, Content_Range=f"bytes {start}-{start + len(part) - 1}/{len(body)}")

    with http_camera(respond) as camera:
        source = make_source(SourceSettings(uri=camera.url("/clip"), **LIMITS))
        assert len(list(source.frames(threading.Event()))) == 60
        assert len(camera.requests) > 2


def test_a_video_whose_length_only_its_container_tells_is_a_video(clips: dict[str, bytes]) -> None:
    with http_camera(lambda request: request.send(clips["index first"], Content_Length=None)) as camera:
        source = make_source(SourceSettings(uri=camera.url("/clip"), **LIMITS))
        assert len(list(source.frames(threading.Event()))) == 60
        assert not source.is_live


@pytest.mark.parametrize("ranges", [True, False])
def test_a_video_without_a_length_and_its_index_at_the_end_is_read(ranges: bool, tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (30, 96, 128, 3), np.uint8)
    body = write_clip(tmp_path / "a.mp4", noise).read_bytes()
    assert body.index(b"moov") - body.index(b"mdat") > 200_000, "more than FFmpeg's buffer, so that it has to jump"

    def respond(request: Request) -> None:
        if ranges and request.headers["Range"]:
            partial(request, body)
        else:
            request.send(body, Content_Length=None)

    with http_camera(respond) as camera:
        source = make_source(SourceSettings(uri=camera.url("/clip"), **LIMITS))
        assert len(list(source.frames(threading.Event()))) == 30
        assert not source.is_live


def test_a_lost_connection_is_continued_where_it_was_lost(clips: dict[str, bytes]) -> None:
    body = clips["matroska"]

    def respond(request: Request) -> None:
        if request.headers["Range"]:
            partial(request, body)
        else:
            request.send(body[: len(body) // 2], Content_Length=len(body), Accept_Ranges="bytes")
            request.connection.shutdown(socket.SHUT_RDWR)

    with http_camera(respond) as camera:
        source = make_source(SourceSettings(uri=camera.url("/clip"), **LIMITS))
        assert len(list(source.frames(threading.Event()))) == 60


def test_a_video_that_breaks_off_again_and_again_is_an_error(clips: dict[str, bytes]) -> None:
    body = clips["matroska"]

    def respond(request: Request) -> None:
        request.send(body[: len(body) // 2], Content_Length=len(body))
        request.connection.shutdown(socket.SHUT_RDWR)

    with http_camera(respond) as camera, pytest.raises(SourceError, match="breaks off again and again"):
        list(make_source(SourceSettings(uri=camera.url("/clip"), **LIMITS)).frames(threading.Event()))


def test_the_setting_live_decides(clips: dict[str, bytes]) -> None:
    with http_camera(lambda request: partial(request, clips["transport stream"])) as camera:
        source = make_source(SourceSettings(uri=camera.url("/clip"), live=True, **LIMITS))
        next(source.frames(threading.Event()))
        assert source.is_live


def test_an_invented_length_is_no_end(clips: dict[str, bytes]) -> None:
    with http_camera(lambda r: r.send(clips["transport stream"], Content_Length=2**31 - 1)) as camera:
        source = make_source(SourceSettings(uri=camera.url("/clip"), **LIMITS))
        next(source.frames(threading.Event()))
        assert source.is_live


# -- logins and redirects --------------------------------------------------------------------------------------------


def digest_answer(request: Request, name: str) -> str:
    """The right response of a digest login for the realm and nonce that ``login_camera`` uses."""
    hashes = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}[name]
    fields = dict(re.findall(r'(\w+)="?([^",]*)"?', request.headers["Authorization"]))

    def hashed(text: str) -> str:
        return hashes(text.encode()).hexdigest()

    secret = hashed(f"viewer:cam era, 1:{PASSWORD}")
    asked = hashed(f"GET:{request.path}")
    return hashed(f"{secret}:{fields['nonce']}:{fields['nc']}:{fields['cnonce']}:auth:{asked}")


CHALLENGES = {
    "basic": ["Basic realm=x"],
    "MD5": ['Digest realm="cam era, 1", nonce="n1", qop="auth,auth-int", opaque="o"'],
    "SHA-256": ['Digest realm="cam era, 1", nonce="n1", algorithm=SHA-256, qop=auth'],
    "one header": ['Basic realm="x", Digest realm="cam era, 1", nonce="n1", algorithm=MD5, qop="auth"'],
    "best of three": [
        'Digest realm="cam era, 1", nonce="n1", algorithm=MD5, qop="auth"',
        'Digest realm="cam era, 1", nonce="n1", algorithm=SHA-256, qop="auth"',
        'Basic realm="x"',
    ],
}


def login_camera(challenge: str, rejected: list[str]) -> Respond:
    def respond(request: Request) -> None:
        sent = request.headers["Authorization"] or ""
        if sent.startswith("Basic") and challenge == "basic":
            right = base64.b64decode(sent[6:]).decode() == f"viewer:{PASSWORD}"
        elif sent.startswith("Digest"):
            name = "SHA-256" if "SHA-256" in sent else "MD5"
            right = f'response="{digest_answer(request, name)}"' in sent
        else:
            right = False
        if right:
            request.send(jpeg(len(request.server.requests)))
        else:
            rejected.extend([sent] * bool(sent))
            request.send(b"<html>denied</html>", 401, WWW_Authenticate=CHALLENGES[challenge])

    return respond


@pytest.mark.parametrize("challenge", CHALLENGES)
def test_the_login_that_a_camera_asks_for_is_used(challenge: str) -> None:
    rejected: list[str] = []
    with http_camera(login_camera(challenge, rejected)) as camera:
        assert len(watch(camera, 3, "/a%20b.jpg?x=1&y=2", username="viewer", password=PASSWORD)) == 3
        assert len(camera.requests) == 4, "one request without the login, then one for each image"
        sent = camera.requests[-1].headers["Authorization"]
    assert rejected == []
    assert ("SHA-256" in sent) == (challenge in ("SHA-256", "best of three"))


@pytest.mark.parametrize("challenge", ["basic", "MD5", "SHA-256"])
def test_a_rejected_login_is_sent_once_by_all_sources_together(challenge: str) -> None:
    rejected: list[str] = []
    with http_camera(login_camera(challenge, rejected)) as camera:
        values = {"username": "viewer", "password": "wrong-pass"}
        errors: list[str] = []

        def channel(number: int) -> None:
            with pytest.raises(LoginError) as caught:
                watch(camera, 1, f"/channel{number}", **values)
            assert 590 < caught.value.wait_s <= 600
            errors.append(str(caught.value))

        threads = [threading.Thread(target=channel, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(rejected) == 1
        assert len(errors) == 4
        assert not any("wrong-pass" in error for error in errors)
        assert watch(camera, 1, username="viewer", password=PASSWORD), "another password is another login"


def test_names_in_any_language_are_sent() -> None:
    challenge = 'Digest realm="Türkamera", nonce="n1", qop="auth"'

    def respond(request: Request) -> None:
        if request.headers["Authorization"]:
            request.send(jpeg(len(request.server.requests)))
        else:
            request.send(status=401, WWW_Authenticate=challenge.encode().decode("latin-1"))

    with http_camera(respond) as camera:
        watch(camera, 2, username="Jürgen", password="Schlüssel")
        sent = camera.requests[-1].headers["Authorization"].encode("latin-1").decode()
    fields = dict(re.findall(r'(\w+)="?([^",]*)"?', sent))
    assert (fields["username"], fields["realm"]) == ("Jürgen", "Türkamera")


def test_a_camera_without_a_user_name_and_an_unknown_login_are_explained() -> None:
    wanted = "requires a user name and password"
    with http_camera(login_camera("MD5", [])) as camera, pytest.raises(LoginError, match=wanted):
        watch(camera)

    def windows(request: Request) -> None:
        request.send(status=401, WWW_Authenticate=["Negotiate", "NTLM"])

    with http_camera(windows) as camera, pytest.raises(LoginError, match=r"no supported login \(negotiate, ntlm\)"):
        watch(camera, username="viewer", password=PASSWORD)
    with http_camera(lambda r: r.send(status=401)) as camera, pytest.raises(LoginError, match=r"login \(none\)"):
        watch(camera, username="viewer", password=PASSWORD)


def test_a_user_without_rights_is_not_taken_for_a_wrong_password() -> None:
    with http_camera(lambda request: request.send(status=403)) as camera:
        with pytest.raises(RetryLaterError, match="forbids this user") as caught:
            watch(camera, username="viewer", password=PASSWORD)
        assert not isinstance(caught.value, LoginError)


def test_a_redirect_keeps_the_login_for_its_own_server_only() -> None:
    seen: list[str | None] = []

    def other(request: Request) -> None:
        seen.append(request.headers["Authorization"])
        request.send(jpeg(len(seen)))

    def own(request: Request) -> None:
        if request.headers["Authorization"] is None:
            request.send(status=401, WWW_Authenticate="Basic realm=x")
        elif request.path == "/":
            request.send(status=302, Location="/next")
        else:
            request.send(status=307, Location=request.server.other_url)  # type: ignore[attr-defined]

    with http_camera(other) as second, http_camera(own) as first:
        first.other_url = second.url("/snap.jpg", "evil:pass")  # type: ignore[attr-defined]
        assert len(watch(first, 2, username="viewer", password=PASSWORD)) == 2
    assert seen == [None, None]


def test_a_login_behind_a_redirect_to_another_server_is_explained_and_not_sent() -> None:
    rejected: list[str] = []
    with (
        http_camera(login_camera("basic", rejected)) as second,
        http_camera(lambda r: r.send(status=302, Location=second.url())) as first,
        pytest.raises(SourceError, match=r"redirects to .* requires a login"),
    ):
        watch(first, username="viewer", password=PASSWORD)
    assert rejected == []


def test_a_proxy_is_used_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def proxy(request: Request) -> None:
        asked.append(request.path)
        request.send(jpeg(len(asked)))

    with http_camera(proxy) as server:
        monkeypatch.setenv("http_proxy", server.url())
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        source = make_source(SourceSettings(uri="http://camera.invalid/snap.jpg", **LIMITS))
        assert len(read(source, 2)) == 2
    assert asked == ["http://camera.invalid/snap.jpg"] * 2
    with pytest.raises(SourceError, match=r"proxy of this system cannot reach camera\.invalid:80"):
        read(make_source(SourceSettings(uri="http://camera.invalid/snap.jpg", **LIMITS)), 1)


def test_a_proxy_is_used_for_broken_answers_too(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def proxy(request: Request) -> None:
        asked.append(f"{request.path} {request.headers['Proxy-Authorization']}")
        request.wfile.write(BREAKS + b"\r\n" + jpeg(len(asked)))
        request.close_connection = True

    with http_camera(proxy) as server:
        monkeypatch.setenv("http_proxy", server.url(credentials="u:p"))
        monkeypatch.setenv("no_proxy", "")
        assert len(read(make_source(SourceSettings(uri="http://camera.invalid/snap.jpg", **LIMITS)), 2)) == 2
    assert asked == ["http://camera.invalid/snap.jpg Basic dTpw", "http://camera.invalid:80/snap.jpg Basic dTpw"] * 2


# -- certificates ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PEM file with a key and a certificate that only itself has signed, for 127.0.0.1."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("the program openssl is absent")
    path = tmp_path_factory.mktemp("tls") / "camera.pem"
    command = (
        f"req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 9 -keyout {path} -out {path}.crt"
    )
    names = ["-subj", "/CN=camera", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([openssl, *command.split(), *names], check=True, capture_output=True)
    path.write_text(path.read_text() + Path(f"{path}.crt").read_text())
    return path


@pytest.mark.parametrize("kind", ["snapshot", "video", "playlist"])
def test_a_certificate_is_verified_if_the_settings_say_so(
    kind: str, certificate: Path, clips: dict[str, bytes], capfd: pytest.CaptureFixture[str]
) -> None:
    def respond(request: Request) -> None:
        if kind == "snapshot":
            request.send(jpeg(len(request.server.requests)))
        elif kind == "playlist" and request.path == "/x":
            request.send(b"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:2.4,\na.ts\n#EXT-X-ENDLIST\n")
        else:
            partial(request, clips["transport stream"])

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with http_camera(respond) as camera:
        camera.socket = context.wrap_socket(camera.socket, server_side=True)
        uri = camera.url("/x").replace("http:", "https:")
        trusted = [{}, {"tls_ca_file": f"{certificate}.crt"}]
        for values in trusted:
            assert len(read(make_source(SourceSettings(uri=uri, **LIMITS, **values)), 2)) == 2
        with pytest.raises(SourceError, match=r"certificate of .* is not trusted .*; set tls_ca_file"):
            read(make_source(SourceSettings(uri=uri, tls_verify=True, **LIMITS)), 1)
        by_name = uri.replace("127.0.0.1", "localhost")
        with pytest.raises(SourceError, match=r"certificate of .* is not trusted"):
            read(make_source(SourceSettings(uri=by_name, **LIMITS, **trusted[1])), 1)
    assert capfd.readouterr().err == ""


def test_a_missing_file_of_certificates_is_named(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "no.pem", "No such file"), (Path(__file__), "it contains no certificate")):
        source = make_source(SourceSettings(uri="https://127.0.0.1:1/x", tls_ca_file=path))
        with pytest.raises(SourceError, match=f"cannot read tls_ca_file .*{reason}"):
            next(source.frames(threading.Event()))


def test_a_skipped_image_of_motion_jpeg_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    with http_camera(multipart) as camera:
        reader = open_http_stream(SourceSettings(uri=camera.url("/"), **LIMITS)).reader
        first = reader.read()[1]
        with monkeypatch.context() as patched:
            patched.setattr("app.capture.mjpeg.ImageDecoder.decode", None)
            assert reader.grab()
            assert reader.grab()
        fourth = reader.read()[1]
        assert np.abs(fourth.astype(int) - striped_image(3)).mean() < np.abs(fourth.astype(int) - first).mean()
        assert reader.grab()
        assert not reader.grab(), "the answer has ended"
        reader.release()
