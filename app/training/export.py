"""Exports a trained network to the files that the monitor runs: ``.keras`` and LiteRT, each with its metadata."""

import contextlib
import io
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from app.core.errors import ModelError, OutputError
from app.training.networks import KerasModel
from app.vision.classifier import check_tensorflow, load_keras
from app.vision.model_format import ModelFormat, model_format
from app.vision.model_metadata import ClassifierMetadata, write_metadata
from app.vision.tensorflow_import import import_tensorflow

Kind = Literal["float32", "int8"]


def export_model(model: KerasModel, metadata: ClassifierMetadata, stem: Path) -> tuple[Path, Path]:
    """Writes ``stem.keras`` and ``stem.tflite`` (float32) with ``metadata``. Raises OutputError if it cannot."""
    keras_path, litert_path = stem.with_suffix(".keras"), stem.with_suffix(".tflite")
    try:
        stem.parent.mkdir(parents=True, exist_ok=True)
        partial = keras_path.with_name("part-" + keras_path.name)
        model.save(partial, include_optimizer=False)
        write_metadata(partial, metadata)
        partial.replace(keras_path)
        write_litert(model, metadata, litert_path)
    except OSError as error:
        raise OutputError(f"cannot write {stem}.*: {error.strerror}; choose another path") from error
    return keras_path, litert_path


def write_litert(
    model: KerasModel, metadata: ClassifierMetadata, path: Path, examples: NDArray[np.uint8] | None = None
) -> None:
    """Writes LiteRT with float32, or with int8 weights and activations calibrated on ``examples`` (N, S, S, 3) uint8
    RGB. Input and output are float32 in both cases."""
    content = litert_bytes(model, examples)
    partial = path.with_name("part-" + path.name)
    partial.write_bytes(content)
    write_metadata(partial, metadata)
    partial.replace(path)


def convert_to_litert(path: Path) -> bytes:
    """The LiteRT file (float32) of a Keras file, a Keras 2 ``.h5`` file or a SavedModel folder.

    Raises ModelError if it cannot be read or converted, SettingsError if TensorFlow is missing.
    """
    check_tensorflow("converting a model")
    import_tensorflow()
    import tensorflow as tf

    if model_format(path) is not ModelFormat.SAVED_MODEL:
        return litert_bytes(load_keras(path))
    try:
        content: bytes = tf.lite.TFLiteConverter.from_saved_model(str(path)).convert()
    except Exception as error:  # the converter raises errors of many kinds, some of them its own
        raise ModelError(f"cannot convert {path}: {str(error).splitlines()[0]}; export the model again") from error
    return content


def litert_bytes(
    model: KerasModel,
    examples: Sequence[NDArray[np.uint8]] | NDArray[np.uint8] | None = None,
    *,
    byte_input: bool = False,
) -> bytes:
    """The LiteRT file of ``model`` with float32, or with int8 calibrated on ``examples``, images (H, W, 3) of any size.
    ``byte_input``: the input of an int8 model is uint8 instead of float32."""
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder:
        with contextlib.redirect_stdout(io.StringIO()):  # Keras prints the exported endpoints
            model.export(folder, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        if examples is not None:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = lambda: ([crop[None].astype(np.float32)] for crop in examples)
            if byte_input:
                converter.inference_input_type = tf.uint8
        content: bytes = converter.convert()
    return content
