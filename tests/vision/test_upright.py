"""The rotation in which the faces of a camera are upright."""

import threading

import numpy as np
import pytest

from app.capture.source import make_source
from app.core.types import Box, Detection, Image
from app.settings.source import SourceSettings
from app.settings.vision import DetectorSettings
from app.vision.detector_loader import load_detector
from app.vision.upright import upright_rotation


@pytest.fixture(scope="module")
def demo_images() -> list[Image]:
    frames = make_source(SourceSettings(uri="demo")).frames(threading.Event())
    return [frame.image for frame in frames if frame.index in (60, 100, 200, 240)]


@pytest.mark.parametrize("missing", [0, 90, 180, 270])
def test_faces_show_how_the_camera_hangs(demo_images: list[Image], missing: int) -> None:
    hung = [np.ascontiguousarray(np.rot90(image, missing // 90)) for image in demo_images]
    assert upright_rotation(hung, load_detector(DetectorSettings())) == missing


class Scripted:
    """Finds one face whose score is the brightness of the first pixel."""

    def detect(self, image: Image) -> list[Detection]:
        score = int(image[0, 0, 0]) / 100
        return [Detection(Box(0, 0, 9, 9), score)] if score else []


def corners(top_left: int, bottom_left: int, bottom_right: int, top_right: int) -> Image:
    image = np.zeros((10, 10, 3), np.uint8)
    image[0, 0], image[-1, 0], image[-1, -1], image[0, -1] = top_left, bottom_left, bottom_right, top_right
    return image


@pytest.mark.parametrize(
    ("images", "rotation"),
    [
        ([corners(85, 0, 95, 0)] * 3, 180),
        ([corners(85, 95, 0, 0)] * 3, 90),
        ([corners(85, 95, 0, 0)] * 2, None),  # too few images with a face
        ([corners(0, 0, 0, 0)] * 9 + [corners(85, 0, 95, 0)] * 3, 180),
        ([corners(50, 0, 70, 0)] * 9, None),  # too uncertain
        ([corners(85, 0, 95, 0), corners(95, 0, 85, 0)] * 3, None),  # they disagree
        ([corners(90, 90, 90, 90)] * 3, 0),
        ([], None),
    ],
)
def test_images_without_a_clear_answer_give_none(images: list[Image], rotation: int | None) -> None:
    assert upright_rotation(images, Scripted()) == rotation
