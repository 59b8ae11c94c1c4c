"""``maskwatch models``: the bundled model files and what they say of themselves."""

import argparse
from pathlib import Path

from app.core import resources
from app.core.errors import MaskwatchError
from app.vision.model_metadata import read_classifier_metadata, read_detector_metadata


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser("models", help="list the bundled model files")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="model files at hand and what they say of themselves")
    listing.set_defaults(run=_run_list)


def _run_list(_: argparse.Namespace) -> int:
    shipped = sorted(path for path in resources.root().glob("models/**/*") if path.suffix in (".tflite", ".keras"))
    for path in shipped:
        print(f"{path}  {_described(path)}")
    return 0


def _described(path: Path) -> str:
    """One line of what the file says of itself."""
    size = f"{path.stat().st_size / 1e6:.2f} MB"
    for read in (read_classifier_metadata, read_detector_metadata):
        try:
            metadata = read(path)
        except MaskwatchError:
            continue
        return f"{metadata.kind} {metadata.name} {metadata.version}, {size}"
    return f"DAMAGED or no maskwatch model, {size}; reinstall maskwatch"
