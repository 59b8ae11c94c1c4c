"""Makes the replay samples, which ``maskwatch improve`` needs: features of training faces and scenes, no images.

    python benchmarks/replay_sample.py POOLS [--model models/classifier.tflite] [--output models/replay.npz]
    python benchmarks/replay_sample.py --open ../shared/data
    python benchmarks/replay_sample.py --detector ../shared/data [--output models/replay_detector.npz]

Run them again whenever the bundled classifiers or the detector change. The second one makes models/open/replay.npz,
from data published for commercial use too. The sample of the detector is made with the int8 model, from
scenes/train.json and frames/train.json; development scenes are the part that is never learned.

``POOLS`` holds the face patches on which the classifier was trained: train.npz, dev.npz (held back) and nothing.npz
(detections without a face). Each has ``pixels``, the patches (RGB) end to end; ``numbers`` (N, 21): height, width, the
crop of the data set and the box of the face (x, y, width, height), five landmarks, size in the source; and ``words``
(N, 3): label, source, path. Prints the size of the file and what the classifier gets right on the faces that are held
back.
"""

import argparse
import json
import random
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from app.cli.train import pools_of  # noqa: E402
from app.core.types import Box, Label  # noqa: E402
from app.training.classifier.head import HeadModel, probabilities_of  # noqa: E402
from app.training.classifier.replay import BUNDLED, make_replay  # noqa: E402
from app.training.data.face_pool import PooledFace  # noqa: E402
from app.training.data.images import ImageCache  # noqa: E402
from app.training.data.licences import OPEN  # noqa: E402
from app.training.data.splits import LABELS, training_sources  # noqa: E402
from app.training.detector import cells  # noqa: E402
from app.training.detector.augmentation import DetectorAugmentation  # noqa: E402
from app.training.detector.cells import ReplayCells, cells_of  # noqa: E402
from app.training.detector.head import DetectorHead  # noqa: E402
from app.training.detector.scene_reader import read_scenes  # noqa: E402
from app.training.detector.scenes import split_scenes  # noqa: E402
from app.training.types import Sample  # noqa: E402
from app.vision import yunet_detector as yunet  # noqa: E402
from app.vision.classifier import bundled_model  # noqa: E402

FACES, GUARD, NEGATIVES, CROPS, OPEN_CROPS = 9000, 2000, 800, 6000, 3000
TRAIN_SCENES, GUARD_SCENES, EMPTY_SCENES = 550, 400, 60


def read_pool(path: Path, limit: int, rng: random.Random, label: Label | None = None) -> list[PooledFace]:
    """At most ``limit`` random faces; ``label`` is that of all."""
    with np.load(path) as pool:
        pixels, numbers, words = pool["pixels"], pool["numbers"], pool["words"]
    sizes = (numbers[:, 0] * numbers[:, 1] * 3).astype(np.int64)
    starts = np.cumsum(sizes) - sizes
    faces = []
    for i in sorted(rng.sample(range(len(words)), min(limit, len(words)))):
        height, width = (int(value) for value in numbers[i, :2])
        whole, box = (_box(numbers[i, at : at + 4]) for at in (2, 6))
        name, source, file = words[i].tolist()
        known = label or (Label(name) if name in ("mask", "no_mask", "incorrect") else None)
        if known is None or (whole is None and box is None):
            continue
        landmarks = None if np.isnan(numbers[i, 10:20]).any() else numbers[i, 10:20].reshape(5, 2)
        patch = pixels[starts[i] : starts[i] + sizes[i]].reshape(height, width, 3)
        sample = Sample(Path(file), known, source, None if whole is not None else box)
        faces.append(PooledFace(patch.copy(), known, source, sample, whole, box, landmarks, float(numbers[i, 20])))
    return faces


def _box(row: np.ndarray) -> Box | None:
    return None if np.isnan(row).any() else Box(*(float(value) for value in row))


def make_cells(data: Path, output: Path, seed: int) -> None:
    """The sample of the detector."""
    cv2.setNumThreads(1)
    heads = [DetectorHead(ROOT / "models" / name) for name in (yunet.BUNDLED["int8"], yunet.BUNDLED["float32"])]
    scenes = [scene for part in ("scenes", "frames") for scene in read_scenes(data / part / "train.json")]
    held = json.loads((ROOT / "models" / "held_back.json").read_text("utf-8"))
    rng, numbers = random.Random(seed), np.random.default_rng(seed)
    mix = DetectorAugmentation(min_face_px=12.0)
    parts = []
    for part, count in zip(split_scenes(scenes, ImageCache(), held), (TRAIN_SCENES, GUARD_SCENES), strict=True):
        chosen = rng.sample([scene for scene in part if scene.source != "no_face"], count)
        chosen += rng.sample([scene for scene in part if scene.source == "no_face"], EMPTY_SCENES)
        parts.append(cells_of(heads[0], [(scene, mix) for scene in chosen], ImageCache(0).get, numbers))
        print(f"{len(chosen)} scenes, cells: {np.bincount(parts[-1].kinds, minlength=4)} (face, object, near, other)")
    ReplayCells(*parts).write(output, heads[0].steps, [head.fingerprint for head in heads])
    print(f"{output}: {output.stat().st_size / 1e6:.2f} MB")


def open_pools(data: Path) -> tuple[list[PooledFace], list[PooledFace]]:
    """The faces for training and for development that ``maskwatch train --licence open`` uses, with hard negatives."""
    with tempfile.TemporaryDirectory() as folder:
        options = argparse.Namespace(
            data=data, folder=Path(folder), threads=1, all_sources=True, only_faces12k=False, licence=OPEN
        )
        splits = training_sources(data, licence=OPEN)
        train, dev = pools_of(options, splits, (*LABELS, Label.NOT_FACE), Console())
    return train.faces, dev.faces


def closed_pools(pools: Path, rng: random.Random) -> tuple[list[PooledFace], list[PooledFace]]:
    negatives = read_pool(pools / "nothing.npz", NEGATIVES, rng, Label.NOT_FACE)
    train = read_pool(pools / "train.npz", FACES, rng) + negatives[: NEGATIVES // 2]
    return train, read_pool(pools / "dev.npz", GUARD, rng) + negatives[NEGATIVES // 2 :]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pools", type=Path, nargs="?")
    parser.add_argument("--detector", type=Path, metavar="DATA", help="make that of the detector")
    parser.add_argument("--open", type=Path, metavar="DATA", help="make that of the open classifier")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--seed", type=int, default=42)
    args = parser.parse_args()
    if args.detector:
        make_cells(args.detector, args.output or ROOT / "models" / cells.BUNDLED, args.seed)
        return
    output = args.output or ROOT / "models" / BUNDLED[1 if args.open else 0]
    model = HeadModel(args.model or bundled_model(".tflite", "open" if args.open else "default"))
    train, guard = open_pools(args.open) if args.open else closed_pools(args.pools, random.Random(args.seed))
    sample = make_replay(model, train, guard, OPEN_CROPS if args.open else CROPS, args.seed)
    sample.write(output)
    right = probabilities_of(sample.features, model.weights).argmax(axis=1) == sample.targets
    for place, label in enumerate(sample.labels):
        own = sample.targets == place
        shares = ", ".join(
            f"{name} {100 * np.mean(right[own & part]):.1f} % of {int((own & part).sum())}"
            for name, part in (("learned", ~sample.is_guard), ("held back", sample.is_guard))
        )
        print(f"{label}: right {shares}")
    print(f"{output}: {output.stat().st_size / 1e6:.2f} MB, classifier {sample.fingerprint}")


if __name__ == "__main__":
    main()
