"""Metadata inside a model file: labels, input size, thresholds.

A ``.keras`` file is a ZIP archive, and a ``.tflite`` file may have one appended (TensorFlow Lite's own convention
for associated files). Both contain ``maskwatch.json``, so no separate file can be lost or confused.
"""

import json
import zipfile
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.core.errors import ModelError
from app.core.files import is_file
from app.core.types import Label

MEMBER = "maskwatch.json"


class ClassifierMetadata(BaseModel):
    """Metadata of a classifier: label order, input size, crop margin, decision thresholds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["classifier"] = "classifier"
    name: str
    version: str = "1"
    labels: tuple[Label, ...] = Field(
        min_length=2,
        description="classes in the order of the outputs; not_face is optional and rejects false positives",
    )
    input_px: int = Field(ge=16, le=512)
    margin: float = Field(ge=-0.5, le=2.0, description="crop side = longer box side x (1 + margin)")
    temperature: float = Field(default=1.0, gt=0, description="probabilities = softmax(log p / temperature)")
    min_confidence: float = Field(default=0.6, ge=0, le=1, description="faces with a lower confidence are unsure")
    min_two_way: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="mask or no_mask is unsure if its share of the two, p / (p_mask + p_no_mask), is lower",
    )
    min_face_px: int = Field(default=20, ge=1, description="smaller faces are unsure")
    min_sharpness: float = Field(default=0.0, ge=0, description="crops whose Laplacian has a lower variance are unsure")
    trained_on: tuple[str, ...] = ()


class DetectorMetadata(BaseModel):
    """Metadata of a face detector: strides, score threshold, NMS threshold."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["detector"] = "detector"
    name: str
    version: str = "1"
    strides: tuple[int, ...]
    score: float = Field(ge=0, le=1, description="score threshold chosen on training data")
    nms_iou: float = Field(default=0.45, gt=0, lt=1)
    trained_on: tuple[str, ...] = ()


def write_metadata(path: Path, metadata: ClassifierMetadata | DetectorMetadata) -> None:
    """Appends ``metadata`` to a new ``.keras`` or ``.tflite`` file. Raises ModelError if the file already has some."""
    if path.suffix == ".keras" or zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if MEMBER in archive.namelist():
                raise ModelError(f"{path} already contains {MEMBER}; export the model again")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(MEMBER, json.dumps(metadata.model_dump(mode="json"), indent=1))


def _read(path: Path) -> object:
    if not is_file(path):
        raise ModelError(f"no model file {path}; check the path or run 'maskwatch doctor'")
    try:
        with zipfile.ZipFile(path) as archive:
            return json.loads(archive.read(MEMBER))
    except (zipfile.BadZipFile, KeyError, ValueError, OSError) as error:
        raise ModelError(
            f"{path} is no maskwatch model or is damaged: {error}; reinstall or export it again"
        ) from error


def read_classifier_metadata(path: Path) -> ClassifierMetadata:
    """Raises ModelError if the file is missing, damaged, or not a maskwatch classifier."""
    try:
        return ClassifierMetadata.model_validate(_read(path))
    except ValidationError as error:
        raise ModelError(
            f"{path} is not a classifier for this version: {error.errors()[0]['msg']}; export it again"
        ) from error


def read_detector_metadata(path: Path) -> DetectorMetadata:
    """Raises ModelError if the file is missing, damaged, or not a maskwatch face detector."""
    try:
        return DetectorMetadata.model_validate(_read(path))
    except ValidationError as error:
        raise ModelError(
            f"{path} is not a detector for this version: {error.errors()[0]['msg']}; export it again"
        ) from error
