"""Videos as recorders and phones write them: each frame shows its own content, deinterlaced, upright and in shape."""

import gc
import struct
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from fakes_net import free_port
from fakes_video import LIMIT_S, striped_image, write_clip

from app.capture.pyav_backend import PyavReader
from app.capture.source import make_source
from app.core.errors import SourceError
from app.core.types import Frame, Image
from app.settings.source import SourceSettings

COUNT = 8


def grey_image(index: int, width_px: int = 96, height_px: int = 64) -> Image:
    """Grey, so that every colour matrix gives the same image: a ramp with a bright bar that moves."""
    image = np.repeat(np.linspace(40, 160, height_px).astype(np.uint8)[:, None], width_px, axis=1)
    image[:, 8 * index : 8 * index + 8] = 220
    return np.dstack([image] * 3)


def write(
    path: Path,
    images: Sequence[Image],
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    options: dict[str, str] | None = None,
    matrix: int | None = None,
    pixel_aspect: Fraction | None = None,
    fps: int = 25,
) -> Path:
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=fps, options=options or {})
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = pixel_format
        if matrix is not None:
            stream.codec_context.colorspace = matrix
        if pixel_aspect is not None:
            stream.codec_context.sample_aspect_ratio = pixel_aspect
        for i, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="bgr24")
            frame = frame.reformat(format=pixel_format)
            if matrix is not None:
                frame.colorspace = matrix  # only the tag: the pixels are grey
            frame.pts, frame.time_base = i, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def play(path: Path, **settings: object) -> list[Frame]:
    source = make_source(SourceSettings.model_validate({"uri": str(path), **settings}))
    return list(source.frames(threading.Event()))


