"""The options of the training commands. Heavy imports wait until a command runs."""

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.cli.training_options import need
from app.training import EQUAL_PX

if TYPE_CHECKING:
    from app.training.detector.comparison import HaarOptions

LAYOUTS = "class folders (as on Kaggle), a COCO file or folder, a VOC folder, a YOLO folder or data.yaml"


def register(subparsers: Any) -> None:
    """Adds the commands to ``subparsers``."""
    train = subparsers.add_parser("train", help="train or fine-tune a mask classifier on your own images")
    train.add_argument("data", type=Path, help=LAYOUTS)
    train.add_argument(
        "--run",
        dest="folder",
        metavar="DIR",
        type=Path,
        required=True,
        help="run folder; an interrupted run in it is resumed",
    )
    train.add_argument(
        "--from",
        dest="begin_with",
        metavar="FILE",
        type=Path,
        help="fine-tune this .keras file (default: the shipped one)",
    )
    train.add_argument("--from-scratch", action="store_true", help="start from random weights")
    train.add_argument(
        "--large", action="store_true", help="from random weights: a network for crops of 96 px instead of 64"
    )
    train.add_argument(
        "--all-sources",
        action="store_true",
        help="DATA holds faces12k/, frames/, crops/: train with the shipped recipe (with --from: continue from it)",
    )
    train.add_argument("--only-faces12k", action="store_true", help="with --all-sources: ablation, use only faces12k")
    train.add_argument("--no-equaliser", action="store_true", help="ablation: no random resolution")
    train.add_argument(
        "--only-thresholds",
        action="store_true",
        help="do not train: choose new offsets, temperature and unsure rule for --from on the development faces",
    )
    train.add_argument("--epochs", type=_count, help="number of epochs (default 10 for fine-tuning, 75 from scratch)")
    train.add_argument("--steps", type=_count, help="steps of 128 faces per epoch")
    train.add_argument("--seed", type=_seed, default=42, help="random seed of the weights and the data (default 42)")
    _common(train)
    train.set_defaults(run=_train)

    evaluate = subparsers.add_parser("evaluate", help="evaluate a mask classifier on labelled faces")
    evaluate.add_argument("data", type=Path, nargs="+", help=f"{LAYOUTS}; several data sets are evaluated in turn")
    evaluate.add_argument(
        "--model", metavar="FILE", type=Path, help=".tflite or .keras file (default: the shipped one)"
    )
    evaluate.add_argument(
        "--open-tests", action="store_true", help="DATA holds faces12k/, frames/, crops/: run all open tests"
    )
    evaluate.add_argument(
        "--split", default="", help="split to evaluate (default: test if there is one, otherwise all)"
    )
    evaluate.add_argument("--min-face-px", type=float, default=0.0, help="ignore smaller faces")
    evaluate.add_argument(
        "--equal-px",
        type=_size_px,
        default=EQUAL_PX,
        metavar="PX",
        help=f"also evaluate all faces at this resolution (default {EQUAL_PX}; 0: off)",
    )
    evaluate.add_argument("--without-siblings", action="store_true", help="leave out images named Augmented_...")
    evaluate.add_argument(
        "--probe",
        action=argparse.BooleanOptionalAction,
        help="shortcut probe: classify by size, sharpness and colour alone (default: on if scikit-learn is installed)",
    )
    evaluate.add_argument("--time", action="store_true", help="measure the time per face")
    evaluate.add_argument("--json", metavar="FILE", type=Path, help="write the results to this file")
    evaluate.add_argument("--markdown", metavar="FILE", type=Path, help="write the table to this file")
    evaluate.add_argument("--html", metavar="FILE", type=Path, help="write a self-contained report (needs matplotlib)")
    _common(evaluate)
    evaluate.set_defaults(run=_evaluate)

    paper = subparsers.add_parser("paper", help="train and evaluate the seven networks of the study; resumable")
    paper.add_argument("data", type=Path, help="folder with faces12k/ (and frames/ for the unseen test)")
    paper.add_argument(
        "--run",
        dest="folder",
        metavar="DIR",
        type=Path,
        required=True,
        help="run folder; finished networks in it are skipped",
    )
    paper.add_argument("--networks", nargs="+", help="only these (default: all seven)")
    paper.add_argument("--table", choices=("I", "II"), nargs="+", default=["I", "II"], help="only this table")
    paper.add_argument("--epochs", type=_count, help="epochs instead of the study's 9 and 40, to try the command")
    paper.add_argument("--minutes", type=float, help="time limit; stops the current epoch early")
    paper.add_argument("--bfloat16", action="store_true", help="mixed precision: faster on CPUs that support it")
    paper.add_argument("--audit", action="store_true", help="only measure the faults of the study's evaluation")
    paper.add_argument("--report", metavar="FILE", type=Path, help="write the Markdown report to this file")
    _common(paper)
    paper.set_defaults(run=_paper)
    _register_detector(subparsers)


