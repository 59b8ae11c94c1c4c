"""Exports a trained network to the files that the monitor runs: Keras and LiteRT, each with its metadata."""

import contextlib
import io
import math
import re
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.core.errors import ModelError
from app.core.files import atomic_write, output_errors
from app.core.types import Image
from app.training.onnx_file import onnx_bytes
from app.training.types import KerasModel
from app.vision.classifier import check_tensorflow, load_keras
from app.vision.model_format import ModelFormat, model_format
from app.vision.model_metadata import ClassifierMetadata, DetectorMetadata, write_metadata
from app.vision.tensorflow_import import import_tensorflow
from app.vision.yunet_detector import PAD

CALIBRATION_IMAGES = 100

_FIRST_LAYERS = ("pad", "stem", "stage0", "pool4", "stage1a")
"""How the names of the detector's layers with few channels begin. LiteRT runs them faster with float32, even where it
runs the others faster with int8: the first convolution took 1.2 instead of 3.9 ms of a pass."""


def export_classifier(model: KerasModel, metadata: ClassifierMetadata, stem: Path) -> tuple[Path, Path]:
    """Writes ``stem.keras`` and ``stem.tflite`` (float32). Raises OutputError if a file cannot be written."""
    paths = stem.with_suffix(".keras"), stem.with_suffix(".tflite")
    with output_errors(f"{stem}.*", "choose another path"):
        stem.parent.mkdir(parents=True, exist_ok=True)
        for path in paths:
            write_model(model, metadata, path)
    return paths


def export_detector(model: KerasModel, metadata: DetectorMetadata, stem: Path, examples: Sequence[Image]) -> list[Path]:
    """Writes ``stem.keras``, ``stem.tflite`` (int8 but for the first layers, calibrated on ``examples``, each (H, W, 3)
    uint8 BGR) and ``stem_float32.tflite``. All accept images of any size. Raises OutputError if a file cannot be
    written."""
    paths = [stem.with_suffix(".keras"), stem.with_suffix(".tflite"), stem.with_name(f"{stem.name}_float32.tflite")]
    padded = [padded_to_strides(image, max(metadata.strides)) for image in examples]
    with output_errors(f"{stem}.*", "choose another path"):
        stem.parent.mkdir(parents=True, exist_ok=True)
        for path in paths:
            write_model(model, metadata, path, padded if path == paths[1] else ())
    return paths


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


def write_model(
    model: KerasModel,
    metadata: ClassifierMetadata | DetectorMetadata,
    path: Path,
    examples: Sequence[NDArray[np.uint8]] = (),
) -> None:
    """Writes one file: Keras, ONNX, or LiteRT with float32, or int8 calibrated on ``examples`` (the first layers of a
    detector stay float32). Raises OSError."""
    with atomic_write(path) as partial:
        if path.suffix == ".onnx":
            partial.write_bytes(onnx_bytes(model, metadata))
            return
        if path.suffix == ".keras":
            model.save(partial, include_optimizer=False)
        else:
            float_layers = _FIRST_LAYERS if isinstance(metadata, DetectorMetadata) else ()
            partial.write_bytes(litert_bytes(model, examples, float_layers))
        write_metadata(partial, metadata)


def padded_to_strides(image: Image, step: int) -> NDArray[np.uint8]:
    """``image`` padded at the right and bottom to a multiple of ``step``, as the detector does."""
    height, width = image.shape[:2]
    padded = np.full((math.ceil(height / step) * step, math.ceil(width / step) * step, 3), PAD, np.uint8)
    padded[:height, :width] = image
    return padded


def litert_bytes(
    model: KerasModel, examples: Sequence[NDArray[np.uint8]] = (), float_layers: Sequence[str] = ()
) -> bytes:
    """The LiteRT file of ``model`` with float32, or with int8 weights, activations and input, calibrated on
    ``examples``: images (H, W, 3) of any size. ``float_layers``: how the names of the first layers begin, if they and
    the input stay float32."""
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder:
        with contextlib.redirect_stdout(io.StringIO()):  # Keras prints the exported endpoints
            model.export(folder, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        if len(examples):
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = lambda: ([image[None].astype(np.float32)] for image in examples)
            if float_layers:
                return _mixed_bytes(converter, float_layers)
            converter.inference_input_type = tf.uint8
        content: bytes = converter.convert()
    return content


def _mixed_bytes(converter: Any, float_layers: Sequence[str]) -> bytes:
    """An int8 file in which ``float_layers`` stay float32. Only TensorFlow's tool for debugging quantization can make
    it; it takes names of tensors."""
    import tensorflow as tf

    tools = tf.lite.experimental
    is_float = re.compile(rf"/({'|'.join(float_layers)})").search
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it uses TensorFlow's own interpreter, which is deprecated
        debugger = tools.QuantizationDebugger(converter=converter, debug_dataset=converter.representative_dataset)
        tensors = tf.lite.Interpreter(model_content=debugger.calibrated_model).get_tensor_details()
        names = [tensor["name"] for tensor in tensors if is_float(tensor["name"])]
        debugger.options = tools.QuantizationDebugOptions(denylisted_nodes=names)
        content: bytes = debugger.get_nondebug_quantized_model()
    return content
