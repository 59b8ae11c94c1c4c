"""Conformance suite: the behaviour that the pipeline expects of every source."""

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import pytest
from fakes_video import FakeReader, RtspServer, mjpeg_server, striped_image, video_threads, write_clip

from app.capture.live_source import LiveSource
from app.capture.source import FrameSource, make_source
from app.core.errors import SourceError
from app.core.resources import asset
from app.core.types import Frame
from app.settings.source import SourceSettings

Maker = Callable[[Path], tuple[FrameSource, FrameSource]]
"""Returns a working source and a source of the same kind that cannot be opened."""

LIMITS = {"open_timeout_s": 30.0, "read_timeout_s": 30.0}


def clip(folder: Path) -> tuple[FrameSource, FrameSource]:
    path = write_clip(folder / "a.mp4", [striped_image(i, 320, 240) for i in range(40)])
    missing = SourceSettings(uri=str(folder / "missing.mp4"))
    return make_source(SourceSettings(uri=str(path))), make_source(missing)


def one_image(folder: Path) -> tuple[FrameSource, FrameSource]:
    cv2.imwrite(str(folder / "a.png"), striped_image(0))
    missing = SourceSettings(uri=str(folder / "missing.png"))
    return make_source(SourceSettings(uri=str(folder / "a.png"))), make_source(missing)


def image_folder(folder: Path) -> tuple[FrameSource, FrameSource]:
    (folder / "images").mkdir()
    (folder / "empty").mkdir()
    for i in range(12):
        cv2.imwrite(str(folder / "images" / f"{i}.png"), striped_image(i))
    empty = SourceSettings(uri=str(folder / "empty"))
    return make_source(SourceSettings(uri=str(folder / "images"))), make_source(empty)


def video_folder(folder: Path) -> tuple[FrameSource, FrameSource]:
    (folder / "videos").mkdir()
    (folder / "unreadable").mkdir()
    (folder / "unreadable" / "a.mp4").touch()
    for name in ("a.mp4", "b.mp4"):
        write_clip(folder / "videos" / name, [striped_image(i, 320, 240) for i in range(8)])
    return tuple(make_source(SourceSettings(uri=str(folder / name))) for name in ("videos", "unreadable"))  # type: ignore[return-value]


def demo(folder: Path) -> tuple[FrameSource, FrameSource]:
    missing = SourceSettings(uri=str(folder / "missing.mp4"))
    return make_source(SourceSettings(uri="demo")), make_source(missing)


def camera(_folder: Path) -> tuple[FrameSource, FrameSource]:
    """A camera source with a scripted reader, because test machines have no camera."""
    endless = (striped_image(i) for i in itertools.count())
    settings = SourceSettings(uri="0", **LIMITS)
    good = LiveSource(settings, lambda _: FakeReader(endless))
    return good, make_source(SourceSettings(uri="76"))


@pytest.fixture(params=[clip, one_image, image_folder, video_folder, demo, camera, "rtsp", "http"])
def sources(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[FrameSource, FrameSource]]:
    if request.param == "rtsp":
        clip(tmp_path)
        with RtspServer(tmp_path) as server:
            good = SourceSettings(uri=server.url("a.mp4"), **LIMITS)
            yield make_source(good), make_source(SourceSettings(uri=server.url("missing.mp4"), **LIMITS))
    elif request.param == "http":
        with mjpeg_server([striped_image(i) for i in range(16)]) as server:
            good = SourceSettings(uri=f"http://127.0.0.1:{server.port}/cam.mjpg", **LIMITS)
            yield make_source(good), make_source(SourceSettings(uri="http://127.0.0.1:1/x", **LIMITS))
    else:
        yield request.param(tmp_path)


def first(source: FrameSource, count: int) -> list[Frame]:
    stop = threading.Event()
    with closing(source.frames(stop)) as frames:  # type: ignore[type-var]
        return list(itertools.islice(frames, count))


def test_frames_have_image_index_and_times(sources: tuple[FrameSource, FrameSource]) -> None:
    source, _ = sources
    before_s, before_wall_s = time.monotonic(), time.time()
    frames = first(source, 10)
    assert frames
    for i, frame in enumerate(frames):
        assert frame.image.dtype == np.uint8
        assert frame.image.ndim == 3
        assert frame.image.shape[2] == 3
        assert frame.image.size > 0
        assert frame.index == i
        assert frame.camera == source.name
        assert before_s <= frame.captured_s <= time.monotonic()
        if source.is_live:
            assert before_wall_s - 1 <= frame.wall_s <= time.time() + 1
        assert frame.time_s >= 0
    times_s = [frame.time_s for frame in frames]
    assert times_s == sorted(set(times_s))
    if not source.is_live and source.name != "demo":  # a recording has its own time, whenever it is read
        assert [frame.wall_s for frame in frames] == [frame.wall_s for frame in first(source, 10)]


