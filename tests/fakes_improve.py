"""Pictures of one face in other light and place, and a classifier that is wrong about it, for the tests of improve."""

from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from app.core import resources
from app.core.images import cut, resize, square
from app.core.types import Box, Image, Label
from app.training.classifier.head import HeadModel
from app.training.classifier.improvement import fit
from app.training.classifier.replay import read_replay
from app.training.data.face_pool import landmark_detector
from app.vision.preprocess import face_crops

BOX = Box(37, 37, 75, 75)
"""Where the face is in each picture of 150 x 150."""


@cache
def _portrait() -> Image:
    """The largest face of the bundled photograph, BGR."""
    photo = cv2.imread(str(resources.asset("self_test.jpg")))
    assert photo is not None
    face = max(landmark_detector(1).detect(photo), key=lambda each: each.box.size)
    return resize(cut(photo, square(face.box, 1.0)), 150, 150)


def picture(number: int) -> Image:
    rng = np.random.default_rng(number)
    shift = np.float32([[1, 0, rng.normal(0, 2)], [0, 1, rng.normal(0, 2)]])
    moved = cv2.warpAffine(_portrait(), shift, (150, 150), borderMode=cv2.BORDER_REPLICATE)
    light = moved * rng.uniform(0.7, 1.2) + rng.normal(0, rng.uniform(1, 6), moved.shape)
    return np.clip(light, 0, 255).astype(np.uint8)


def masked_picture(number: int) -> Image:
    """The face with a mask of other colours for each ``number``, so that none is a near-duplicate."""
    image, cover = picture(number), np.zeros((150, 150), np.uint8)
    colours = np.random.default_rng(number).integers(20, 236, (6, 6, 3)).astype(np.uint8)
    outline = [(38, 76), (75, 70), (112, 76), (106, 104), (88, 122), (62, 122), (44, 104)]
    cv2.fillPoly(cover, [np.array(outline, np.int32)], 255)
    return np.where(cover[..., None] > 0, resize(colours, 150, 150), image)


def right_label(model: HeadModel) -> Label:
    """What the bundled classifier says about the face."""
    return model.metadata.labels[int((_features(model, [0]) @ model.weights[:-1] + model.weights[-1])[0].argmax())]


def write_weak(
    model: HeadModel, path: Path, shown: Callable[[int], Image] = picture, said: Label = Label.INCORRECT
) -> None:
    """Writes ``model`` so that it says ``said`` about the pictures ``shown``, and about others nearly the same as
    before."""
    replay, features = read_replay(model), _features(model, range(100, 130), shown)
    known = replay.features[~replay.is_guard], replay.targets[~replay.is_guard]
    wrong = np.full(len(features), model.metadata.labels.index(said))
    model.write(path, fit(model.weights, known, (features, wrong), 0.5), model.metadata)


def _features(model: HeadModel, numbers: Iterable[int], shown: Callable[[int], Image] = picture) -> np.ndarray:
    metadata = model.metadata
    crops = [face_crops(shown(number), [BOX], metadata.input_px, metadata.margin) for number in numbers]
    return model.features(np.concatenate(crops))
