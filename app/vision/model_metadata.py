"""Facts that a model file carries inside itself.

A ``.keras`` file is a ZIP archive, and a ``.tflite`` file may have one appended (TensorFlow Lite's own convention
for associated files), so both carry ``maskwatch.json`` in the same way and no side file can be lost or mixed up.
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
    """What running code must know of a classifier: label order, input, crop, decision thresholds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["classifier"] = "classifier"
    name: str
    version: str = "1"
    labels: tuple[Label, ...] = Field(min_length=2)
    input_px: int = Field(ge=16, le=512)
    margin: float = Field(ge=-0.5, le=2.0, description="crop side = longer box side x (1 + margin)")
    temperature: float = Field(default=1.0, gt=0, description="probabilities = softmax(log p / temperature)")
    min_confidence: float = Field(default=0.6, ge=0, le=1, description="below it, a face is unsure")
    min_two_way: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="a mask or no_mask answer is unsure where its share of the two, p / (p_mask + p_no_mask), is below",
    )
    min_face_px: int = Field(default=20, ge=1, description="smaller faces are unsure")
    min_sharpness: float = Field(default=0.0, ge=0, description="variance of the crop's Laplacian; below: unsure")
    trained_on: tuple[str, ...] = ()


class DetectorMetadata(BaseModel):
    """What running code must know of a face detector."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["detector"] = "detector"
    name: str
    version: str = "1"
    strides: tuple[int, ...]
    score: float = Field(ge=0, le=1, description="score threshold chosen on training data")
    nms_iou: float = Field(default=0.45, gt=0, lt=1)
    trained_on: tuple[str, ...] = ()


def write_metadata(path: Path, metadata: ClassifierMetadata | DetectorMetadata) -> None:
    """Append ``facts`` to a freshly saved ``.keras`` or ``.tflite`` file. Raises ModelError if it has some."""
    if path.suffix == ".keras" or zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if MEMBER in archive.namelist():
                raise ModelError(f"{path} already carries {MEMBER}; export the model afresh")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(MEMBER, json.dumps(metadata.model_dump(mode="json"), indent=1))


def _read(path: Path) -> object:
    if not is_file(path):
        raise ModelError(f"no model file {path}; see 'maskwatch doctor'")
    try:
        with zipfile.ZipFile(path) as archive:
            return json.loads(archive.read(MEMBER))
    except (zipfile.BadZipFile, KeyError, ValueError, OSError) as error:
        raise ModelError(
            f"{path} is no maskwatch model or is damaged: {error}; reinstall or export it again"
        ) from error


def read_classifier_metadata(path: Path) -> ClassifierMetadata:
    """Raises ModelError where the file is missing, damaged, or not a classifier of ours."""
    try:
        return ClassifierMetadata.model_validate(_read(path))
    except ValidationError as error:
        raise ModelError(f"{path} is not a classifier that fits this version: {error.errors()[0]['msg']}") from error


def read_detector_metadata(path: Path) -> DetectorMetadata:
    """Raises ModelError where the file is missing, damaged, or not a detector of ours."""
    try:
        return DetectorMetadata.model_validate(_read(path))
    except ValidationError as error:
        raise ModelError(f"{path} is not a detector that fits this version: {error.errors()[0]['msg']}") from error
