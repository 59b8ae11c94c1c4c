"""Generated videos with painted faces, and models that find and label them: fast, and exact about each frame."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from fakes import BrightnessClassifier

from app.core.types import Box, Detection, Image
from app.scan.analysis import Models, ShardAnalysis
from app.scan.planner import ScanOptions, make_plan
from app.scan.run_folder import RunFolder
from app.scan.runner import run_plan
from app.scan.tables import encode_result
from app.scan.worker import Outcome, Task
from app.settings.monitor import CameraSettings
from app.settings.root import Settings

WIDTH_PX, HEIGHT_PX, FACE_PX, FPS = 256, 160, 48, 5
BARE, MASKED = (200, 20, 0), (255, 255, 140)


@dataclass(frozen=True, slots=True)
class Visit:
    """A person who is visible from ``from_s`` to ``to_s`` and walks ``speed`` px/s to the right."""

    from_s: float
    to_s: float
    colour: tuple[int, int, int]
    x: float = 20.0
    y: int = 40
    speed: float = 0.0


def images(visits: Sequence[Visit], from_s: float, to_s: float) -> Iterator[Image]:
    for i in range(round(from_s * FPS), round(to_s * FPS)):
        image = np.full((HEIGHT_PX, WIDTH_PX, 3), 120, np.uint8)
        for visit in visits:
            if visit.from_s <= i / FPS < visit.to_s:
                x = round(visit.x + visit.speed * (i / FPS - visit.from_s))
                image[visit.y : visit.y + FACE_PX, x : x + FACE_PX] = visit.colour
        yield image


def write_video(path: Path, visits: Sequence[Visit], to_s: float, from_s: float = 0.0, b_frames: int = 2) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = WIDTH_PX, HEIGHT_PX, "yuv444p"
        stream.options = {"preset": "ultrafast", "g": "10", "bf": str(b_frames), "crf": "10"}
        for image in images(visits, from_s, to_s):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(stream.encode())
    return path


class ColourDetector:
    """Finds what is more blue than red."""

    def detect(self, image: Image) -> list[Detection]:
        is_face = (image[..., 0].astype(int) - image[..., 2] > 60).astype(np.uint8)
        _, _, found, _ = cv2.connectedComponentsWithStats(is_face)
        return [Detection(Box(*map(float, box[:4])), 0.9) for box in found[1:] if box[4] > 400]


class InProcessEngine:
    """Analyses with fake models; ``fault`` returns why a task fails, or ''."""

    def __init__(self, fault: Callable[[Task], str] = lambda _: "") -> None:
        self.fault = fault
        self.closed = False
        self.attempts: list[tuple[str, int]] = []

    def run(self, tasks: deque[Task]) -> Iterator[Outcome]:
        while tasks:
            task = tasks.popleft()
            self.attempts.append((task.shard.id, task.attempt))
            error = self.fault(task)
            if error:
                yield Outcome(task, error=error)
                continue
            settings, camera = task.settings.load(task.shard.camera)
            result = ShardAnalysis(task.shard, settings, camera, fake_models()).run()
            content = encode_result(task.shard.id, task.shard.camera, result)
            yield Outcome(task, content, node="here:1", seconds=1.0, cpu_s=0.9, frames=result.frames)

    def close(self) -> None:
        self.closed = True


def scanned(archive: Path) -> Path:
    """The folder of a scan of one video with a bare and a masked person."""
    write_video(archive / "door/2026-11-20/10-59-50.mp4", [Visit(0, 5, BARE), Visit(2, 6, MASKED, x=150)], 11.0)
    folder = RunFolder(archive.parent / "run")
    folder.create(make_plan([str(archive)], Settings(), ScanOptions(CameraSettings(uri="scan", every_s=0.2))))
    run_plan(folder, InProcessEngine())
    return folder.path


def fake_models() -> Models:
    return Models(ColourDetector(), BrightnessClassifier())
