"""``maskwatch evaluate-detector``: compares all face detectors on annotated images."""

import argparse

from rich.console import Console

from app.core import resources
from app.core.errors import ModelError
from app.core.files import is_file, output_errors, write_json
from app.training.detector.comparison import (
    PAPER,
    ComparisonSettings,
    compared_detectors,
    evaluate_all,
    to_tables,
    to_tree,
)
from app.training.detector.scene_reader import read_scenes


def run(args: argparse.Namespace) -> int:
    for path in (args.model, args.classifier):
        if path is not None and not is_file(path):
            raise ModelError(f"no model file {path}; check its name")
    scenes = read_scenes(args.data)[: args.limit]
    classifier = args.classifier or resources.model("classifier.tflite")
    comparison = ComparisonSettings(
        ours=args.model or resources.model("face_detector.tflite"),
        width_px=args.width_px,
        threads=args.threads,
        haar=(PAPER, *args.haar_options),
        classifier=classifier if is_file(classifier) else None,
    )
    rows = evaluate_all(scenes, compared_detectors(comparison), classifier, args.threads)
    for table in to_tables(rows):
        Console().print(table)
    if args.json is not None:
        with output_errors(args.json, "choose another --json"):
            args.json.parent.mkdir(parents=True, exist_ok=True)
            write_json(args.json, to_tree(rows, scenes, args.width_px))
    return 0
