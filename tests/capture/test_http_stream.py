"""HTTP cameras: what they answer, how they ask for a login, and where they redirect to."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes_http import LIMITS, Respond, http_camera, jpeg, multipart, read, watch
from fakes_net import free_port
from fakes_video import FaultyServer, striped_image, wait_until

from app.capture.opencv_backend import open_http_stream
from app.capture.source import make_source
from app.core.errors import RetryLaterError, SourceError
from app.settings.source import SourceSettings

FIELD = Path(__file__).resolve().parents[2].parent / "shared" / "field"


@pytest.fixture(scope="module")
def field_camera() -> Iterator[int]:
    """The port of the camera with quirks."""
    if not (FIELD / "http_peer.py").is_file():
        pytest.skip("the peers (../shared/field) are not part of the project")
    if shutil.which("ffmpeg") is None:
        pytest.skip("the peers need the program ffmpeg")
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
