"""Mask classifiers: one network, run by LiteRT or Keras behind one interface."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from app.core import resources
from app.core.errors import ModelError, SettingsError
from app.core.types import FaceLabel, Label
from app.settings.vision import ClassifierSettings
from app.vision.litert import LiteRtModel
from app.vision.model_metadata import ClassifierMetadata, read_classifier_metadata
from app.vision.tensorflow_import import import_tensorflow

Crops = NDArray[np.uint8]
Probabilities = NDArray[np.float32]

TWO_WAY = (Label.MASK, Label.NO_MASK)
"""Confusing these two labels raises a false alert or misses a real one."""

_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
"""Batches are padded to one of these sizes, because each new input shape needs a new LiteRT plan."""


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


class LiteRtClassifier:
    """Runs the LiteRT file with XNNPACK on the CPU."""

    def __init__(self, path: Path, threads: int = 2) -> None:
        self.metadata = read_classifier_metadata(path)
        self._network = LiteRtModel(path, threads)
        labels = self._network.channels[0]
        if labels != len(self.metadata.labels):
            raise ModelError(f"{path} returns {labels} values for {len(self.metadata.labels)} labels; export it again")

    def classify(self, crops: Crops) -> Probabilities:
        _checked(crops, self.metadata)
        total, max_batch = len(crops), _BATCHES[-1]
        if total == 0:
            return np.empty((0, len(self.metadata.labels)), np.float32)
        if total > max_batch:
            return np.concatenate([self.classify(crops[i : i + max_batch]) for i in range(0, total, max_batch)])
        batch = next(size for size in _BATCHES if size >= total)
        plan = self._network.plan(batch, *crops.shape[1:])
        padded = plan.input()
        padded[:total], padded[total:] = crops, 0
        del padded
        plan.invoke()
        return calibrated(plan.outputs[0]()[:total].copy(), self.metadata.temperature)


class KerasClassifier:
    """Runs the trained ``.keras`` file, the reference for every export. Needs TensorFlow."""

    def __init__(self, path: Path) -> None:
        if find_spec("tensorflow") is None or find_spec("keras") is None:  # the executable contains neither
            raise SettingsError(
                "--backend keras needs TensorFlow: install maskwatch for Python (pip install 'maskwatch[train]'; from "
                "a checkout: pip install '.[train]'), or use --backend litert"
            )
        self.metadata = read_classifier_metadata(path)
        import_tensorflow()
        import keras
        import tensorflow as tf

        try:
            network = keras.models.load_model(path, compile=False)
        except (ValueError, OSError, KeyError, TypeError) as error:
            raise ModelError(f"{path} is damaged: {str(error).splitlines()[0]}; reinstall maskwatch") from error
        size, labels = self.metadata.input_px, len(self.metadata.labels)
        if network.output_shape[-1] != labels:
            raise ModelError(f"{path} returns {network.output_shape[-1]} values for {labels} labels; export it again")
        # One traced graph: predict() takes 50 times as long per call and is reported to leak memory in loops.
        shape = tf.TensorSpec((None, size, size, 3), tf.float32)
        self._run = tf.function(lambda crops: network(crops, training=False), input_signature=[shape])

    def classify(self, crops: Crops) -> Probabilities:
        _checked(crops, self.metadata)
        if len(crops) == 0:
            return np.empty((0, len(self.metadata.labels)), np.float32)
        return calibrated(self._run(crops.astype(np.float32)).numpy(), self.metadata.temperature)


def load_classifier(settings: ClassifierSettings) -> MaskClassifier:
    """Returns the selected classifier after a first inference. Raises ModelError if its file cannot be used."""
    suffix = ".tflite" if settings.backend == "litert" else ".keras"
    path = settings.model or default_model(suffix)
    if path.suffix != suffix:
        raise ModelError(f"--backend {settings.backend} needs a {suffix} file, not {path.name}")
    classifier: MaskClassifier
    classifier = LiteRtClassifier(path, settings.threads) if suffix == ".tflite" else KerasClassifier(path)
    classifier.classify(np.zeros((1, classifier.metadata.input_px, classifier.metadata.input_px, 3), np.uint8))
    return classifier


def default_model(suffix: str) -> Path:
    """Path of the bundled classifier, or of the paper's if the package contains no own one."""
    shipped = resources.model(f"classifier{suffix}")
    return shipped if shipped.is_file() else resources.model(f"paper/model_6{suffix}")


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


def decide(probabilities: Sequence[float], metadata: ClassifierMetadata, face_px: float, sharp: float) -> FaceLabel:
    """The most probable label of a face in a single image, or UNSURE if it is too small, too blurred or undecided.
    NOT_FACE needs no minimum confidence.

    ``face_px``: the shorter side of its box in source pixels. ``sharp``: the crop's ``preprocess.sharpness``.
    """
    best = max(range(len(probabilities)), key=probabilities.__getitem__)
    confidence = float(probabilities[best])
    is_decided = metadata.labels[best] is Label.NOT_FACE or is_sure(probabilities, best, metadata)
    unsure = face_px < metadata.min_face_px or sharp < metadata.min_sharpness or not is_decided
    return FaceLabel(
        Label.UNSURE if unsure else metadata.labels[best], confidence, tuple(float(p) for p in probabilities)
    )
