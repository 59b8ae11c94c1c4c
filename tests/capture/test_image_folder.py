"""Images as a source: all formats become upright BGR uint8, and an unreadable file is a one-line error."""

import base64
import logging
import os
import struct
import threading
import zlib
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from fakes_video import striped_image, write_clip

from app.capture.image_folder import ImageSource, list_images, read_image
from app.capture.opencv_backend import to_bgr
from app.capture.source import make_source
from app.core.errors import SourceError
from app.settings.source import SourceSettings

COLOUR = np.zeros((20, 30, 3), np.uint8)
COLOUR[:, :15] = (200, 100, 50)


def save(path: Path, image: np.ndarray) -> Path:
    assert cv2.imwrite(str(path), image)
    return path


def with_exif_orientation(jpeg: bytes, orientation: int) -> bytes:
    tiff = b"II*\x00\x08\x00\x00\x00\x01\x00" + struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0) + b"\x00" * 4
    body = b"Exif\x00\x00" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + jpeg[2:]


@pytest.mark.parametrize(
    ("name", "image"),
    [
        ("colour.png", COLOUR),
        ("grey.png", COLOUR[..., 0]),
        ("alpha.png", np.dstack([COLOUR, np.full((20, 30), 128, np.uint8)])),
        ("deep.png", COLOUR.astype(np.uint16) * 257),
        ("deep_grey.png", COLOUR[..., 0].astype(np.uint16) * 257),
        ("deep_alpha.png", np.dstack([COLOUR, COLOUR[..., :1]]).astype(np.uint16) * 257),
        ("deep.tiff", COLOUR.astype(np.uint16) * 257),
        ("colour.bmp", COLOUR),
        ("colour.webp", COLOUR),
        ("pixel.png", COLOUR[:1, :1]),
        ("row.jpg", COLOUR[:1]),
    ],
)
def test_every_format_becomes_bgr_uint8(tmp_path: Path, name: str, image: np.ndarray) -> None:
    read = read_image(save(tmp_path / name, image))
    assert read.dtype == np.uint8
    assert read.shape == (*image.shape[:2], 3)
    assert abs(int(read[0, 0, 0]) - 200) < 8


def write_with_ffmpeg(path: Path, images: list[np.ndarray], codec: str, pixel_format: str, **options: str) -> Path:
    with av.open(str(path), "w", options=options) as container:
        stream: Any = container.add_stream(codec, rate=10)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = pixel_format
        for image in images:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="bgr24")
            container.mux(stream.encode(frame.reformat(format=pixel_format)))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize(
    ("name", "codec", "pixel_format"),
    [
        ("a.jfif", "mjpeg", "yuvj444p"),
        ("a.JFIF", "mjpeg", "yuvj444p"),
        ("a.gif", "gif", "rgb8"),
        ("a.pam", "pam", "rgb24"),
        ("a.qoi", "qoi", "rgb24"),
        ("a.TGA", "targa", "bgr24"),
    ],
)
def test_images_of_a_folder_are_those_that_are_read_alone(
    tmp_path: Path, name: str, codec: str, pixel_format: str
) -> None:
    if codec == "mjpeg":
        save(tmp_path / "a.jpg", COLOUR).rename(tmp_path / name)
    else:
        options = {"update": "1"} if codec != "gif" else {}
        write_with_ffmpeg(tmp_path / name, [COLOUR], codec, pixel_format, **options)
    for uri in (tmp_path, tmp_path / name):
        (frame,) = make_source(SourceSettings(uri=str(uri))).frames(threading.Event())
        assert frame.image.shape == COLOUR.shape
        assert frame.image[5, 5].tolist() == pytest.approx([200, 100, 50], abs=35)  # GIF has few colours