def _register_detector(subparsers: Any) -> None:
    train = subparsers.add_parser("train-detector", help="train the face detector on annotated scenes")
    train.add_argument(
        "--data", type=Path, nargs="+", required=True, help="COCO files, or folders with a COCO file, VOC or YOLO files"
    )
    train.add_argument("--faces", type=Path, help="folder with faces12k/ and crops/: face images to paste into scenes")
    train.add_argument(
        "--held-back",
        type=Path,
        help="JSON file with lists of image names: 'development' is for evaluation, the others are ignored",
    )
    train.add_argument(
        "--run", dest="run_folder", type=Path, required=True, help="run folder; an interrupted run in it is resumed"
    )
    train.add_argument(
        "--begin-with",
        type=Path,
        help="initial weights: .keras, YuNet's .onnx or checkpoint.npz of a run (default: the bundled detector)",
    )
    train.add_argument("--epochs", type=_count, default=60)
    train.add_argument("--hours", type=_hours, default=math.inf, help="time limit; the learning rate decays within it")
    train.add_argument(
        "--sizes-px", type=_sizes, default=(256, 320), help="image sizes, used in turn (default 256,320)"
    )
    train.add_argument("--learning-rate", type=float, default=3e-4)
    train.add_argument("--threads", type=_count, default=1)
    train.add_argument("--out", type=Path, help="where to write NAME.keras and NAME.tflite (default: in --run)")
    train.set_defaults(run=_train_detector)

    evaluate = subparsers.add_parser("evaluate-detector", help="compare all face detectors on annotated images")
    evaluate.add_argument("--data", type=Path, required=True, help="COCO file, or folder with COCO, VOC or YOLO files")
    evaluate.add_argument("--model", type=Path, help="detector file (default: the bundled one)")
    evaluate.add_argument(
        "--haar-options",
        type=_haar_options,
        default=(),
        metavar="LIST",
        help="more Haar rows, comma-separated: equalize, profile, min24 (smallest face, px); join them with '+'",
    )
    evaluate.add_argument("--classifier", type=Path, help="LiteRT classifier for the end-to-end score")
    evaluate.add_argument("--width-px", type=_count, default=576, help="working width of every detector")
    evaluate.add_argument("--threads", type=_count, default=1, help="threads of every detector (default 1)")
    evaluate.add_argument("--limit", type=_count, help="use only the first N images")
    evaluate.add_argument("--json", type=Path, help="write the results to this file")
    evaluate.set_defaults(run=_evaluate_detector)


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--threads", type=_count, default=2, help="CPU threads (default 2)")


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return value


def _seed(text: str) -> int:
    value = int(text)
    if not 0 <= value < 2**32:  # the range that numpy and Keras accept
        raise argparse.ArgumentTypeError("must be 0 to 4294967295")
    return value


def _size_px(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError("must be 0 or more")
    return value


def _hours(text: str) -> float:
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def _sizes(text: str) -> tuple[int, ...]:
    sizes = tuple(_count(part) for part in text.split(","))
    if any(size % 32 for size in sizes):
        raise argparse.ArgumentTypeError(f"sizes must be multiples of 32, not {text}")
    return sizes


def _haar_options(text: str) -> "tuple[HaarOptions, ...]":
    from app.training.detector.comparison import haar_options

    try:
        return tuple(haar_options(part) for part in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _train(args: argparse.Namespace) -> int:
    need("tensorflow", "training")
    from app.cli.train import run

    return run(args)


def _evaluate(args: argparse.Namespace) -> int:
    if args.probe:
        need("sklearn", "--probe")
    for package in ("jinja2", "matplotlib") if args.html else ():
        need(package, "--html")
    from app.cli.evaluate import run

    return run(args)


def _paper(args: argparse.Namespace) -> int:
    if not args.audit:
        need("tensorflow", "training")
    from app.cli.paper import run

    return run(args)


def _train_detector(args: argparse.Namespace) -> int:
    need("tensorflow", "training")
    from app.cli.train_detector import run

    return run(args)


def _evaluate_detector(args: argparse.Namespace) -> int:
    from app.cli.evaluate_detector import run

    return run(args)
