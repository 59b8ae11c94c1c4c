"""Exports a trained detector to the files that the monitor runs, each with its metadata."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.core.errors import OutputError
from app.core.types import Image
from app.training.export import litert_bytes
from app.training.networks import KerasModel
from app.vision.model_metadata import DetectorMetadata, write_metadata
from app.vision.yunet_detector import PAD

CALIBRATION_IMAGES = 100


def export_detector(model: KerasModel, metadata: DetectorMetadata, stem: Path, examples: Sequence[Image]) -> list[Path]:
    """Writes ``stem.keras``, ``stem.tflite`` (int8, calibrated on ``examples``, each (H, W, 3) uint8 BGR) and
    ``stem_float32.tflite``. All accept images of any size. Raises OutputError if a file cannot be written."""
    paths = [stem.with_suffix(".keras"), stem.with_suffix(".tflite"), stem.with_name(f"{stem.name}_float32.tflite")]
    try:
        stem.parent.mkdir(parents=True, exist_ok=True)
        for path in paths:
            write_detector(model, metadata, path, examples if path == paths[1] else ())
    except OSError as error:
        raise OutputError(f"cannot write {stem}.*: {error.strerror}; choose another path") from error
    return paths


def write_detector(model: KerasModel, metadata: DetectorMetadata, path: Path, examples: Sequence[Image] = ()) -> None:
    """Writes one file: Keras, or LiteRT with float32, or with ``examples`` int8. Raises OSError."""
    partial = path.with_name("part-" + path.name)
    if path.suffix == ".keras":
        model.save(partial, include_optimizer=False)
    else:
        padded = [padded_to_strides(image, max(metadata.strides)) for image in examples]
        partial.write_bytes(litert_bytes(model, padded or None, byte_input=True))
    write_metadata(partial, metadata)
    partial.replace(path)


def padded_to_strides(image: Image, step: int) -> NDArray[np.uint8]:
    """``image`` padded at the right and bottom to a multiple of ``step``, as the detector does."""
    height, width = image.shape[:2]
    padded = np.full((math.ceil(height / step) * step, math.ceil(width / step) * step, 3), PAD, np.uint8)
    padded[:height, :width] = image
    return padded