AVIF = base64.b64decode(
    "AAAAIGZ0eXBhdmlmAAAAAGF2aWZtaWYxbWlhZk1BMUEAAAD1bWV0YQAAAAAAAAAhaGRscgAAAAAAAAAAcGljdAAAAAAAAAAAAAAAAAAAAAAOcG"
    "l0bQAAAAAAAQAAAB5pbG9jAAAAAEQAAAEAAQAAAAEAAAEdAAAAMAAAAChpaW5mAAAAAAABAAAAGmluZmUCAAAAAAEAAGF2MDFDb2xvcgAAAAB0"
    "aXBycAAAAFRpcGNvAAAAFGlzcGUAAAAAAAAAHgAAABQAAAAQcGl4aQAAAAADCAgIAAAADGF2MUOBIAAAAAAAE2NvbHJuY2x4AAEADQAGgAAAAA"
    "lpcm90AwAAABhpcG1hAAAAAAAAAAEAAQUBAoMEhQAAADhtZGF0EgAKCDgROzaQENBpMiJF4JjBMJJJJMoAAAEAyD4r5fnwq+EO1YDchXkB4m5l"
    "V3Lg"
)
"""30 x 20 pixels, bright on the left, with a rotation by a quarter to the right (box irot)."""


@pytest.mark.parametrize("opencv_reads_it", [True, False])
def test_the_rotation_of_an_avif_image_is_applied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opencv_reads_it: bool
) -> None:
    (tmp_path / "a.AVIF").write_bytes(AVIF)
    if not opencv_reads_it:
        monkeypatch.setattr("app.capture.image_folder.cv2.imdecode", lambda *_: None)
    (path,) = list_images(tmp_path)
    image = read_image(path)
    assert image.shape == (30, 20, 3)
    assert image[2, 10].tolist() == pytest.approx([200, 100, 50], abs=20)
    assert image[-2, 10].max() < 20


@pytest.mark.parametrize("brand", [b"heic", b"mif1"])
def test_heic_is_refused_by_name(tmp_path: Path, brand: bytes, caplog: pytest.LogCaptureFixture) -> None:
    heic = struct.pack(">I4s4sI4s4s", 24, b"ftyp", brand, 0, b"mif1", b"heic") + bytes(100)
    (tmp_path / "IMG_1.HEIC").write_bytes(heic)
    (tmp_path / "IMG_2.jpg").write_bytes(heic)  # renamed, not converted
    save(tmp_path / "IMG_3.png", COLOUR)
    for name in ("IMG_1.HEIC", "IMG_2.jpg"):
        with pytest.raises(SourceError, match=rf"{name} is in the format HEIC, which cannot be read; save it as JPEG"):
            list(make_source(SourceSettings(uri=str(tmp_path / name))).frames(threading.Event()))
    assert len(list(ImageSource(SourceSettings(uri=str(tmp_path))).frames(threading.Event()))) == 1
    assert [record.getMessage().count("HEIC, which") for record in caplog.records] == [1, 1]


