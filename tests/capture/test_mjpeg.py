"""Images are found in whatever a camera sends between them."""

import io

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.capture.mjpeg import MAX_IMAGE_BYTES, ImageDecoder, ImageSplitter


def jpeg(seed: int = 0, **parameters: int) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 255, (40, 56, 3), np.uint8)
    flags = [value for name, number in parameters.items() for value in (getattr(cv2, f"IMWRITE_JPEG_{name}"), number)]
    return cv2.imencode(".jpg", noise, flags)[1].tobytes()


def picture(suffix: str, seed: int) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 255, (8, 12, 3), np.uint8)
    return cv2.imencode(suffix, noise)[1].tobytes()


JPEGS = [jpeg(seed) for seed in range(6)]
BASE = JPEGS[0]
PNGS, WEBPS = ([picture(suffix, seed) for seed in range(3)] for suffix in (".png", ".webp"))
PIECES = [
    *JPEGS,
    *PNGS,
    *WEBPS,
    BASE[:700],
    PNGS[0][:200],
    b"\xff\xd8\xff",
    b"\xff\xda",
    b"\xff\xd9",
    b"\x89PNG\r\n\x1a\n",
    b"RIFF",
]


def without_tables(image: bytes) -> bytes:
    """``image`` without Huffman tables, as UVC cameras send it."""
    parts, at = [image[:2]], 2
    while image[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(image[at + 2 : at + 4], "big")
        parts += [] if image[at + 1] == 0xC4 else [image[at:end]]
        at = end
    return b"".join([*parts, image[at:]])


def with_thumbnail(image: bytes, thumbnail: bytes) -> bytes:
    """``image`` with a whole image inside an application segment."""
    segment = b"\xff\xe1" + (len(thumbnail) + 8).to_bytes(2, "big") + b"Exif\0\0" + thumbnail
    return image[:2] + segment + image[2:]


def split(stream: bytes, step: int = 1460) -> list[bytes]:
    splitter, source = ImageSplitter(), io.BytesIO(stream)
    return [image for chunk in iter(lambda: source.read(step), b"") for image in splitter.feed(chunk)]


def parts(before: str, after: str = "\r\n", images: list[bytes] = JPEGS) -> bytes:
    return b"".join(before.replace("LENGTH", str(len(image))).encode() + image + after.encode() for image in images)


@pytest.mark.parametrize(
    "stream",
    [
        parts("--frame\r\nContent-Type: image/jpeg\r\nContent-Length: LENGTH\r\n\r\n"),
        parts("frame\nContent-Length: 7\n\n", "\n\n\n"),
        parts("Content-Type: image/jpeg\r\n\r\n", ""),
        parts("--a\r\nContent-Type: text/plain\r\n\r\nhello\r\n--a\r\n\r\n"),
        parts("", ""),
        parts("\0" * 700, "\xff\xff\0"),
    ],
    ids=["regular", "no dashes, wrong length", "no boundary", "text parts", "only images", "padding"],
)
@pytest.mark.parametrize("step", [1, 3, 1460, 10**6])
def test_all_images_of_a_stream_are_found(stream: bytes, step: int) -> None:
    assert split(stream, step) == JPEGS


@pytest.mark.parametrize("images", [PNGS, WEBPS, [*PNGS, *WEBPS, *PNGS]], ids=["PNG", "WebP", "mixed"])
@pytest.mark.parametrize("step", [1, 700, 10**6])
def test_png_and_webp_are_found_and_decoded_too(
    images: list[bytes], step: int, capfd: pytest.CaptureFixture[str]
) -> None:
    found = split(parts("--frame\r\nContent-Length: 0\r\n\r\n", images=images), step)
    assert found == images
    decoder = ImageDecoder()
    for image in found:
        decoded, expected = decoder.decode(image), cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR)
        assert decoded is not None
        assert np.abs(decoded.astype(int) - expected).mean() < 5
    assert capfd.readouterr().err == ""


def test_a_png_or_webp_that_is_cut_off_costs_at_most_the_next_image() -> None:
    for whole, cut in ((PNGS, PNGS[1][:150]), (WEBPS, WEBPS[1][:60])):
        stream = b"\r\n--frame\r\n\r\n".join([whole[0], cut, whole[1], *JPEGS, whole[2]])
        assert set(split(stream)) >= {whole[0], *JPEGS[1:], whole[2]}


