"""Mask classifiers: one network, run by LiteRT or Keras behind one interface."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from app.core import resources
from app.core.errors import ModelError, SettingsError
from app.core.files import is_file
from app.core.types import FaceLabel, Label
from app.settings.vision import ClassifierSettings
from app.vision.backend_choice import resolved_classifier
from app.vision.backends import check_format, open_network, runs_onnx
from app.vision.litert import LiteRtModel
from app.vision.model_format import ModelFormat, model_format
from app.vision.model_metadata import ClassifierMetadata, read_classifier_metadata
from app.vision.tensorflow_import import import_tensorflow

Crops = NDArray[np.uint8]
Probabilities = NDArray[np.float32]

TWO_WAY = (Label.MASK, Label.NO_MASK)
"""Confusing these two labels raises a false alert or misses a real one."""

_BATCH = 8

_ANNOTATED_SCORE = 0.9
"""Median score of the detected faces of the development scenes, assumed for annotated ones."""

_LEAST = 1e-4
"""Probabilities nearer to 0 or 1 are not trusted as evidence."""


class MaskClassifier(Protocol):
    """A classifier must be used by one thread only."""

    metadata: ClassifierMetadata

    def classify(self, crops: Crops) -> Probabilities:
        """``crops``: (N, S, S, 3) uint8 RGB. Returns probabilities (N, C) float32, in ``metadata.labels`` order."""


def calibrated(probabilities: Probabilities, temperature: float) -> Probabilities:
    """Temperature scaling (Guo et al. 2017) of softmax outputs: softmax(log p / T). Input and output: (N, C)."""
    if temperature == 1.0:
        return probabilities
    logits = np.log(np.clip(probabilities, 1e-9, 1.0)) / temperature
    logits -= logits.max(axis=1, keepdims=True)
    powers = np.exp(logits)
    return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)  # type: ignore[no-any-return]


def _checked(crops: Crops, metadata: ClassifierMetadata) -> Crops:
    expected = (metadata.input_px, metadata.input_px, 3)
    if crops.shape[1:] != expected or crops.dtype != np.uint8:
        raise ModelError(f"{metadata.name} needs uint8 crops of {expected}, not {crops.dtype} {crops.shape[1:]}")
    return crops


def scaled(crops: Crops, metadata: ClassifierMetadata) -> NDArray[np.float32]:
    """The crops as the network expects them."""
    black, white = metadata.scaling
    ordered = (crops[..., ::-1] if metadata.channels == "bgr" else crops).astype(np.float32)
    return ordered if (black, white) == (0, 255) else ordered * np.float32((white - black) / 255) + np.float32(black)


def _probabilities(outputs: NDArray[np.float32], metadata: ClassifierMetadata) -> Probabilities:
    """(N, C) probabilities from the outputs (N, C), or (N, 1) for two labels."""
    if metadata.outputs == "logits":
        if outputs.shape[1] == 1:
            outputs = np.concatenate([np.zeros_like(outputs), outputs], axis=1)
        powers = np.exp(outputs - outputs.max(axis=1, keepdims=True))
        outputs = powers / powers.sum(axis=1, keepdims=True)
    elif outputs.shape[1] == 1:
        outputs = np.concatenate([1 - outputs, outputs], axis=1)
    return calibrated(outputs, metadata.temperature)


def _check_shapes(path: Path, inputs: Sequence[Any], values: int, metadata: ClassifierMetadata) -> None:
    """``inputs``: the network's input shape; -1 or None is any size. Raises ModelError if the metadata do not fit."""
    fixed = [size if size and size > 0 else 0 for size in inputs]
    if len(fixed) != 4 or fixed[3] not in (0, 3):
        what = "channels first" if len(fixed) == 4 and fixed[1] == 3 else f"an input of shape {list(inputs)}"
        raise ModelError(f"{path} has {what}; it needs images of (height, width, 3); export it again")
    if any(size not in (0, metadata.input_px) for size in fixed[1:3]):
        size = f"{fixed[2]}x{fixed[1]}"
        advice = f"write input_px: {fixed[1]}" if fixed[1] == fixed[2] else "it must be square"
        raise ModelError(f"{path} takes images of {size} pixels, but its input_px is {metadata.input_px}; {advice}")
    if values != len(metadata.labels) and (values, len(metadata.labels)) != (1, 2):
        raise ModelError(f"{path} returns {values} values for {len(metadata.labels)} labels; name all labels in order")