@pytest.mark.parametrize("name", ["a.tif", "a.gif"])
def test_the_other_pages_of_an_image_are_reported(tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    pages = [COLOUR, COLOUR[:, ::-1].copy()]
    if name.endswith(".gif"):
        write_with_ffmpeg(tmp_path / name, pages, "gif", "rgb8")
    else:
        assert cv2.imwritemulti(str(tmp_path / name), pages)
    assert read_image(tmp_path / name)[5, 5, 0] > 150
    assert [record.getMessage().partition("contains")[2] for record in caplog.records] == [
        " 2 images; only the first is read"
    ]


def test_a_path_may_contain_any_letters(tmp_path: Path) -> None:
    save(tmp_path / "x.png", COLOUR).rename(tmp_path / "gesicht – 面.png")
    assert read_image(tmp_path / "gesicht – 面.png").shape == COLOUR.shape


@pytest.mark.parametrize(("orientation", "shape"), [(1, (20, 30)), (3, (20, 30)), (6, (30, 20)), (8, (30, 20))])
def test_the_exif_orientation_is_applied(tmp_path: Path, orientation: int, shape: tuple[int, int]) -> None:
    jpeg = cv2.imencode(".jpg", COLOUR)[1].tobytes()
    path = tmp_path / "a.jpg"
    path.write_bytes(with_exif_orientation(jpeg, orientation))
    image = read_image(path)
    assert image.shape[:2] == shape
    bright_corner = {1: (0, 0), 3: (0, -1), 6: (0, 0), 8: (-1, 0)}[orientation]
    assert image[bright_corner][0] > 150


@pytest.mark.parametrize("kind", [".jpg", ".png", ".bmp", ".webp", ".tiff"])
def test_an_incomplete_image_is_a_one_line_error_or_an_image(
    tmp_path: Path, kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    whole = cv2.imencode(kind, np.random.default_rng(1).integers(0, 255, (64, 64, 3), np.uint8))[1].tobytes()
    path = tmp_path / f"a{kind}"
    for length in range(1, len(whole), max(1, len(whole) // 25)):
        path.write_bytes(whole[:length])
        try:
            image = read_image(path)
        except SourceError as error:
            assert "\n" not in str(error)  # noqa: PT017 - both results are correct
            continue
        assert image.shape == (64, 64, 3)
    assert capfd.readouterr().err == "", "the libraries print no output"


def test_a_damaged_png_is_a_one_line_error_without_other_output(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    coded = bytearray(cv2.imencode(".png", COLOUR)[1].tobytes())
    profile = b"iCCPx\x00\x00nonsense"
    chunk = struct.pack(">I", len(profile) - 4) + profile + struct.pack(">I", zlib.crc32(profile))
    path = tmp_path / "a.png"
    path.write_bytes(coded[:33] + chunk + coded[33:])
    assert read_image(path).tolist() == COLOUR.tolist(), "an invalid colour profile is ignored"
    coded[60] ^= 0xFF
    path.write_bytes(coded)
    with pytest.raises(SourceError, match="a checksum is wrong"):
        read_image(path)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("content", "reason"), [(b"", "is empty"), (b"hello world", "not a readable image"), (None, "no such image")]
)
def test_a_file_that_is_not_an_image_is_a_one_line_error(tmp_path: Path, content: bytes | None, reason: str) -> None:
    path = tmp_path / "a.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SourceError, match=reason):
        list(ImageSource(SourceSettings(uri=str(path))).frames(threading.Event()))


def test_a_video_in_place_of_an_image_is_named(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a b.mp4", [striped_image(1)])
    with pytest.raises(SourceError, match=r"is a video; type maskwatch watch --source '.*a b\.mp4'"):
        read_image(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(path := tmp_path / "a.png")
    with pytest.raises(SourceError, match=r"a\.png is not a file"):
        read_image(path)


def test_a_folder_is_read_in_natural_order(tmp_path: Path) -> None:
    for name in ("b10.png", "b9.png", "A1.png", "b9a.png", ".hidden.png", "note.txt"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "sub.png").mkdir()
    assert [path.name for path in list_images(tmp_path)] == ["A1.png", "b9.png", "b9a.png", "b10.png"]


def test_an_unreadable_image_among_others_is_logged_and_skipped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save(tmp_path / "1.png", COLOUR)
    (tmp_path / "2.png").write_bytes(b"nonsense")
    save(tmp_path / "3.png", COLOUR[:7])
    source = ImageSource(SourceSettings(uri=str(tmp_path), fps=2))
    with caplog.at_level(logging.WARNING):
        frames = list(source.frames(threading.Event()))
    assert [frame.image.shape[0] for frame in frames] == [20, 7]
    assert [(frame.index, frame.time_s) for frame in frames] == [(0, 0.0), (1, 0.5)]
    assert [record.getMessage().count("2.png") for record in caplog.records] == [1]


@pytest.mark.parametrize(("names", "reason"), [((), "contains no image"), (("1.png", "2.png"), "none of the 2")])
def test_a_folder_without_a_readable_image_is_a_one_line_error(
    tmp_path: Path, names: tuple[str, ...], reason: str
) -> None:
    for name in names:
        (tmp_path / name).write_bytes(b"nonsense")
    with pytest.raises(SourceError, match=reason):
        list(ImageSource(SourceSettings(uri=str(tmp_path))).frames(threading.Event()))


def test_a_loop_continues_until_stopped(tmp_path: Path) -> None:
    save(tmp_path / "1.png", COLOUR)
    stop = threading.Event()
    indices = []
    for frame in ImageSource(SourceSettings(uri=str(tmp_path), loop=True)).frames(stop):
        indices.append((frame.index, frame.time_s))
        if len(indices) == 3:
            stop.set()
    assert indices == [(0, 0.0), (1, 1.0), (2, 2.0)]


def test_floating_point_images_and_other_numbers_of_channels() -> None:
    assert to_bgr(np.array([[0.5, np.nan]], np.float32)).tolist() == [[[127] * 3, [0] * 3]]
    assert to_bgr(COLOUR[..., :1]).shape == COLOUR.shape
    with pytest.raises(ValueError, match="2 channels"):
        to_bgr(COLOUR[..., :2])