@pytest.mark.parametrize(
    "image",
    [
        jpeg(PROGRESSIVE=1),
        jpeg(RST_INTERVAL=1),
        jpeg(LUMA_QUALITY=5, QUALITY=100),
        without_tables(BASE),
        with_thumbnail(BASE, jpeg(9)),
        BASE[:-2] + b"\xff\xff\xff\xd9",
    ],
    ids=["progressive", "restart markers", "quality", "no tables", "thumbnail", "fill bytes"],
)
def test_every_kind_of_jpeg_is_found_whole_and_decoded(image: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    assert split(b"--x\r\n\r\n" + image + b"\r\n--x\r\n\r\n" + image) == [image, image]
    decoded = ImageDecoder().decode(image)
    assert decoded is not None
    assert decoded.shape == (40, 56, 3)
    assert decoded.dtype == np.uint8
    assert capfd.readouterr().err == ""


def test_images_are_decoded_with_their_colours() -> None:
    image = np.zeros((32, 32, 3), np.uint8)
    image[:] = (200, 60, 20)
    decoded = ImageDecoder().decode(cv2.imencode(".jpg", image)[1].tobytes())
    assert decoded is not None
    assert np.abs(decoded.astype(int) - image).max() <= 4


def test_an_image_that_is_cut_off_is_dropped() -> None:
    boundary = b"\r\n--frame\r\n\r\n"
    stream = JPEGS[0] + boundary + JPEGS[1][:900] + boundary + JPEGS[2] + boundary + JPEGS[3][:20] + boundary + JPEGS[4]
    assert split(stream) == [JPEGS[0], JPEGS[2], JPEGS[4]]


def test_a_camera_that_omits_all_end_markers_is_understood() -> None:
    images = JPEGS * 2
    stream = parts("--frame\r\nContent-Type: image/jpeg\r\n\r\n", images=[image[:-2] for image in images])
    assert split(stream) == images[3:-1], "after three images; the last one has no successor"


def test_memory_is_bounded() -> None:
    splitter = ImageSplitter()
    zeros = bytes(2**20)
    splitter.feed(b"\xff\xd8\xff\xda\0\2")  # a scan that never ends
    for _ in range(MAX_IMAGE_BYTES // len(zeros) + 2):
        assert splitter.feed(zeros) == []
    assert not splitter.has_begun
    assert splitter.skipped_bytes > MAX_IMAGE_BYTES
    assert splitter.feed(BASE) == [BASE]


@settings(max_examples=150)
@given(st.lists(st.one_of(st.binary(max_size=300), st.sampled_from(PIECES))), st.integers(1, 3000))
def test_any_bytes_are_split_without_an_error(pieces: list[bytes], step: int) -> None:
    """Whatever comes, each result is a whole image of the stream, and the way the bytes arrive does not matter."""
    stream = b"".join(pieces)
    images = split(stream, step)
    assert images == split(stream, 10**6)
    for image in images:
        kind = image[:1]
        assert kind in (b"\xff", b"\x89", b"R")
        assert kind != b"\xff" or image[-2:] == b"\xff\xd9"
        assert kind != b"\x89" or image[-8:-4] == b"IEND"
    decoder = ImageDecoder()
    for image in images:
        decoded = decoder.decode(image)
        assert decoded is None or decoded.ndim == 3


@settings(max_examples=60)
@given(st.binary(max_size=400).filter(lambda junk: b"\xff" not in junk), st.lists(st.sampled_from(JPEGS), min_size=1))
def test_images_are_found_after_any_text(junk: bytes, images: list[bytes]) -> None:
    assert split(b"".join(junk + image for image in images)) == images


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_jpeg_is_turned_by_its_exif_data(orientation: int) -> None:
    image = np.zeros((40, 80, 3), np.uint8)
    image[:20, :40] = 250  # the upper left corner is bright
    plain = cv2.imencode(".jpg", image)[1].tobytes()
    tiff = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0" + bytes([orientation]) + b"\0\0\0\0\0\0\0"
    exif = b"Exif\0\0" + tiff
    jpeg = plain[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + plain[2:]
    decoded = ImageDecoder().decode(jpeg)
    assert decoded is not None
    expected = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert decoded.shape == expected.shape
    assert np.abs(decoded.astype(int) - expected).mean() < 5