def test_a_stop_ends_the_source_without_an_error(sources: tuple[FrameSource, FrameSource]) -> None:
    source, _ = sources
    stop = threading.Event()
    frames = source.frames(stop)
    next(frames)
    stop.set()
    assert list(frames) == []


def test_a_stop_before_the_start_yields_no_frame(sources: tuple[FrameSource, FrameSource]) -> None:
    stop = threading.Event()
    stop.set()
    assert list(sources[0].frames(stop)) == []


def test_a_source_can_be_read_again(sources: tuple[FrameSource, FrameSource]) -> None:
    source, _ = sources
    once = first(source, 3)
    again = first(source, 3)
    assert len(again) == len(once)
    if source.is_live:
        assert again[0].index > once[-1].index
        assert again[0].time_s > once[-1].time_s
    else:
        assert [f.time_s for f in again] == [f.time_s for f in once]
        assert all((a.image == b.image).all() for a, b in zip(again, once, strict=True))


def test_a_live_source_has_no_count_and_a_file_yields_its_count(sources: tuple[FrameSource, FrameSource]) -> None:
    source, _ = sources
    if source.is_live:
        assert source.frame_count is None
        return
    assert source.fps is not None
    frames = list(source.frames(threading.Event()))
    assert len(frames) == source.frame_count


def test_a_source_is_not_opened_before_the_first_next(sources: tuple[FrameSource, FrameSource]) -> None:
    _, missing = sources
    missing.frames(threading.Event())


def test_a_source_that_cannot_be_opened_is_a_one_line_error(
    sources: tuple[FrameSource, FrameSource], capfd: pytest.CaptureFixture[str]
) -> None:
    _, missing = sources
    with pytest.raises(SourceError) as caught:
        next(missing.frames(threading.Event()))
    message = str(caught.value)
    assert message
    assert "\n" not in message
    assert ";" in message, "the message contains the next step"
    assert capfd.readouterr().err == "", "no other console output"


def test_rotation_mirroring_and_shape_can_change_while_a_source_runs(
    sources: tuple[FrameSource, FrameSource],
) -> None:
    source, _ = sources
    if source.frame_count == 1:
        pytest.skip("this source has one frame")
    stop = threading.Event()
    with closing(source.frames(stop)) as frames:  # type: ignore[type-var]
        height, width = next(frames).image.shape[:2]
        given = SourceSettings(uri="0", rotate=90, aspect_ratio="1:1", **LIMITS)
        source.apply(given)
        longest = max(height, width)
        assert next(frames).image.shape[:2] == (longest, longest)
        source.apply(SourceSettings(uri="0", rotate=90, **LIMITS))
        turned = next(frames).image
        assert turned.shape[:2] == (width, height)
        source.apply(SourceSettings(uri="0", **LIMITS))
        assert next(frames).image.shape[:2] == (height, width)


def test_a_source_starts_no_thread(sources: tuple[FrameSource, FrameSource]) -> None:
    first(sources[0], 1)
    assert video_threads() == []


def test_the_demo_clip_is_small_and_has_the_documented_size() -> None:
    path = asset("demo.mp4")
    assert path.stat().st_size < 1_500_000
    source = make_source(SourceSettings(uri="demo"))
    frames = list(source.frames(threading.Event()))
    assert frames[0].image.shape == (480, 640, 3)
    assert 12 <= frames[-1].time_s <= 20
    assert source.fps is not None
    assert 15 <= source.fps <= 25


def test_haar_detects_faces_in_the_demo_clip() -> None:
    cascade = cv2.CascadeClassifier(str(asset("haarcascade_frontalface_default.xml")))
    counts = []
    for frame in make_source(SourceSettings(uri="demo")).frames(threading.Event()):
        if frame.index % 10 == 0:
            grey = cv2.cvtColor(frame.image, cv2.COLOR_BGR2GRAY)
            counts.append((frame.time_s, len(cascade.detectMultiScale(grey, scaleFactor=1.1, minNeighbors=4))))
    bare = [faces for time_s, faces in counts if 2.5 <= time_s < 8]
    both = [faces for time_s, faces in counts if 9 <= time_s < 13]
    assert min(bare) >= 1
    assert sum(faces >= 2 for faces in both) >= 0.8 * len(both)
    assert [faces for time_s, faces in counts if time_s < 1] == [0, 0]


def test_every_source_paints_the_blackout_into_its_frames(sources: tuple[FrameSource, FrameSource]) -> None:
    source, _ = sources
    half = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))
    source.apply(SourceSettings(uri="0", blackout=(half,), **LIMITS))
    frames = first(source, 3)
    assert frames
    for frame in frames:
        middle = frame.image.shape[1] // 2
        assert frame.image[:, :middle].max() == 0
        assert frame.image[:, middle + 2 :].max() > 0
