"""HTTP cameras that answer with single images."""

import itertools
import threading
import time

import cv2
import pytest
from fakes_http import BREAKS, LIMITS, Request, http_camera, jpeg, multipart, watch
from fakes_video import LIMIT_S, striped_image, wait_until

from app.capture.capture import Capture, SourceState
from app.capture.slot import Slot
from app.capture.source import make_source
from app.core.errors import SourceError
from app.settings.source import SourceSettings


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


@pytest.mark.parametrize("page", [b"<html>please log in</html>", b""])
def test_a_snapshot_that_becomes_a_login_page_is_a_loss(page: bytes) -> None:
    def respond(request: Request) -> None:
        request.send(jpeg(len(request.server.requests)) if len(request.server.requests) < 3 else page)

    with http_camera(respond) as camera, pytest.raises(SourceError, match=r"web page|without content"):
        watch(camera, 9)


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


def test_snapshots_use_one_connection() -> None:
    connections = set()

    def respond(request: Request) -> None:
        connections.add(request.client_address)
        request.send(jpeg(len(connections)))

    with http_camera(respond) as camera:
        watch(camera, 6)
    assert len(connections) <= 2  # the first answer may also be an endless one, so it is cut off
