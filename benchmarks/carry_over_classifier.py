"""Writes a classifier from the weights of another training tool, and compares it with the bundled one.

    python benchmarks/carry_over_classifier.py WEIGHTS.npz DATA models/classifier

``WEIGHTS.npz`` has the arrays of ``build_shipped(LARGE_NETWORK with its labels).get_weights()``, in that order. Writes
OUT_STEM.keras, OUT_STEM.tflite (int8, calibrated on training faces) and OUT_STEM_float32.tflite. Class offsets,
temperature and the unsure rule are chosen on the development faces of ``DATA``. Prints, for the development faces, the
recall of each class by source for every file and for the bundled classifier, and the times per face, measured in turn.
``--json`` writes the same. With ``--run`` the detections are kept in that folder, so that the next call is faster.
With ``--licence open`` only data whose licences permit commercial use are read.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from app.cli.train import development_pool, pool_of  # noqa: E402
from app.core import resources  # noqa: E402
from app.core.files import write_json  # noqa: E402
from app.core.types import Label  # noqa: E402
from app.training.classifier.evaluation import time_per_face_ms  # noqa: E402
from app.training.classifier.finalize import FinalizedModel, finalize_model  # noqa: E402
from app.training.data.face_pool import (  # noqa: E402
    PooledFace,
    central_crops,
    landmark_detector,
)
from app.training.data.licences import OPEN  # noqa: E402
from app.training.data.splits import LABELS, training_sources  # noqa: E402
from app.training.export import CALIBRATION_IMAGES, write_model  # noqa: E402
from app.training.metrics import Rate, wilson  # noqa: E402
from app.training.networks import LARGE_MARGIN, LARGE_NETWORK, ShippedNetwork, build_shipped  # noqa: E402
from app.training.trainer import limit_threads  # noqa: E402
from app.training.types import KerasModel, Sample  # noqa: E402
from app.vision.classifier import LiteRtClassifier, MaskClassifier, decide, weigh_not_face  # noqa: E402
from app.vision.model_metadata import ClassifierMetadata  # noqa: E402
from app.vision.preprocess import sharpness  # noqa: E402

ROUNDS = 5


def model_from(weights: Path, network: ShippedNetwork) -> KerasModel:
    """Raises SystemExit if the arrays are not those of ``network``."""
    model = build_shipped(network)
    with np.load(weights) as arrays:
        given = [arrays[name] for name in arrays.files]
    expected = [tuple(array.shape) for array in model.get_weights()]
    if [array.shape for array in given] != expected:
        raise SystemExit(f"{weights} does not fit {network}: give --widths, --bottleneck, --input-px of the training")
    model.set_weights(given)
    return model


@dataclass(frozen=True, slots=True)
class Figures:
    """``recall``: by source and class. ``sure``: the same for answers that are not unsure. ``rejected``: the share of
    faces called not_face. ``unsure``: the share of faces that are unsure."""

    recall: dict[str, Rate]
    sure: dict[str, Rate]
    rejected: Rate
    unsure: Rate


def figures(classifier: MaskClassifier, faces: Sequence[PooledFace]) -> Figures:
    """Judged on the classes that the classifier knows."""
    metadata = classifier.metadata
    faces = [face for face in faces if face.label in metadata.labels]
    crops = central_crops(faces, metadata.labels, metadata.input_px, metadata.margin)
    rows = weigh_not_face(classifier.classify(crops.images), None, metadata)
    right = rows.argmax(axis=1) == crops.targets
    decisions = [
        decide(row.tolist(), metadata, size, sharpness(crop)).label
        for row, size, crop in zip(rows, crops.sizes_px, crops.images, strict=True)
    ]
    labels = np.array([face.label.value for face in faces])
    sources = np.array([face.source for face in faces])
    is_face = labels != Label.NOT_FACE.value
    said = np.array([label.value for label in decisions])
    recall, sure = {}, {}
    for label in np.unique(labels):
        for source in ("all", *np.unique(sources[labels == label])):
            chosen = (labels == label) & ((sources == source) | (source == "all"))
            recall[f"{label} {source}"] = wilson(int(right[chosen].sum()), int(chosen.sum()))
            sure[f"{label} {source}"] = wilson(int((said == labels)[chosen].sum()), int(chosen.sum()))
    rejected = said[is_face] == Label.NOT_FACE.value
    unsure = said[is_face] == Label.UNSURE.value
    count = int(is_face.sum())
    return Figures(recall, sure, wilson(int(rejected.sum()), count), wilson(int(unsure.sum()), count))


def times_ms(classifiers: dict[str, MaskClassifier]) -> dict[str, float]:
    """The least time per face of each, in turn, so that other load meets all alike."""
    rounds = [{name: time_per_face_ms(one, 1, 0.5) for name, one in classifiers.items()} for _ in range(ROUNDS)]
    return {name: min(one[name] for one in rounds) for name in classifiers}


def calibration_crops(train: Sequence[Sample], metadata: ClassifierMetadata, console: Console) -> list[np.ndarray]:  # type: ignore[type-arg]
    """Crops of training faces of all classes and sources, for int8."""
    ordered = sorted(train, key=lambda sample: (sample.source, sample.label, str(sample.path)))
    chosen = [ordered[i] for i in np.linspace(0, len(train) - 1, 2 * CALIBRATION_IMAGES).astype(int)]
    faces = pool_of(chosen, landmark_detector(1), console).faces
    return list(central_crops(faces, metadata.labels, metadata.input_px, metadata.margin).images)


def carry_over(
    model: KerasModel,
    metadata: ClassifierMetadata,
    dev: Sequence[PooledFace],
    examples: list[np.ndarray],  # type: ignore[type-arg]
    stem: Path,
    offsets: tuple[float, ...] | None,
) -> FinalizedModel:
    """Calibrates on ``dev`` and writes the three files; ``examples`` are the crops for int8."""
    exact = stem.with_name(f"{stem.name}_float32")
    final = finalize_model(model, metadata.labels, dev, exact, metadata, offsets)
    final.files[0].replace(stem.with_suffix(".keras"))
    write_model(model, final.metadata, stem.with_suffix(".tflite"), examples)
    return final


def classifiers_of(stem: Path) -> dict[str, MaskClassifier]:
    return {
        "bundled": LiteRtClassifier(resources.model("classifier.tflite"), 1),
        "float32": LiteRtClassifier(stem.with_name(f"{stem.name}_float32.tflite"), 1),
        "int8": LiteRtClassifier(stem.with_suffix(".tflite"), 1),
    }


def show(console: Console, found: dict[str, Figures], times: dict[str, float]) -> None:
    table = Table("development faces, right %", "faces", *found, box=None)
    names = sorted({name for one in found.values() for name in one.recall})
    for name in names:
        rates = [one.recall.get(name) for one in found.values()]
        total = max(rate.total for rate in rates if rate)
        table.add_row(name, str(total), *("-" if rate is None else f"{100 * rate.share:.1f}" for rate in rates))
    for what in ("rejected", "unsure"):
        rates = [getattr(one, what) for one in found.values()]
        table.add_row(f"faces {what}", str(rates[0].total), *(f"{100 * rate.share:.1f}" for rate in rates))
    table.add_row("ms per face, 1 thread", "", *(f"{times[name]:.3f}" for name in found))
    table.add_row("times the bundled one", "", *(f"{times[name] / times['bundled']:.2f}" for name in found))
    console.print(table)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("stem", type=Path, metavar="out_stem")
    parser.add_argument("--input-px", type=int, default=LARGE_NETWORK.input_px)
    parser.add_argument("--margin", type=float, default=LARGE_MARGIN)
    parser.add_argument("--widths", default=",".join(map(str, LARGE_NETWORK.widths)))
    parser.add_argument("--bottleneck", type=int, default=LARGE_NETWORK.bottleneck)
    parser.add_argument(
        "--face-weights",
        help="of benchmarks/face_evidence.py: candidate_score, the three weights and max_not_face, with commas",
    )
    parser.add_argument("--max-not-face", type=float, default=0.5, help="without --face-weights")
    parser.add_argument("--run", type=Path, help="folder that keeps the detections")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--licence", choices=(OPEN,), default="")
    parser.add_argument("--offsets", help="of the logits of mask, no_mask, incorrect, with commas, instead of a choice")
    args = parser.parse_args()
    offsets = tuple(map(float, args.offsets.split(","))) if args.offsets else None
    console = Console(width=140)
    labels = (*LABELS, Label.NOT_FACE)
    stem, small, middle, large = map(int, args.widths.split(","))
    network = replace(
        LARGE_NETWORK,
        input_px=args.input_px,
        widths=(stem, small, middle, large),
        bottleneck=args.bottleneck,
        classes=len(labels),
    )
    limit_threads(1)
    model = model_from(args.weights, network)
    splits = training_sources(args.data, licence=args.licence)
    with tempfile.TemporaryDirectory() as folder:
        options = SimpleNamespace(
            data=args.data,
            folder=args.run or Path(folder),
            threads=1,
            all_sources=True,
            only_faces12k=False,
            licence=args.licence,
        )
        options.folder.mkdir(parents=True, exist_ok=True)
        dev = development_pool(options, splits, console).faces  # type: ignore[arg-type]
    metadata = ClassifierMetadata(
        name="maskwatch-open" if args.licence else "maskwatch",
        version="1" if args.licence else "3",
        labels=labels,
        input_px=args.input_px,
        margin=args.margin,
        trained_on=tuple(sorted({sample.source for sample in splits.train})),
        max_not_face=args.max_not_face,
    )
    if args.face_weights:
        candidate, *weights, limit = map(float, args.face_weights.split(","))
        metadata = ClassifierMetadata.model_validate(
            {**metadata.model_dump(), "candidate_score": candidate, "face_weights": weights, "max_not_face": limit}
        )
    final = carry_over(model, metadata, dev, calibration_crops(splits.train, metadata, console), args.stem, offsets)
    classifiers = classifiers_of(args.stem)
    found = {name: figures(classifier, dev) for name, classifier in classifiers.items()}
    times = times_ms(classifiers)
    console.print(f"chosen on the development faces: {final.choice}", highlight=False)
    show(console, found, times)
    if args.json is not None:
        from app.training.reports.tables import plain

        write_json(args.json, plain({"choice": final.choice, "figures": found, "ms_per_face": times}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
