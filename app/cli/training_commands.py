"""``maskwatch train``, ``evaluate`` and ``paper``. Heavy imports wait until a command runs."""

import argparse
from pathlib import Path
from typing import Any

from app.cli.training_options import need
from app.training.types import EQUAL_PX

LAYOUTS = "class folders (as on Kaggle), a COCO file or folder, a VOC folder, a YOLO folder or data.yaml"


def register(subparsers: Any) -> None:
    """Adds the three commands to ``subparsers``."""
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
    evaluate.add_argument("--html", metavar="FILE", type=Path, help="write a self-contained report to this file")
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


def _train(args: argparse.Namespace) -> int:
    need("tensorflow", "training")
    from app.cli.train import run

    code: int = run(args)
    return code


def _evaluate(args: argparse.Namespace) -> int:
    if args.probe:
        need("sklearn", "--probe")
    from app.cli.evaluate import run

    return run(args)


def _paper(args: argparse.Namespace) -> int:
    if not args.audit:
        need("tensorflow", "training")
    from app.cli.paper import run

    code: int = run(args)
    return code
