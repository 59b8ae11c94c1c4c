"""Metadata inside a model file: labels, input size, thresholds.

A ``.keras`` file is a ZIP archive, and a ``.tflite`` file may have one appended (TensorFlow Lite's own convention
for associated files). Both contain ``maskwatch.json``, and an ``.onnx`` file has a property of this name, so no
separate file can be lost or confused. Models of other programs have a JSON file beside them instead.
"""

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from app.core.errors import ModelError
from app.core.files import is_file, is_folder
from app.core.types import Label
from app.vision.model_format import model_format

MEMBER = "maskwatch.json"
EXAMPLE = '{"labels": ["mask", "no_mask"], "input_px": 224, "scaling": [-1, 1]}'


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
    candidate_score: float | None = Field(
        default=None, gt=0, lt=1, description="in single images, detections from this score on are classified"
    )
    face_weights: tuple[float, float, float] = Field(
        default=(0.0, 1.0, 0.0),
        description="weights of the log-odds of the detector's score and of not_face, and a constant: their sum is the "
        "log-odds of a face",
    )
    max_not_face: float = Field(
        default=0.5, gt=0, lt=1, description="detections with a higher probability of not_face are no faces"
    )
    min_sharpness: float = Field(default=0.0, ge=0, description="crops whose Laplacian has a lower variance are unsure")
    trained_on: tuple[str, ...] = ()
    scaling: tuple[float, float] = Field(default=(0.0, 255.0), description="what the network expects for 0 and 255")
    channels: Literal["rgb", "bgr"] = "rgb"
    outputs: Literal["probabilities", "logits"] = Field(
        default="probabilities", description="what the network returns; a single value belongs to the second label"
    )

    @field_validator("labels")
    @classmethod
    def _are_classes(cls, labels: tuple[Label, ...]) -> tuple[Label, ...]:
        if Label.UNSURE in labels or len(set(labels)) < len(labels):
            raise ValueError("name each of mask, no_mask and incorrect at most once, in the order of the outputs")
        return labels


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


def sidecar_files(path: Path) -> tuple[Path, ...]:
    """Where a JSON file with the metadata of a model of another program may be."""
    if is_folder(path):
        return (path / MEMBER, path.with_name(f"{path.name}.json"))
    return (path.with_name(f"{path.name}.json"), path.with_suffix(".json"))


def _embedded(path: Path) -> dict[str, Any] | None:
    """The metadata in the file itself. Raises ModelError if they are damaged."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return dict(json.loads(archive.read(MEMBER))) if MEMBER in archive.namelist() else None
        if path.suffix.lower() == ".onnx":  # the last property of the file: its name, its length, its text
            _, found, text = path.read_bytes().rpartition(MEMBER.encode())
            return dict(json.loads(text[text.index(b'{"') :])) if found else None
    except (zipfile.BadZipFile, ValueError, OSError) as error:
        raise ModelError(f"{path} is damaged: {error}; reinstall or export it again") from error
    return None


def _read(path: Path) -> dict[str, Any]:
    """The metadata in the file, or else in its sidecar file with defaults for what other programs do not know."""
    if embedded := _embedded(path):
        return embedded
    for sidecar in filter(is_file, sidecar_files(path)):
        try:
            return {"name": path.stem, "margin": 0.0, **json.loads(sidecar.read_text(encoding="utf-8"))}
        except (ValueError, TypeError, OSError) as error:
            raise ModelError(f"cannot read {sidecar}: {error}; write a JSON object like {EXAMPLE}") from error
    raise ModelError(
        f"{path} is not a model of maskwatch: it does not say its labels and input size; write them into "
        f"{sidecar_files(path)[0]}, such as {EXAMPLE} (docs/models.md)"
    )


def read_classifier_metadata(path: Path) -> ClassifierMetadata:
    """Raises ModelError if the file is missing or damaged, or nothing says how to use it as a mask classifier."""
    model_format(path)  # reports a missing file
    try:
        return ClassifierMetadata.model_validate(_read(path))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise ModelError(
            f"{path} is not a classifier for this version: {place}: {first['msg']}; export it again, or correct its "
            "JSON file"
        ) from error


def read_detector_metadata(path: Path) -> DetectorMetadata:
    """Raises ModelError if the file is missing, damaged, or not a maskwatch face detector."""
    found = model_format(path)
    if not _embedded(path):
        raise ModelError(
            f"{path} ({found}) is not a detector of maskwatch; train one with 'maskwatch train-detector', or use the "
            "bundled one"
        )
    try:
        return DetectorMetadata.model_validate(_read(path))
    except ValidationError as error:
        raise ModelError(
            f"{path} is not a detector for this version: {error.errors()[0]['msg']}; export it again"
        ) from error


def kind_of(path: Path) -> str:
    """``classifier`` or ``detector``. Raises ModelError if the file is missing, damaged, or neither."""
    model_format(path)  # reports a missing file
    is_detector = (_embedded(path) or {}).get("kind") == "detector"
    return read_detector_metadata(path).kind if is_detector else read_classifier_metadata(path).kind


def network_bytes(path: Path) -> bytes:
    """The file without the metadata that are appended to it."""
    content = path.read_bytes()
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return content[: min(entry.header_offset for entry in archive.infolist())]
    return content


def fingerprint(network: bytes) -> str:
    """The name of a version: 12 hexadecimal digits for ``network_bytes``."""
    return hashlib.sha256(network).hexdigest()[:12]
