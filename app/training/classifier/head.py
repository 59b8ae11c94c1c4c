"""The last dense layer of a LiteRT classifier: its input (the features), its weights, and files with other weights.

Nothing but this layer changes, so a few hundred faces are enough to train it, in seconds and without TensorFlow.
"""

from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.core.errors import ModelError
from app.vision.classifier import scaled
from app.vision.model_metadata import (
    ClassifierMetadata,
    fingerprint,
    network_bytes,
    read_classifier_metadata,
    write_metadata,
)

Floats = NDArray[np.float32]

_BATCH = 32


class HeadModel:
    """A classifier as features and a dense layer. ``weights``: (F + 1, C) float32, the last row is the bias.
    ``fingerprint``: of everything but the weights, so that it is the same for all models with these features.
    Raises ModelError if the network does not end with a dense layer and a softmax."""

    def __init__(self, path: Path) -> None:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        self.path = path
        self.metadata: ClassifierMetadata = read_classifier_metadata(path)
        try:
            self._network = network_bytes(path)
            self._interpreter = Interpreter(
                model_content=self._network,
                experimental_preserve_all_tensors=True,
                experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            )
        except (ValueError, RuntimeError, OSError) as error:  # OSError: a SavedModel folder
            raise ModelError(
                f"{path} cannot be improved: it is no .tflite file; give one as classifier.model"
            ) from error
        self._features, self.weights = self._find_layer()
        self.fingerprint = self.fingerprint_with(np.zeros_like(self.weights))

    def _find_layer(self) -> tuple[int, Floats]:
        """The index of the tensor of features, and the weights: those that give the network's own outputs."""
        size_px, classes = self.metadata.input_px, len(self.metadata.labels)
        crop = np.random.default_rng(0).integers(0, 256, (1, size_px, size_px, 3)).astype(np.uint8)
        outputs = self._run(crop)
        tensors = {each["index"]: self._value(each["index"]) for each in self._interpreter.get_tensor_details()}
        by_shape: dict[tuple[int, ...], list[Floats]] = {}
        for value in tensors.values():
            by_shape.setdefault(value.shape, []).append(value)
        for index, features in tensors.items():
            if features.ndim != 2 or len(features) != 1 or features.shape[1] <= classes:
                continue
            for kernel, bias in product(by_shape.get((classes, features.shape[1]), []), by_shape.get((classes,), [])):
                weights = np.vstack([kernel.T, bias])
                is_own = all(self._network.count(part.tobytes()) == 1 for part in (kernel, bias))
                if is_own and np.allclose(probabilities_of(features, weights), outputs, atol=1e-4):
                    return index, weights
        raise ModelError(f"{self.path} cannot be improved: it does not end with a dense layer; use 'maskwatch train'")

    def _run(self, crops: NDArray[np.uint8]) -> Floats:
        entry = self._interpreter.get_input_details()[0]
        self._interpreter.resize_tensor_input(entry["index"], crops.shape)
        self._interpreter.allocate_tensors()
        self._interpreter.set_tensor(entry["index"], scaled(crops, self.metadata))
        self._interpreter.invoke()
        outputs: Floats = self._interpreter.get_tensor(self._interpreter.get_output_details()[0]["index"])
        return outputs

    def _value(self, index: int) -> Floats:
        """Empty for tensors without a value and for those that are not float32."""
        try:
            value = self._interpreter.get_tensor(index)
        except ValueError:
            value = None
        return value if value is not None and value.dtype == np.float32 else np.empty(0, np.float32)

    def features(self, crops: NDArray[np.uint8]) -> Floats:
        """(N, F) float32 of (N, S, S, 3) uint8 RGB."""
        parts = []
        for start in range(0, len(crops), _BATCH):
            self._run(crops[start : start + _BATCH])
            parts.append(self._interpreter.get_tensor(self._features))
        return np.concatenate(parts) if parts else np.empty((0, len(self.weights) - 1), np.float32)

    def network_with(self, weights: Floats) -> bytes:
        """The network with other weights of the dense layer."""
        content = self._network
        for old, new in ((self.weights[:-1].T, weights[:-1].T), (self.weights[-1], weights[-1])):
            content = content.replace(old.astype(np.float32).tobytes(), new.astype(np.float32).tobytes())
        return content

    def fingerprint_with(self, weights: Floats) -> str:
        return fingerprint(self.network_with(weights))

    def write(self, path: Path, weights: Floats, metadata: ClassifierMetadata) -> None:
        """Raises OSError."""
        path.write_bytes(self.network_with(weights))
        write_metadata(path, metadata)


def probabilities_of(features: Floats, weights: Floats) -> Floats:
    """(N, C) softmax of the dense layer, before the temperature."""
    scores = features @ weights[:-1] + weights[-1]
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)  # type: ignore[no-any-return]