@contextmanager
def disabled_collector() -> Iterator[None]:
    """Without the garbage collector, objects that refer to each other stay."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def error(image: Image, expected: Image) -> float:
    assert image.shape == expected.shape
    return float(np.abs(image.astype(int) - expected).mean())


INTERLACED = {"x264-params": "tff=1:qp=4"}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("tff.mp4", {"options": INTERLACED}),
        ("bff.mkv", {"options": {"x264-params": "bff=1:qp=4"}}),
        ("interlaced_10_bit.mkv", {"options": INTERLACED, "pixel_format": "yuv422p10le"}),
        ("mpeg2.ts", {"codec": "mpeg2video", "options": {"flags": "+ilme+ildct", "qmin": "1", "qmax": "2"}}),
        ("full_range.mp4", {"pixel_format": "yuvj420p"}),
        ("10_bit.mp4", {"pixel_format": "yuv420p10le"}),
        ("grey.mkv", {"codec": "ffv1", "pixel_format": "gray"}),
        ("rgb.mkv", {"codec": "libx264rgb", "pixel_format": "rgb24"}),
        ("alpha.mov", {"codec": "qtrle", "pixel_format": "argb"}),
        ("bgr.avi", {"codec": "rawvideo", "pixel_format": "bgr24"}),  # needs no conversion
        ("16_bit.mov", {"codec": "png", "pixel_format": "rgb48be"}),
        *((f"matrix_{matrix}.mkv", {"matrix": matrix}) for matrix in range(1, 15)),
        *((f"matrix_{matrix}.mp4", {"matrix": matrix, "options": INTERLACED}) for matrix in (9, 10)),
    ],
)
def test_each_video_shows_its_own_frames(tmp_path: Path, name: str, kind: dict[str, Any]) -> None:
    """OpenCV returned the memory of the video before, and success."""
    play(write(tmp_path / "before.mp4", [np.full((64, 96, 3), 255 * (i % 2), np.uint8) for i in range(COUNT)]))
    images = [grey_image(i) for i in range(COUNT)]
    frames = play(write(tmp_path / name, images, **kind))
    assert len(frames) == COUNT
    assert max(error(frame.image, image) for frame, image in zip(frames, images, strict=True)) < 6
    assert [frame.time_s for frame in frames] == pytest.approx([i / 25 for i in range(COUNT)], abs=0.003)


def test_the_fields_of_interlaced_frames_are_separated(tmp_path: Path) -> None:
    moments = [grey_image(i) for i in range(COUNT)]
    woven = [image.copy() for image in moments[:-1]]
    for image, later in zip(woven, moments[1:], strict=True):
        image[1::2] = later[1::2]
    frames = play(write(tmp_path / "a.mp4", woven, options=INTERLACED))
    combs = [np.abs(np.diff(frame.image[..., 0].astype(int), axis=0)).mean() for frame in frames]
    assert np.abs(np.diff(woven[3][..., 0].astype(int), axis=0)).mean() > 10
    assert max(combs) < 5


@pytest.mark.parametrize("sizes", [((96, 64), (96, 64), (96, 64)), ((96, 64), (160, 96), (112, 80))])
def test_a_stream_may_become_interlaced_or_change_its_size(tmp_path: Path, sizes: tuple[tuple[int, int], ...]) -> None:
    images = [[grey_image(i, *size) for i in range(COUNT)] for size in sizes]
    parts = [write(tmp_path / f"{i}.ts", part, options=INTERLACED if i == 1 else None) for i, part in enumerate(images)]
    path = tmp_path / "all.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    frames = play(path)
    assert len(frames) == 3 * COUNT
    assert max(error(frame.image, image) for frame, image in zip(frames, chain(*images), strict=True)) < 6


@pytest.mark.parametrize("size", [(97, 65), (33, 17), (1, 1)])
def test_odd_sizes_keep_all_columns_and_rows(tmp_path: Path, size: tuple[int, int]) -> None:
    images = [grey_image(0, *size)] * 3
    for name, codec, pixel_format in (("a.mkv", "ffv1", "yuv420p"), ("a.avi", "mjpeg", "yuvj420p")):
        frames = play(write(tmp_path / name, images, codec, pixel_format))
        assert len(frames) == 3
        assert error(frames[0].image, images[0]) < 8


@pytest.mark.parametrize("colour", [(30, 60, 200), (200, 40, 30), (40, 180, 60), (255, 255, 255), (0, 0, 0)])
def test_the_colours_of_ycgco_are_right(tmp_path: Path, colour: tuple[int, int, int]) -> None:
    """Encoded here by ITU-T H.273, equations 58 to 60."""
    blue, green, red = colour
    planes = np.array([red + 2 * green + blue, 2 * green - red - blue, 2 * (red - blue)]) / 4
    coded = np.round(planes * (219 / 255, 224 / 255, 224 / 255) + (16, 128, 128)).astype(np.uint8)
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream: Any = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 16, "yuv444p"
        stream.codec_context.colorspace = 8
        frame = av.VideoFrame.from_ndarray(np.tile(coded[:, None, None], (1, 16, 32)), format="yuv444p")
        frame.colorspace = 8
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert play(tmp_path / "a.mkv")[0].image[8, 8].tolist() == pytest.approx(colour, abs=3)


def marked(rows: int = 48, columns: int = 64) -> Image:
    """Dark with a bright upper left corner and a grey upper right corner."""
    image = np.full((rows, columns, 3), 20, np.uint8)
    image[: rows // 3, : columns // 3] = 230
    image[: rows // 3, -columns // 3 :] = 120
    return image


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        ((1, 0, 0, 1), lambda image: image),
        ((0, 1, -1, 0), lambda image: np.rot90(image, -1)),
        ((-1, 0, 0, -1), lambda image: np.rot90(image, 2)),
        ((0, -1, 1, 0), lambda image: np.rot90(image)),
        ((-1, 0, 0, 1), lambda image: image[:, ::-1]),
        ((1, 0, 0, -1), lambda image: image[::-1]),
        ((0, 1, 1, 0), lambda image: image.transpose(1, 0, 2)),
        ((0, -1, -1, 0), lambda image: np.rot90(image, 2).transpose(1, 0, 2)),
    ],
)
@pytest.mark.parametrize("pixel_aspect", [1, 2])
def test_the_display_matrix_of_a_phone_is_applied(
    tmp_path: Path, matrix: tuple[int, ...], expected: Any, pixel_aspect: int
) -> None:
    a, b, c, d = (value << 16 for value in matrix)
    image = marked()
    coded = image if pixel_aspect == 1 else cv2.resize(image, (32, 48))
    path = write(tmp_path / "a.mp4", [coded] * 3, pixel_aspect=Fraction(pixel_aspect))
    content = path.read_bytes()
    place = content.index(b"tkhd") + 4 + 40  # ISO 14496-12: the matrix of a version 0 track header
    path.write_bytes(content[:place] + struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30) + content[place + 36 :])
    shown = expected(image)
    for frame in play(path):
        assert error(frame.image, shown) < 12


def test_the_orientation_in_an_h264_stream_holds_for_all_its_frames(tmp_path: Path) -> None:
    write(tmp_path / "a.h264", [marked()] * COUNT, options={"x264-params": "keyint=4"})
    stream = (tmp_path / "a.h264").read_bytes()
    # ITU-T H.264, D.1.27: payload 47, 3 bytes: no cancel, no flips, a quarter to the left (16384 in 16 bits), period 1.
    bits = "0" + "0" + "0" + f"{16384:016b}" + "010" + "0"
    payload = int(bits.ljust(24, "1"), 2).to_bytes(3, "big")
    message = b"\x00\x00\x00\x01\x06" + bytes([47, len(payload)]) + payload + b"\x80"
    (tmp_path / "a.h264").write_bytes(stream.replace(b"\x00\x00\x01\x65", message + b"\x00\x00\x01\x65"))
    frames = play(tmp_path / "a.h264")
    assert len(frames) == COUNT
    assert {frame.image.shape for frame in frames} == {(64, 48, 3)}
    assert error(frames[-1].image, np.rot90(marked())) < 12


@pytest.mark.parametrize(
    ("pixel_aspect", "settings", "shape"),
    [
        (Fraction(2), {}, (48, 128)),  # 1080N: half of the columns
        (Fraction(1, 2), {}, (96, 64)),
        (Fraction(16, 15), {}, (48, 68)),  # D1
        (Fraction(1), {}, (48, 64)),
        (Fraction(1001, 1000), {}, (48, 64)),
        (Fraction(50), {}, (48, 64)),  # an error of the encoder
        (None, {"aspect_ratio": "16:9"}, (48, 85)),
        (Fraction(2), {"aspect_ratio": "4:3"}, (48, 64)),
        (None, {"aspect_ratio": "1:1"}, (64, 64)),
        (None, {"aspect_ratio": "16:9", "rotate": 90}, (85, 48)),
        (None, {"rotate": "270"}, (64, 48)),
    ],
)
def test_pixels_are_made_square(
    tmp_path: Path, pixel_aspect: Fraction | None, settings: dict[str, object], shape: tuple[int, int]
) -> None:
    path = write(tmp_path / "a.mp4", [marked()] * 2, pixel_aspect=pixel_aspect)
    assert [frame.image.shape[:2] for frame in play(path, **settings)] == [shape] * 2


def test_the_pixel_shape_may_change_in_a_stream(tmp_path: Path) -> None:
    parts = [write(tmp_path / f"{i}.ts", [marked()] * 3, pixel_aspect=Fraction(1 + i)) for i in range(2)]
    path = tmp_path / "both.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    widths_px = [frame.image.shape[1] for frame in play(path)]
    assert (widths_px[0], widths_px[-1]) == (64, 128)


def test_no_decoded_frame_stays_in_memory(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", [grey_image(i % 8) for i in range(30)])
    with disabled_collector():
        assert len(play(path)) == 30
        alive = sum(isinstance(each, av.VideoFrame) for each in gc.get_objects())
    assert alive == 0


@pytest.mark.parametrize(("width_px", "given", "threads"), [(1920, 0, 1), (1936, 0, 0), (96, 2, 2)])
def test_one_thread_decodes_a_small_video(tmp_path: Path, width_px: int, given: int, threads: int) -> None:
    path = write(tmp_path / "a.mp4", [np.zeros((1080, width_px, 3), np.uint8)])
    reader = PyavReader(str(path), threads=given)
    assert reader.stream.codec_context.thread_count == threads
    assert reader.read()[0]
    reader.release()


def test_a_raw_stream_plays_at_its_own_rate(tmp_path: Path) -> None:
    path = write(tmp_path / "A.H264", [grey_image(i) for i in range(COUNT)], fps=10)
    frames = play(path)
    assert [frame.time_s for frame in frames] == pytest.approx([i / 10 for i in range(COUNT)], abs=0.01)


def test_an_animated_gif_is_a_video(tmp_path: Path) -> None:
    images = [np.where(striped_image(i) > 100, 255, 0).astype(np.uint8) for i in range(6)]
    path = write(tmp_path / "a.GIF", images, "gif", "gray", fps=10)
    frames = play(path)
    assert [frame.time_s for frame in frames] == pytest.approx([i / 10 for i in range(6)], abs=0.011)
    assert max(error(frame.image, image) for frame, image in zip(frames, images, strict=True)) < 5


def write_with_cover(path: Path, attached: bool) -> Path:
    """A video whose first track is a red image."""
    red = np.zeros((40, 40, 3), np.uint8)
    red[..., 2] = 250
    with av.open(str(path), "w") as container:
        cover: Any = container.add_stream("mjpeg", rate=25)
        cover.width, cover.height, cover.pix_fmt = 40, 40, "yuvj420p"
        if attached:
            cover.disposition = av.stream.Disposition.attached_pic
        video: Any = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        container.mux(cover.encode(av.VideoFrame.from_ndarray(red, format="bgr24")))
        container.mux(cover.encode())
        for i in range(COUNT):
            container.mux(video.encode(av.VideoFrame.from_ndarray(grey_image(i), format="bgr24")))
        container.mux(video.encode())
    return path


@pytest.mark.parametrize(("name", "attached"), [("a.mp4", True), ("a.mp4", False), ("a.mkv", False)])
def test_a_cover_image_is_not_the_video(tmp_path: Path, name: str, attached: bool) -> None:
    frames = play(write_with_cover(tmp_path / name, attached))
    assert len(frames) == COUNT
    assert error(frames[3].image, grey_image(3)) < 6


def test_a_file_without_video_says_so(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.m4a"), "w") as container:
        stream: Any = container.add_stream("aac", rate=8000, layout="mono")
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        silence.sample_rate = 8000
        container.mux(stream.encode(silence))
        container.mux(stream.encode())
    with pytest.raises(SourceError, match="contains no video; give a file"):
        play(tmp_path / "a.m4a")


@pytest.mark.parametrize("suffix", [".m3u8", ".M3U"])
def test_a_local_hls_playlist_is_a_video(tmp_path: Path, suffix: str) -> None:
    write_clip(tmp_path / "a.m3u8", [grey_image(i) for i in range(COUNT)], options={"hls_playlist_type": "vod"})
    (tmp_path / "a.m3u8").rename(tmp_path / f"b{suffix}")
    assert len(play(tmp_path / f"b{suffix}")) == COUNT


def test_a_list_of_addresses_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.m3u").write_text("#EXTM3U\n#EXTINF:-1,door\nrtsp://camera/live\n")
    with pytest.raises(SourceError, match="list of addresses, not a video; give one of them"):
        play(tmp_path / "a.m3u")


@pytest.fixture
def sender() -> Iterator[Any]:
    """Sends interlaced video to an address in a thread until the test ends."""
    stop, threads = threading.Event(), []

    def send(address: str, container_format: str) -> None:
        with av.open(address, "w", format=container_format) as container:
            stream: Any = container.add_stream("libx264", rate=25, options={"x264-params": "tff=1:keyint=5:bframes=0"})
            stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
            for i in range(10**6):
                frame = av.VideoFrame.from_ndarray(grey_image(3), format="bgr24")
                frame.pts = i
                container.mux(stream.encode(frame))
                if stop.wait(0.02):
                    return

    def start(address: str, container_format: str) -> None:
        threads.append(threading.Thread(target=send, args=(address, container_format), name="sender"))
        threads[-1].start()

    yield start
    stop.set()
    for thread in threads:
        thread.join(LIMIT_S)
        assert not thread.is_alive()


def first_images(settings: SourceSettings, count: int) -> list[Image]:
    source = make_source(settings)
    assert source.is_live
    stop, images = threading.Event(), []
    for frame in source.frames(stop):
        images.append(frame.image)
        if len(images) == count:
            stop.set()
    return images


@pytest.mark.parametrize("at", ["@", ""])
def test_udp_without_a_host_receives_on_its_port(sender: Any, at: str) -> None:
    port = free_port()
    sender(f"udp://127.0.0.1:{port}?pkt_size=1316", "mpegts")
    settings = SourceSettings(uri=f"udp://{at}:{port}", open_timeout_s=LIMIT_S, read_timeout_s=LIMIT_S)
    assert settings.name == f"udp-{port}"
    assert max(error(image, grey_image(3)) for image in first_images(settings, 3)) < 6


def test_a_session_description_is_a_live_stream(sender: Any, tmp_path: Path) -> None:
    port = free_port()
    path = tmp_path / "door.SDP"
    path.write_text(
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
        f"m=video {port} RTP/AVP 96\na=rtpmap:96 H264/90000\na=fmtp:96 packetization-mode=1\n"
    )
    sender(f"rtp://127.0.0.1:{port}", "rtp")
    settings = SourceSettings(uri=str(path), open_timeout_s=LIMIT_S, read_timeout_s=LIMIT_S)
    assert settings.name == "door"
    assert max(error(image, grey_image(3)) for image in first_images(settings, 3)) < 6


def test_a_missing_session_description_is_a_one_line_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no such file: .*a\.sdp; check the path"):
        first_images(SourceSettings(uri=str(tmp_path / "a.sdp")), 1)


def test_a_recorder_and_its_interlaced_copy_show_the_same(shared_data: Path) -> None:
    folder = shared_data.parent / "field"
    if not folder.is_dir():
        pytest.skip("recordings of the field (../shared/field) are not part of the project")
    frames, plain = play(folder / "interlaced.mp4"), play(folder / "plain.mp4")
    assert len(frames) == len(plain)
    assert max(error(a.image, b.image) for a, b in zip(frames[5::20], plain[5::20], strict=True)) < 6


@pytest.mark.parametrize("codec", ["libx264", "mpeg4", "mjpeg"])
@pytest.mark.parametrize("limit", ["", "_MOST_KEPT", "_MOST_KEPT_BYTES"])
def test_an_image_after_skipped_ones_is_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, codec: str, limit: str
) -> None:
    """With a ``limit`` of 0 each skipped packet is decoded at once, as if too many were kept."""
    if limit:
        monkeypatch.setattr(f"app.capture.pyav_backend.{limit}", 0)
    pixels, options = ("yuvj420p", {}) if codec == "mjpeg" else ("yuv420p", {"bf": "0", "g": "5"})
    if codec == "libx264":
        options |= {"tune": "zerolatency", "x264-params": "scenecut=0"}
    path = write(tmp_path / "cam.mkv", [grey_image(i) for i in range(COUNT)], codec, pixels, options)
    every, skipping = PyavReader(str(path), threads=1), PyavReader(str(path), threads=1)
    images = [every.read()[1] for _ in range(COUNT)]
    assert (skipping.read()[1] == images[0]).all()
    assert [skipping.grab() for _ in range(3)] == [True] * 3
    assert skipping.backlog == (0 if limit else 1 if codec == "mjpeg" else 3)
    assert skipping.get(cv2.CAP_PROP_POS_MSEC) == pytest.approx(120)
    assert (skipping.read()[1] == images[4]).all()
    assert skipping.backlog == 0
    assert skipping.grab()
    assert skipping.backlog == (not limit), "a key frame needs none of the packets before it"
    assert (skipping.read()[1] == images[6]).all()
    while skipping.grab():
        pass
    assert skipping.read() == (False, None)
    every.release()
    skipping.release()


def test_a_skipped_image_with_b_frames_has_a_time(tmp_path: Path) -> None:
    """FFmpeg does not know at once when such a packet is decoded."""
    options = {"bf": "3", "x264-params": "scenecut=0:b-adapt=0"}
    path = write(tmp_path / "cam.mkv", [grey_image(i) for i in range(COUNT)], options=options)
    reader = PyavReader(str(path))
    for _ in range(4):
        assert reader.grab()
        assert reader.get(cv2.CAP_PROP_POS_MSEC) >= 0
    reader.release()


def test_a_hardware_decoder_that_is_missing_is_replaced_by_the_cpu(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    missing = "videotoolbox" if sys.platform == "win32" else "d3d11va"
    path = write(tmp_path / "a.mp4", [grey_image(i) for i in range(3)])
    for _ in range(2):
        assert len(play(path, decoder=missing)) == 3
    (message,) = [record.message for record in caplog.records]
    assert message.startswith(f"the hardware decoder {missing} cannot be used: this FFmpeg has only ")
    assert message.endswith("; the CPU decodes")


@pytest.mark.parametrize("name", ["cuda", "auto"])
def test_a_hardware_decoder_gives_the_frames_of_the_cpu(tmp_path: Path, name: str) -> None:
    """On a machine without such a device, or with a codec that it does not know, the CPU decodes."""
    path = write(tmp_path / "a.mp4", [grey_image(i) for i in range(COUNT)])
    for with_hardware, expected in zip(play(path, decoder=name), play(path), strict=True):
        assert error(with_hardware.image, expected.image) < 2
