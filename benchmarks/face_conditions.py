"""Measures the classifier on annotated faces by occlusion, light and source: right, and right with at least 0.85.

    python benchmarks/face_conditions.py DATA [--classifier models/classifier.tflite] [--json FILE]

Open tests: the bare faces of WIDER FACE val, whose wrong answers are listed, and the faces of ``frames/test`` as given,
darkened, as an infrared camera shows them, backlit, and blurred by motion (rendered; the training draws similar ones).
Development scenes of ``held_back.json``, which no model trains on: faces behind hands and microphones (MAFA), in grey
offices, and of the set with hijabs and badly worn masks. Recalls in per cent with Wilson 95 % intervals.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

from app.core import resources  # noqa: E402
from app.core.files import write_json  # noqa: E402
from app.core.types import Image, Label  # noqa: E402
from app.training.classifier.evaluation import Predictions, predict_crops  # noqa: E402
from app.training.data.crops import Crops, load_crops  # noqa: E402
from app.training.metrics import wilson  # noqa: E402
from app.training.types import Sample  # noqa: E402
from app.vision.classifier import LiteRtClassifier  # noqa: E402
from benchmarks.listed_scenes import listed_scenes  # noqa: E402

MIN_FACE_PX = 32
SURE = 0.85
NAMES = {"mafa": "behind hands, tissues, microphones (MAFA)", "office": "grey office", "wear_web": "hijab, badly worn",
         "wider": "crowds (WIDER)"}  # fmt: skip


def _centre(size_px: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """(S, S, 1): 1 in the middle, 0.02 in the corners."""
    across = np.linspace(-1, 1, size_px, dtype=np.float32)
    return np.exp(-2 * (across[:, None] ** 2 + across**2))[..., None]


def dark(crop: Image, rng: np.random.Generator) -> Image:
    return _noisy(255 * (crop / 255.0) ** 1.6 * 0.3, 5, rng)


def infrared(crop: Image, rng: np.random.Generator) -> Image:
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)[..., None].astype(np.float32)
    return _noisy(np.repeat(40 + (0.45 + 0.35 * _centre(len(crop))) * grey, 3, axis=2), 6, rng)


def backlit(crop: Image, rng: np.random.Generator) -> Image:
    face = np.clip(4 * _centre(len(crop)) - 1, 0, 1)
    return _noisy(crop * 0.3 * face + (0.7 * crop + 90) * (1 - face), 3, rng)


def blurred(crop: Image, rng: np.random.Generator) -> Image:
    length = max(round(len(crop) / 10), 2)
    kernel = np.eye(length, dtype=np.float32) if rng.random() < 0.5 else np.zeros((length, length), np.float32)
    kernel[length // 2] = 1.0 if not kernel.any() else kernel[length // 2]
    return cv2.filter2D(crop, -1, kernel / kernel.sum())  # type: ignore[return-value]


def _noisy(values: "np.ndarray[Any, np.dtype[Any]]", spread: float, rng: np.random.Generator) -> Image:
    noisy: Image = np.clip(values + rng.normal(0, spread, values.shape), 0, 255).astype(np.uint8)
    return noisy


CONDITIONS: dict[str, Callable[[Image, np.random.Generator], Image]] = {
    "dark": dark, "infrared": infrared, "backlit": backlit, "blurred by motion": blurred,
}  # fmt: skip


def faces_of(annotations: Path, pictures: str | None = None) -> list[Sample]:
    return [
        Sample(scene.path, face.label, scene.source, face.box)
        for scene in listed_scenes(annotations, pictures)
        for face in scene.faces
        if face.label is not None and face.box.size >= MIN_FACE_PX
    ]


def sets(data: Path, classifier: LiteRtClassifier) -> Iterator[tuple[str, Predictions]]:
    metadata = classifier.metadata

    def crops_of(samples: Sequence[Sample]) -> Crops:
        return load_crops(samples, metadata.labels, metadata.input_px, metadata.margin)

    wild = [one for one in faces_of(data / "scenes" / "wider_val.json") if one.label is Label.NO_MASK]
    yield "WIDER FACE val, bare", predict_crops(classifier, crops_of(wild))
    frames = crops_of(faces_of(data / "frames" / "test.json"))
    yield "frames/test", predict_crops(classifier, frames)
    for name, change in CONDITIONS.items():
        rng = np.random.default_rng(1)
        images = np.stack([change(crop, rng) for crop in frames.images])
        changed = Crops(images, frames.targets, frames.sizes_px, frames.samples, frames.labels)
        yield f"frames/test, {name}", predict_crops(classifier, changed)
    held = faces_of(data / "scenes" / "train.json", "development")
    for source in sorted({one.source for one in held}):
        chosen = [one for one in held if one.source == source]
        yield f"development: {NAMES.get(source, source)}", predict_crops(classifier, crops_of(chosen))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--classifier", type=Path, default=resources.model("classifier.tflite"))
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    table = Table("faces of at least 32 px", "label", "faces", "right %", f"right, {SURE} and more %", box=None)
    rows, wrong = [], []
    for name, predictions in sets(args.data, LiteRtClassifier(args.classifier, 1)):
        crops, odds = predictions.crops, predictions.probabilities
        labels = [i for i, label in enumerate(crops.labels) if label is not Label.NOT_FACE]
        right = np.array(labels)[odds[:, labels].argmax(axis=1)] == crops.targets
        sure = right & (odds[np.arange(len(odds)), crops.targets] >= SURE)
        for i in labels:
            of_label = crops.targets == i
            if total := int(of_label.sum()):
                rates = [wilson(int(one[of_label].sum()), total) for one in (right, sure)]
                texts = [f"{100 * one.share:.1f} ({100 * one.low:.1f}-{100 * one.high:.1f})" for one in rates]
                table.add_row(name, crops.labels[i].value, str(total), *texts)
                rows.append({"set": name, "label": crops.labels[i].value, "faces": total,
                             "right": rates[0].right, "sure": rates[1].right})  # fmt: skip
        if name.startswith("WIDER"):
            wrong = [
                {
                    "picture": sample.path.name,
                    "box": astuple(sample.box),
                    "answer": crops.labels[int(row.argmax())].value,
                }
                for sample, row, is_right in zip(crops.samples, odds, right, strict=True)
                if not is_right and sample.box is not None
            ]
    Console(width=130).print(table)
    if args.json is not None:
        write_json(args.json, {"rows": rows, "wrong_on_wider_val": wrong})
    return 0


if __name__ == "__main__":
    sys.exit(main())
