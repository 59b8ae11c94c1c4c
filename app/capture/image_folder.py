"""Pictures as a source: one file, or a folder's in natural order."""

import logging
import re
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from app.capture.opencv_backend import silence_ffmpeg, to_bgr
from app.core.errors import SourceError
from app.core.files import is_folder
from app.core.types import Frame, Image
from app.settings.source import IMAGE_SUFFIXES, SourceSettings

IMAGES_PER_S = 1.0
"""Stream time between the pictures of a folder where no rate is set."""

_PNG = b"\x89PNG\r\n\x1a\n"
_log = logging.getLogger(__name__)


def natural_key(path: Path) -> tuple[tuple[int, int, str], ...]:
    """Sorts ``9.png`` before ``10.png``, and does not mind capitals."""
    parts = re.split(r"(\d+)", path.name.casefold())
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts)


def list_images(folder: Path) -> list[Path]:
    """The pictures directly in ``folder``, in natural order. Raises SourceError where it cannot be read."""
    try:
        paths = [p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith(".")]
        return sorted((p for p in paths if p.is_file()), key=natural_key)
    except OSError as error:
        raise SourceError(f"cannot read folder {folder}: {error.strerror}; check its rights") from error


def read_image(path: Path) -> Image:
    """(H, W, 3) uint8 BGR of any picture file, turned upright by its EXIF. Raises SourceError in one line."""
    silence_ffmpeg()
    try:
        coded = np.fromfile(path, np.uint8)  # imread cannot open every path on Windows
    except OSError as error:
        raise SourceError(f"cannot read picture {path}: {error.strerror}; check the path") from error
    if coded.size == 0:
        raise SourceError(f"picture {path} is empty; copy it again")
    try:
        coded = np.frombuffer(_plain_png(coded.tobytes()), np.uint8) if coded[:8].tobytes() == _PNG else coded
    except ValueError as error:
        raise SourceError(f"picture {path} is cut short or damaged: {error}; copy it again") from error
    try:
        picture = cv2.imdecode(coded, cv2.IMREAD_COLOR)  # turns by EXIF, 16 bits to 8, grey and alpha to BGR
    except cv2.error as error:
        raise SourceError(f"cannot decode picture {path}: {str(error).splitlines()[0]}") from error
    if picture is None or picture.size == 0:
        raise SourceError(f"{path} is not a picture that can be read, or is cut short; save it as PNG or JPEG")
    return to_bgr(picture)


def _plain_png(coded: bytes) -> bytes:
    """A PNG without the chunks that hold no picture. Raises ValueError where a chunk is cut or damaged.

    libpng writes its complaints straight to standard error, and a colour profile it does not like is one.
    """
    kept, at = [_PNG], len(_PNG)
    while True:
        length, kind = struct.unpack_from(">I4s", coded, at) if at + 12 <= len(coded) else (0, b"")
        chunk = coded[at : at + length + 12]
        if not kind or len(chunk) < length + 12:
            raise ValueError("its end is missing")
        if zlib.crc32(chunk[4:-4]) != struct.unpack(">I", chunk[-4:])[0]:
            raise ValueError("a checksum is wrong")
        if kind[:1].isupper() or kind in (b"tRNS", b"eXIf"):  # upper case: needed for the picture
            kept.append(chunk)
        if kind == b"IEND":
            return b"".join(kept)
        at += length + 12


class ImageSource:
    """One picture, or all pictures of a folder; each is one frame."""

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
            return None  # reading it will say why

    def _paths(self) -> list[Path]:
        if not is_folder(self._path):
            return [self._path]
        paths = list_images(self._path)
        if not paths:
            raise SourceError(f"folder {self._path} holds no picture; it may hold {', '.join(sorted(IMAGE_SUFFIXES))}")
        return paths

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        """Raises SourceError where there is no picture to show. One bad picture among others is only logged."""
        index = 0
        while not stop.is_set():
            first_of_round = index
            for image in self._images(stop):
                time_s = index / (self.fps or IMAGES_PER_S)
                yield Frame(image, index, time_s, time.monotonic(), time.time(), self.name)
                index += 1
            if not self._settings.loop or index == first_of_round:
                return

    def _images(self, stop: threading.Event) -> Iterator[Image]:
        paths = self._paths()
        first_error: SourceError | None = None
        shown = 0
        for path in paths:
            if stop.is_set():
                return
            try:
                image = read_image(path)
            except SourceError as error:
                if len(paths) == 1:
                    raise
                first_error = first_error or error
                _log.warning("%s", error)
                continue
            shown += 1
            yield image
        if shown == 0 and first_error is not None:
            raise SourceError(f"none of the {len(paths)} pictures in {self._path} can be read: {first_error}")
