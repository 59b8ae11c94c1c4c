"""Videos of HTTP servers."""

import socket
import threading
from pathlib import Path

import numpy as np
import pytest
from fakes_http import LIMITS, Request, http_camera, partial
from fakes_video import write_clip

from app.capture.source import make_source
from app.core.errors import SourceError
from app.settings.source import SourceSettings


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
