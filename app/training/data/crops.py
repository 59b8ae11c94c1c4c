"""Loads samples as arrays: face crops, cut exactly as the monitor cuts them, and training batches of them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from app.core.errors import DataError
from app.core.images import resize
from app.core.types import Box, Image, Label
from app.training.data.images import read_image
from app.training.data.samples import MAX_UNREADABLE, by_image
from app.training.types import LeftOut, Sample
from app.vision.preprocess import face_crop, to_crop

UNREADABLE = "cannot be read"


@dataclass(frozen=True, slots=True)
class Crops:
    """``images``: (N, S, S, 3) uint8 RGB; ``targets``: (N,) int64 indices into ``labels``; ``sizes_px``: (N,) float64,
    the shorter side of the face, or of the image if it is the crop. ``samples`` are in the same order.
    ``left_out``: unreadable images, and boxes outside their image."""

    images: NDArray[np.uint8]
    targets: NDArray[np.int64]
    sizes_px: NDArray[np.float64]
    samples: tuple[Sample, ...]
    labels: tuple[Label, ...]
    left_out: tuple[LeftOut, ...] = ()

    def where(self, chosen: NDArray[np.bool_]) -> "Crops":
        samples = tuple(sample for sample, keep in zip(self.samples, chosen, strict=True) if keep)
        return replace(
            self,
            images=self.images[chosen],
            targets=self.targets[chosen],
            sizes_px=self.sizes_px[chosen],
            samples=samples,
        )

    def one_hot(self) -> NDArray[np.float32]:
        """(N, C) float32."""
        return np.eye(len(self.labels), dtype=np.float32)[self.targets]


def usable_box(box: Box, image: Image) -> Box | None:
    """``box`` clipped to the image and a border of the image's own size. None if less than a pixel is inside."""
    height, width = image.shape[:2]
    inside = box.clipped(width, height)
    if not (inside.width >= 1 and inside.height >= 1):  # NaN compares as False
        return None
    reach_x, reach_y = max(-box.x, box.x2 - width), max(-box.y, box.y2 - height)
    return inside if reach_x > width or reach_y > height else box


def load_crops(
    samples: Sequence[Sample],
    labels: tuple[Label, ...],
    input_px: int,
    margin: float,
    resolution_px: int = 0,
    progress: Callable[[int], None] = lambda _done: None,
) -> Crops:
    """Crops of all samples with one of ``labels``. ``resolution_px`` first brings every crop to that resolution, so
    that resolution does not reveal the class. Raises the errors of ``readable_faces``."""
    samples = [sample for sample in samples if sample.label in labels]
    images = np.zeros((len(samples), input_px, input_px, 3), np.uint8)
    sizes_px = np.zeros(len(samples))
    left_out: list[LeftOut] = []
    size_px = resolution_px or input_px
    for i, image, box in readable_faces(samples, left_out, progress):
        crop = to_crop(image, size_px) if box is None else face_crop(image, box, size_px, margin)
        images[i] = crop if size_px == input_px else resize(crop, input_px, input_px)
        sizes_px[i] = min(image.shape[:2]) if box is None else box.size
    targets = np.array([labels.index(sample.label) for sample in samples], np.int64)
    return Crops(images, targets, sizes_px, tuple(samples), labels, tuple(left_out)).where(sizes_px > 0)


def readable_faces(
    samples: Sequence[Sample], left_out: list[LeftOut], progress: Callable[[int], None] = lambda _done: None
) -> Iterator[tuple[int, Image, Box | None]]:
    """Yields the index, the image and the usable box of each sample, and adds the others to ``left_out``. Raises
    DataError if too many images cannot be read, or if no face can be used."""
    found, unreadable, count = False, 0, 0
    for count, (path, places) in enumerate(by_image(samples), 1):
        image = read_image(path)
        progress(count - 1)
        if image is None:
            left_out.append(LeftOut(path, UNREADABLE))
            unreadable += 1
            continue
        for i in places:
            given = samples[i].box
            box = usable_box(given, image) if given is not None else None
            if given is not None and box is None:
                left_out.append(LeftOut(path, _outside(given)))
            else:
                found = True
                yield i, image, box
    if not count:
        raise DataError("no images with a usable label; check the folder and its class names")
    if unreadable > MAX_UNREADABLE * count:
        first = next(entry.path for entry in left_out if entry.reason == UNREADABLE)
        raise DataError(
            f"{unreadable} of {count} images cannot be read; the first: {first}; check that they are complete JPEG or "
            "PNG files"
        )
    if not found:
        raise DataError(f"no face can be used; the first: {left_out[0].path}: {left_out[0].reason}; fix the boxes")


def _outside(box: Box) -> str:
    size = f"{box.width:g} x {box.height:g} px"
    return f"a box of {size} at ({box.x:g}, {box.y:g}) is outside the image, or less than a pixel of it is inside"
