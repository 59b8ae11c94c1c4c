"""``maskwatch models``: list the bundled model files with their metadata."""

import argparse
from pathlib import Path

from app.core import resources
from app.core.errors import MaskwatchError
from app.vision.model_metadata import read_classifier_metadata, read_detector_metadata


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser("models", help="list the bundled model files")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="show the bundled model files with their metadata")
    listing.set_defaults(run=_run_list)


def _run_list(_: argparse.Namespace) -> int:
    paths = sorted(path for path in resources.root().glob("models/**/*") if path.suffix in (".tflite", ".keras"))
    for path in paths:
        print(f"{path}  {_describe(path)}")
    return 0


def _describe(path: Path) -> str:
    """The metadata of a model file as one line."""
    size = f"{path.stat().st_size / 1e6:.2f} MB"
    for read in (read_classifier_metadata, read_detector_metadata):
        try:
            metadata = read(path)
        except MaskwatchError:
            continue
        return f"{metadata.kind} {metadata.name} {metadata.version}, {size}"
    return f"DAMAGED or not a maskwatch model, {size}; reinstall maskwatch"
