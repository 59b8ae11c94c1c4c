"""Recognises the format of a model file by its content, also of models that other programs wrote."""

import zipfile
from enum import StrEnum
from pathlib import Path

from app.core.errors import ModelError
from app.core.files import exists, is_file, is_folder


class ModelFormat(StrEnum):
    """The value is the name in messages."""

    LITERT = "LiteRT model"
    KERAS = "Keras model"
    HDF5 = "Keras 2 model"
    SAVED_MODEL = "TensorFlow SavedModel"
    ONNX = "ONNX model"
    PYTORCH = "PyTorch model"
    UNKNOWN = "file of an unknown format"


def model_format(path: Path) -> ModelFormat:
    """Raises ModelError if there is no such file or folder, or it cannot be read."""
    if is_folder(path):
        is_saved_model = is_file(path / "saved_model.pb")
        return ModelFormat.SAVED_MODEL if is_saved_model else ModelFormat.UNKNOWN
    if not exists(path):
        raise ModelError(f"no model file {path}; check the path or run 'maskwatch doctor'")
    try:
        with path.open("rb") as file:
            start = file.read(8)
        if start[4:] == b"TFL3":
            return ModelFormat.LITERT
        if start == b"\x89HDF\r\n\x1a\n":
            return ModelFormat.HDF5
        names = zipfile.ZipFile(path).namelist() if start[:4] == b"PK\3\4" else []
    except (OSError, zipfile.BadZipFile) as error:
        reason = getattr(error, "strerror", None) or error
        raise ModelError(f"cannot read model file {path}: {reason}; check the file and its permissions") from error
    if "config.json" in names:
        return ModelFormat.KERAS
    if any(name.endswith("data.pkl") for name in names):
        return ModelFormat.PYTORCH
    return ModelFormat.ONNX if path.suffix.lower() == ".onnx" else ModelFormat.UNKNOWN


def convert_advice(path: Path, found: ModelFormat) -> str:
    """What to do with a model that no back end runs."""
    if found in (ModelFormat.KERAS, ModelFormat.HDF5, ModelFormat.SAVED_MODEL):
        return f"convert it once: maskwatch models convert {path} --labels mask,no_mask"
    if found in (ModelFormat.ONNX, ModelFormat.PYTORCH):
        return "export it as a TensorFlow SavedModel or .tflite first (docs/models.md)"
    return "give a .tflite file; if it was one, it is damaged: copy it again or reinstall maskwatch"
