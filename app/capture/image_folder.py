"""Images as a source: one file, or the files of a folder in natural order."""

import logging
import re
import shlex
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from av.error import FFmpegError
from numpy.typing import NDArray

from app.capture.geometry import corrected
from app.capture.opencv_backend import check_file, silence_ffmpeg, to_bgr
from app.capture.pyav_backend import PyavReader
from app.core.errors import SourceError
from app.core.files import is_folder
from app.core.types import Frame, Image
from app.settings.source import SourceSettings
from app.settings.source_uri import IMAGE_SUFFIXES, VIDEO_SUFFIXES

IMAGES_PER_S = 1.0
"""Frame rate of a folder if the settings give no rate."""

_HEAD_BYTES = 4096
_FFMPEG_SUFFIXES = frozenset({".apng", ".gif", ".jp2", ".pam", ".qoi", ".tga"})
"""Read by FFmpeg where OpenCV cannot, as AVIF, which OpenCV reads in some versions only."""
_PAGED_SUFFIXES = frozenset({".apng", ".gif", ".tif", ".tiff", ".webp"})
_PNG = b"\x89PNG\r\n\x1a\n"
_log = logging.getLogger(__name__)


def natural_key(path: Path) -> tuple[tuple[int, int, str], ...]:
    """Sort key that puts ``9.png`` before ``10.png`` and ignores case."""
    parts = re.split(r"(\d+)", path.name.casefold())
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts)


def list_images(folder: Path) -> list[Path]:
    """The image files directly in ``folder``, in natural order. Raises SourceError if it cannot be read."""
    try:
        paths = [p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith(".")]
        return sorted((p for p in paths if p.is_file()), key=natural_key)
    except OSError as error:
        raise SourceError(f"cannot read folder {folder}: {error.strerror}; check its permissions") from error


def read_image(path: Path) -> Image:
    """(H, W, 3) uint8 BGR of an image file, rotated according to its EXIF. Raises SourceError in one line."""
    silence_ffmpeg()
    check_file(path, "image")  # to read a pipe may take for ever
    try:
        coded = np.fromfile(path, np.uint8)  # imread cannot open every path on Windows
    except OSError as error:
        raise SourceError(f"cannot read image {path}: {error.strerror}; check the path") from error
    head = coded[:_HEAD_BYTES].tobytes()
    brands = head[8:64] if head[4:8] == b"ftyp" else b""
    is_avif = b"avif" in brands or b"avis" in brands
    if not is_avif and any(brand in brands for brand in (b"heic", b"heix", b"hevc", b"mif1", b"msf1")):
        raise SourceError(f"image {path} is in the format HEIC, which cannot be read; save it as JPEG")
    try:
        coded = np.frombuffer(_plain_png(coded.tobytes()), np.uint8) if head[:8] == _PNG else coded
    except ValueError as error:
        raise SourceError(f"image {path} is incomplete or damaged: {error}; copy it again") from error
    try:
        # Rotates by EXIF, converts 16 bits, grey and alpha to BGR. It swaps red and blue of PAM.
        image = cv2.imdecode(coded, cv2.IMREAD_COLOR) if head[:2] != b"P7" else None
    except cv2.error as error:
        reason = str(error).splitlines()[0]
        raise SourceError(f"cannot decode image {path}: {reason}; save it as PNG or JPEG") from error
    if image is not None and is_avif:
        image = _turned_avif(image, head)
    if image is None and (is_avif or path.suffix.lower() in _FFMPEG_SUFFIXES):
        image = _decode_with_ffmpeg(path)
    if image is None and path.suffix.lower() in VIDEO_SUFFIXES - _FFMPEG_SUFFIXES:
        raise SourceError(f"{path} is a video; type {shlex.join(['maskwatch', 'watch', '--source', str(path)])}")
    if image is None or image.size == 0:
        raise SourceError(f"{path} is not a readable image or is incomplete; save it as PNG or JPEG")
    if path.suffix.lower() in _PAGED_SUFFIXES and cv2.imcount(str(path)) > 1:
        _log.warning("%s contains %d images; only the first is read", path, cv2.imcount(str(path)))
    return to_bgr(image)


