"""Main streams: their packets are kept, and give images of any time in memory."""

import logging
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from fakes_video import RtspServer, free_port, striped_image, wait_until, write_clip

from app.capture import main_stream
from app.capture.main_stream import MainStream, MainStreams
from app.core.types import Image
from app.settings.monitor import CameraSettings
from app.settings.source import SourceSettings


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    write_clip(folder / "main.mp4", [striped_image(i, 640, 480) for i in range(150)])
    return folder


def given(port: int, **values: object) -> dict[str, object]:
    main_uri = f"rtsp://admin:s3cret@127.0.0.1:{port}/main.mp4/play_count_1"
    return {"uri": "rtsp://127.0.0.1/sub", "main_uri": main_uri, "name": "door", "reconnect_s": (0.1,), **values}


def camera(port: int, **values: object) -> SourceSettings:
    return SourceSettings.model_validate(given(port, **values))


@pytest.fixture
def stream(folder: Path) -> Iterator[MainStream]:
    with RtspServer(folder) as server:
        stream = MainStream(camera(server.port), 3.0)
        stream.start()
        yield stream
        stream.close()


def number(image: Image) -> int:
    """The index of a ``striped_image``."""
    return int(image[4].mean(axis=1).argmax()) // 4


def reaches(stream: MainStream, at_s: float) -> bool:
    return any(stream.images(at_s, at_s + 0.2))


def test_the_images_of_a_time_come_in_order_from_between_key_frames(stream: MainStream) -> None:
    start_s = time.monotonic()
    wait_until(lambda: reaches(stream, start_s + 2.0), "two seconds are kept")
    first_s = start_s + 1.01  # a key frame comes every 0.4 s
    found = list(stream.images(first_s, first_s + 0.6))
    assert 13 <= len(found) <= 16
    assert all(first_s <= at_s <= first_s + 0.6 for at_s, _ in found)
    assert all(image.shape == (480, 640, 3) for _, image in found)
    numbers = [number(image) for _, image in found]
    assert all(b == a + 1 for a, b in pairwise(numbers))
    sparse = [number(image) for _, image in stream.images(first_s, first_s + 0.6, 0.2)]
    assert 3 <= len(sparse) <= 4  # one in each period of 0.2 s
    assert set(sparse) <= set(numbers)
    one = stream.image(found[3][0] + 0.01)
    assert one is not None
    assert one[0] == pytest.approx(found[3][0], abs=0.02)
    assert np.array_equal(one[1], found[3][1])


def test_a_time_that_the_stream_has_only_in_part_gives_no_image(stream: MainStream) -> None:
    start_s = time.monotonic()
    wait_until(lambda: reaches(stream, start_s + 1.0), "a second is kept")
    now_s = time.monotonic()
    assert not list(stream.images(now_s - 9.0, now_s - 0.2)), "it has connected in the middle of this time"
    assert not list(stream.images(now_s - 0.5, now_s + 3.0)), "it has stopped in the middle of this time"


def test_an_alert_does_not_wait_for_an_image_that_takes_too_long(
    stream: MainStream, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    start_s = time.monotonic()
    wait_until(lambda: stream.image(start_s + 0.5) is not None, "half a second is kept")
    monkeypatch.setattr(main_stream, "_SOON_S", 0.0)
    assert stream.image(start_s + 0.5) is None
    assert "the main stream of door is not decoded in 0 s" in caplog.text


def test_only_what_may_be_asked_for_is_kept(stream: MainStream) -> None:
    start_s = time.monotonic()
    wait_until(lambda: reaches(stream, start_s + 1.0), "a second is kept")
    wait_until(lambda: reaches(stream, start_s + 4.8), "a time of more than keep_s is read")
    assert stream.image(start_s) is None
    assert stream.image(start_s + 100) is None


def test_a_lost_main_stream_is_reported_once_and_comes_back(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "app.capture.main_stream")
    port = free_port()
    streams = MainStreams(5.0)
    streams.apply([camera(port), camera(port, name="no main stream", main_uri=None)])
    try:
        assert streams.get("no main stream") is None
        stream = streams.get("door")
        assert stream is not None
        wait_until(lambda: "main_uri" in caplog.text, "the fault is reported")
        assert stream.image(time.monotonic()) is None
        with RtspServer(folder, port):
            wait_until(lambda: stream.image(time.monotonic() - 0.5) is not None, "it has connected")
        assert "its main stream is back" in caplog.text
        assert "s3cret" not in caplog.text
        streams.apply([camera(port)])  # the same settings: not opened again
        assert streams.get("door") is stream
        zone = {"name": "ward", "polygon": [[0, 0], [1, 0], [1, 1]]}
        streams.apply([CameraSettings.model_validate({**given(port), "zone": [zone]})])
        assert streams.get("door") is stream, "a zone changes no image"
        streams.apply([camera(port, blackout=[[[0, 0], [0.5, 0], [0.5, 0.5]]])])
        assert streams.get("door") is not stream, "nothing from before may be shown"
    finally:
        streams.close()
    assert streams.get("door") is None


@pytest.mark.parametrize("main_uri", ["http://127.0.0.1/a", "video.mp4", "0", "rtsp://", ""])
def test_a_main_stream_must_be_one_of_packets(main_uri: str) -> None:
    with pytest.raises(ValueError, match="main_uri"):
        camera(1, main_uri=main_uri)


def test_its_login_is_that_of_the_camera_and_is_not_shown() -> None:
    settings = camera(1)
    assert settings.main_uri == "rtsp://127.0.0.1:1/main.mp4/play_count_1"
    assert settings.username == "admin"
    assert settings.password is not None
    assert settings.password.get_secret_value() == "s3cret"