class LiteRtClassifier:
    """Runs the LiteRT file with XNNPACK on the CPU, or a file of another back end."""

    def __init__(self, path: Path, threads: int = 2, backend: str = "litert") -> None:
        self.metadata = read_classifier_metadata(path)
        self._network = open_network(path, threads, backend)
        _check_shapes(path, self._network.input_shape, self._network.channels[0], self.metadata)

    def classify(self, crops: Crops) -> Probabilities:
        """In batches of ``_BATCH``, the rest one by one: that is as fast on CPUs, and each further size of a batch
        would need a plan of 2 to 7 MB."""
        _checked(crops, self.metadata)
        if len(crops) == 0:
            return np.empty((0, len(self.metadata.labels)), np.float32)
        outputs = np.empty((len(crops), self._network.channels[0]), np.float32)
        is_fixed = self._network.input_shape[0] == 1  # some models of other programs
        done = 0
        try:
            while done < len(crops):
                size = 1 if is_fixed or len(crops) - done < _BATCH else _BATCH
                outputs[done : done + size] = self._run(crops[done : done + size])
                done += size
        except (RuntimeError, ValueError) as error:
            raise ModelError(f"{self.metadata.name} cannot be run: {error}; export it again") from error
        return _probabilities(outputs, self.metadata)

    def _run(self, crops: Crops) -> NDArray[np.float32]:
        """The outputs of a batch; integer inputs and outputs are quantized as the file says."""
        values = scaled(crops, self.metadata)
        with self._network.plan(*crops.shape) as plan:
            tensor = plan.input()
            if np.issubdtype(tensor.dtype, np.integer):
                limits, (scale, zero) = np.iinfo(tensor.dtype), self._network.input_quantization
                values = np.clip(np.round(values / (scale or 1.0)) + zero, limits.min, limits.max)
            tensor[:] = values
            del tensor
            plan.invoke()
            outputs: NDArray[Any] = plan.outputs[0]().copy()
        if np.issubdtype(outputs.dtype, np.integer):
            scale, zero = self._network.output_quantization
            outputs = (outputs.astype(np.float32) - zero) * (scale or 1.0)
        return outputs.reshape(len(outputs), -1).astype(np.float32)


def litert_input_px(path: Path) -> int | None:
    """The image size that a LiteRT file takes, or None if it takes any. Raises ModelError if it cannot be read."""
    shape = LiteRtModel(path, 1).input_shape
    return int(shape[1]) if len(shape) == 4 and shape[1] > 3 else None


def load_keras(path: Path) -> Any:
    """The network of a ``.keras`` or Keras 2 ``.h5`` file. Needs TensorFlow. Raises ModelError if Keras cannot read
    it."""
    import keras

    class DepthwiseConv2D(keras.layers.DepthwiseConv2D):  # type: ignore[misc, unused-ignore]
        """Keras 2 wrote ``groups``, which Keras 3 refuses."""

        def __init__(self, *args: Any, groups: int = 1, **options: Any) -> None:  # noqa: ARG002 - always 1
            super().__init__(*args, **options)

    layers = {"DepthwiseConv2D": DepthwiseConv2D} if model_format(path) is ModelFormat.HDF5 else None
    try:
        return keras.models.load_model(path, custom_objects=layers, compile=False)
    except (ValueError, OSError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            f"Keras {keras.__version__} cannot read {path}: {str(error).splitlines()[0]}; reinstall maskwatch, or save "
            "the model again as .keras with the Keras that made it"
        ) from error


def check_tensorflow(what: str) -> None:
    """Raises SettingsError if TensorFlow, which ``what`` needs, is missing, as in the executable."""
    if find_spec("tensorflow") is None or find_spec("keras") is None:
        raise SettingsError(
            f"{what} needs TensorFlow: install maskwatch for Python (pip install 'maskwatch[train]'; from "
            "a checkout: pip install '.[train]')" + (", or use --backend litert" if "--backend" in what else "")
        )


class KerasClassifier:
    """Runs the trained ``.keras`` file, the reference for every export, or a Keras 2 ``.h5`` file. Needs TensorFlow."""

    def __init__(self, path: Path) -> None:
        self.metadata = read_classifier_metadata(path)
        import_tensorflow()
        import tensorflow as tf

        network = load_keras(path)
        _check_shapes(path, network.input_shape, network.output_shape[-1], self.metadata)
        size = self.metadata.input_px
        # One traced graph: predict() takes 50 times as long per call and is reported to leak memory in loops.
        shape = tf.TensorSpec((None, size, size, 3), tf.float32)
        self._run = tf.function(lambda crops: network(crops, training=False), input_signature=[shape])

    def classify(self, crops: Crops) -> Probabilities:
        _checked(crops, self.metadata)
        if len(crops) == 0:
            return np.empty((0, len(self.metadata.labels)), np.float32)
        return _probabilities(self._run(scaled(crops, self.metadata)).numpy(), self.metadata)