def _decode_with_ffmpeg(path: Path) -> Image | None:
    try:
        reader = PyavReader(str(path.absolute()))
        ok, image = reader.read()
        reader.release()
        return to_bgr(image) if ok and image is not None else None
    except (FFmpegError, OSError, ValueError):
        return None


def _turned_avif(image: NDArray[Any], head: bytes) -> NDArray[Any]:
    """``image`` with the rotation (quarters to the left) and mirroring of the file, which OpenCV ignores (ISO 23008-12,
    boxes irot and imir)."""
    turn, mirror = head.find(b"irot"), head.find(b"imir")
    if 0 <= turn < len(head) - 4:
        image = np.rot90(image, head[turn + 4] & 3)
    if 0 <= mirror < len(head) - 4:
        image = image[:, ::-1] if head[mirror + 4] & 1 else image[::-1]
    return np.ascontiguousarray(image)


def _plain_png(coded: bytes) -> bytes:
    """A PNG with only the chunks that the image needs. Raises ValueError if a chunk is incomplete or damaged.

    libpng prints warnings to standard error, for example about invalid colour profiles, which are removed here.
    """
    kept, at = [_PNG], len(_PNG)
    while True:
        length, kind = struct.unpack_from(">I4s", coded, at) if at + 12 <= len(coded) else (0, b"")
        chunk = coded[at : at + length + 12]
        if not kind or len(chunk) < length + 12:
            raise ValueError("its end is missing")
        if zlib.crc32(chunk[4:-4]) != struct.unpack(">I", chunk[-4:])[0]:
            raise ValueError("a checksum is wrong")
        if kind[:1].isupper() or kind in (b"tRNS", b"eXIf"):  # upper case: needed to decode
            kept.append(chunk)
        if kind == b"IEND":
            return b"".join(kept)
        at += length + 12


class ImageSource:
    """One image file, or all images of a folder; each is one frame."""

    is_live = False

    def __init__(self, settings: SourceSettings) -> None:
        self.name = settings.name
        self.fps: float | None = settings.fps or IMAGES_PER_S
        self._settings = settings
        self._path = Path(settings.uri)

    @property
    def frame_count(self) -> int | None:
        try:
            return len(self._paths())
        except SourceError:
            return None  # ``frames`` reports the error

    def _paths(self) -> list[Path]:
        if not is_folder(self._path):
            return [self._path]
        paths = list_images(self._path)
        if not paths:
            videos = sorted(each for each in self._path.iterdir() if each.suffix.lower() in VIDEO_SUFFIXES)
            advice = f"give a video, such as {videos[0]}" if videos else f"use {', '.join(sorted(IMAGE_SUFFIXES))}"
            raise SourceError(f"folder {self._path} contains no image; {advice}")
        return paths

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        """Raises SourceError if no image can be read; a single unreadable image is only logged."""
        index = 0
        while not stop.is_set():
            first_of_round = index
            for image, wall_s in self._images(stop):
                time_s = index / (self.fps or IMAGES_PER_S)
                yield Frame(image, index, time_s, time.monotonic(), wall_s, self.name)
                index += 1
            if not self._settings.loop or index == first_of_round:
                return

    def apply(self, settings: SourceSettings) -> None:
        self._settings = settings

    def _images(self, stop: threading.Event) -> Iterator[tuple[Image, float]]:
        """The images with the dates of their files (Unix time)."""
        paths = self._paths()
        first_error: SourceError | None = None
        shown = 0
        for path in paths:
            if stop.is_set():
                return
            try:
                image, changed_s = read_image(path), path.stat().st_mtime
            except OSError as error:
                raise SourceError(f"cannot read image {path}: {error.strerror or error}; check the path") from error
            except SourceError as error:
                if len(paths) == 1:
                    raise
                first_error = first_error or error
                _log.warning("%s", error)
                continue
            shown += 1
            yield corrected(image, self._settings), changed_s
        if shown == 0 and first_error is not None:
            raise SourceError(f"none of the {len(paths)} images in {self._path} can be read: {first_error}")
