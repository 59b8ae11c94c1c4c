"""What the classifier calls things that our detector takes for faces, beside real faces, at an alert's confidence.

    python benchmarks/false_finds.py DATA --yunet FILE [--model models/classifier.tflite]

On the development frames, which no model learned from: finds of 30 px and more where neither annotations nor YuNet have
a face, and the annotated faces.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from app import resources
from app.domain import Label
from app.train.dataset import load_crops
from app.train.nothing import pictures_of_nothing
from app.train.sources import training_sources
from app.train.train_command import FALSE_FIND_SCORE
from app.vision.classify import LiteRtClassifier
from app.vision.neural import CnnDetector
from app.vision.yunet import YuNetDetector

MIN_PX = 30


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--yunet", type=Path, required=True)
    parser.add_argument("--model", type=Path, default=resources.model("classifier.tflite"))
    args = parser.parse_args()
    classifier = LiteRtClassifier(args.model, 1)
    facts = classifier.facts
    frames = [sample for sample in training_sources(args.data).dev if sample.box is not None]
    finder = CnnDetector(resources.model("face_detector.tflite"), score=FALSE_FIND_SCORE, threads=1)
    nothing = pictures_of_nothing(Path("/nowhere"), frames, finder, YuNetDetector(args.yunet, score=0.5))
    sets = [(label.value, [one for one in frames if one.label == label], (label,)) for label in facts.labels]
    for name, samples, labels in [*sets, ("no face", nothing, (Label.UNSURE,))]:
        crops = load_crops(samples, labels, facts.input_px, facts.margin)
        crops = crops.where(crops.sizes_px >= MIN_PX)
        bare = classifier.classify(crops.images)[:, facts.labels.index(Label.NO_MASK)]
        told = ", ".join(f"{100 * np.mean(bare >= least):.1f} % at {least}" for least in (0.8, 0.85, 0.9))
        print(f"{name}: {len(bare)} of {MIN_PX} px and more; called bare {told}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