def load_classifier(settings: ClassifierSettings) -> MaskClassifier:
    """Returns the selected classifier after a first inference. Raises ModelError if its file cannot be used."""
    settings = resolved_classifier(settings)
    is_keras = settings.backend == "keras"
    if is_keras:
        check_tensorflow("--backend keras")  # the executable contains no .keras file that could be missed
    path = classifier_file(settings)
    check_format(path, settings.backend)
    classifier: MaskClassifier = (
        KerasClassifier(path) if is_keras else LiteRtClassifier(path, settings.threads, settings.backend)
    )
    classifier.classify(np.zeros((1, classifier.metadata.input_px, classifier.metadata.input_px, 3), np.uint8))
    return classifier


def classifier_file(settings: ClassifierSettings) -> Path:
    """The model file of settings whose back end is not ``auto``."""
    suffix = ".keras" if settings.backend == "keras" else ".onnx" if runs_onnx(settings.backend) else ".tflite"
    return settings.model or bundled_model(suffix, settings.models)


def bundled_model(suffix: str, models: str = "default") -> Path:
    """Path of the bundled classifier of ``models`` (``ClassifierSettings``). If the package does not contain the
    default one, the paper's."""
    if models == "open":
        return resources.model(f"open/classifier{suffix}")
    shipped = resources.model(f"classifier{suffix}")
    return shipped if is_file(shipped) else resources.model(f"paper/model_6{suffix}")


def is_sure(probabilities: Sequence[float], index: int, metadata: ClassifierMetadata, slack: float = 0.0) -> bool:
    """Whether the label at ``index`` meets the model's thresholds, lowered by ``slack``.

    It needs the minimum confidence; mask and no_mask also need a clear margin over each other.
    """
    if not probabilities[index] >= metadata.min_confidence - slack:  # NaN is not sure either
        return False
    if metadata.min_two_way <= 0 or metadata.labels[index] not in TWO_WAY:
        return True
    both = sum(probabilities[i] for i, label in enumerate(metadata.labels) if label in TWO_WAY)
    return bool(probabilities[index] >= (metadata.min_two_way - slack) * both)


def weigh_not_face(
    probabilities: Probabilities, scores: Sequence[float] | None, metadata: ClassifierMetadata
) -> Probabilities:
    """``probabilities`` (N, C) with not_face corrected by the detector's ``scores`` (N), because both together are
    right more often than each alone. The other classes keep their ratios. Nothing changes without ``candidate_score``.
    Without ``scores`` (annotated boxes) a usual one is assumed.
    """
    if Label.NOT_FACE not in metadata.labels or metadata.candidate_score is None or not len(probabilities):
        return probabilities
    column = metadata.labels.index(Label.NOT_FACE)
    rows = np.clip(probabilities, _LEAST, 1 - _LEAST)
    score = np.clip(np.full(len(rows), _ANNOTATED_SCORE) if scores is None else np.asarray(scores), _LEAST, 1 - _LEAST)
    by_score, by_class, constant = metadata.face_weights
    log_odds = by_score * np.log(score / (1 - score)) - by_class * np.log(rows[:, column] / (1 - rows[:, column]))
    is_face = 1 / (1 + np.exp(-log_odds - constant))
    rows *= (is_face / (rows.sum(axis=1) - rows[:, column]))[:, None]
    rows[:, column] = 1 - is_face
    return rows


def decide(probabilities: Sequence[float], metadata: ClassifierMetadata, face_px: float, sharp: float) -> FaceLabel:
    """The most probable label of a face in a single image, or UNSURE if it is too small, too blurred or undecided.
    NOT_FACE if that is more probable than the model allows (``max_not_face``).

    ``face_px``: the shorter side of its box in source pixels. ``sharp``: the crop's ``preprocess.sharpness``.
    """
    labels = metadata.labels
    best = max(range(len(labels)), key=lambda i: (labels[i] is not Label.NOT_FACE, probabilities[i]))
    label = labels[best]
    if Label.NOT_FACE in labels and probabilities[labels.index(Label.NOT_FACE)] > metadata.max_not_face:
        label, best = Label.NOT_FACE, labels.index(Label.NOT_FACE)
    elif face_px < metadata.min_face_px or sharp < metadata.min_sharpness or not is_sure(probabilities, best, metadata):
        label = Label.UNSURE
    return FaceLabel(label, float(probabilities[best]), tuple(float(p) for p in probabilities))
