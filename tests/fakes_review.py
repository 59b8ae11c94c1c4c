"""Results and events for the tests of clips, review and collected faces."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from app.core.images import jpeg_bytes
from app.core.types import Box, Counts, Event, EventKind, FaceLabel, Frame, FrameResult, Image, Label, StageTimes, Track
from app.review.clips import KeptImage, write_clip
from app.review.collected import CROP, SCENE, CollectedFace, CollectedFaces
from app.review.picture_folder import PictureFolder
from app.settings.review import ClipSettings

FACE = Box(40, 30, 32, 40)
OTHER = Box(100, 30, 32, 40)


def noise(box: Box, image: Image, number: int = 0) -> None:
    """Paints a pattern that a blur destroys into ``box``."""
    x, y, w, h = (int(value) for value in (box.x, box.y, box.width, box.height))
    cells = np.random.default_rng(number).integers(0, 2, (h // 4, w // 4, 1), np.uint8) * 255
    image[y : y + h, x : x + w] = np.kron(cells, np.ones((4, 4, 1), np.uint8))


def detail(image: Image, box: Box) -> float:
    """How much of the pattern of ``noise`` is left."""
    x, y, w, h = (int(value) for value in (box.x, box.y, box.width, box.height))
    inner = image[y + 6 : y + h - 6, x + 6 : x + w - 6].astype(float)
    return float(np.abs(np.diff(inner, axis=1)).mean())


def track(number: int = 1, box: Box = FACE, label: Label = Label.NO_MASK, **more: Any) -> Track:
    fields: dict[str, Any] = {"observations": 20, "classified": 9, "latest": {label: 0.9}}
    return Track(number, box, FaceLabel(label, 0.9), (0.0, 0.0), 0.0, 0.0, confirmed=True, **fields | more)


def result(time_s: float, tracks: tuple[Track, ...] = (), image: Image | None = None, **more: Any) -> FrameResult:
    """The result of a frame of 160x120 at ``time_s``, with a pattern in the face of each track."""
    if image is None:
        image = np.full((120, 160, 3), 90, np.uint8)
        image[:8, : int(time_s * 10) % 160] = 200
        for each in tracks:
            noise(each.box, image, each.id)
    frame = Frame(image, round(time_s * 10), time_s, time.monotonic(), time.time(), "door")
    fields: dict[str, Any] = {"faces": tuple(each.box for each in tracks), "events": (), "alerts": (), "left": ()}
    return FrameResult(frame, tracks, counts=Counts({}, {}), times=StageTimes(), **fields | more)


def event(number: int = 1, time_s: float = 6.0, kind: EventKind = EventKind.NO_MASK, **more: Any) -> Event:
    fields: dict[str, Any] = {"track_id": 1, "box": FACE, "confidence": 0.9, "wall_s": time.time()}
    return Event(f"{number:016x}", kind, "door", time_s, **fields | more)


def add_face(faces: CollectedFaces, name: str, image: Image, **more: Any) -> CollectedFace:
    """Stores a collected face whose scene is ``image``, as large as the crop, with the face in ``FACE``."""
    size = image.shape[1], image.shape[0]
    fields: dict[str, Any] = {"reason": "unsure", "camera": "door", "wall_s": 1e9, "label": "unsure", "confidence": 0.5}
    face = CollectedFace(name, **{**fields, "box": FACE, "size": size, "crop_box": FACE, "crop_size": size} | more)
    faces.folder.create()
    for suffix in (CROP, SCENE):
        faces.folder.file(name, suffix).write_bytes(jpeg_bytes(image, 95))
    faces.write(face)
    return face


def write_review_clip(folder: PictureFolder, of: Event, seconds: float = 1.5) -> None:
    """A clip of ``of`` with one face on its left side."""
    images = [
        KeptImage(
            i / 10, i / 10, jpeg_bytes(result(i / 10).frame.image, 80), (160, 120), (track(3, Box(8, 30, 40, 40)),), ()
        )
        for i in range(round(seconds * 10))
    ]
    write_clip(of, 0.5, images, folder, ClipSettings(), False)


def frames_of(path: Path) -> list[Image]:
    video, images = cv2.VideoCapture(str(path)), []
    while (read := video.read())[0]:
        images.append(read[1])
    video.release()
    return images  # type: ignore[return-value]


class LargeStream:
    """A main stream that shows the results in four times their size, or nothing."""

    def __init__(self, results: Sequence[FrameResult]) -> None:
        self.results = results

    def images(self, first_s: float, last_s: float, step_s: float) -> Iterator[tuple[float, Image]]:
        for each in self.results:
            if first_s <= each.frame.captured_s <= last_s and step_s > 0:
                yield each.frame.captured_s + 0.01, np.kron(each.frame.image, np.ones((4, 4, 1), np.uint8))

    def image(self, at_s: float) -> tuple[float, Image] | None:
        return next(self.images(at_s, at_s, 1.0), None)
