"""The options of the training commands. Heavy imports wait until a command runs."""

import argparse
import math
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.cli.arguments import count, number, positive, whole
from app.core.errors import SettingsError
from app.training import EQUAL_PX

if TYPE_CHECKING:
    from app.training.detector.comparison import HaarOptions

LAYOUTS = "class folders (as on Kaggle), a COCO file or folder, a VOC folder, a YOLO folder or data.yaml"


def register(subparsers: Any) -> None:
    """Adds the commands to ``subparsers``."""
    train = subparsers.add_parser("train", help="train or fine-tune a mask classifier on your own images")
    train.add_argument("data", type=Path, help=LAYOUTS)
    _run_folder(train, "run folder; an interrupted run in it is resumed")
    _file(train, "--from", "fine-tune this .keras file (default: the shipped one)", dest="begin_with")
    _flag(train, "--from-scratch", "start from random weights")
    _flag(train, "--large", "from random weights: a network for crops of 96 px instead of 64")
    shipped = "DATA holds faces12k/, frames/, crops/, scenes/: use the shipped recipe (with --from: continue from it)"
    _flag(train, "--all-sources", shipped)
    _flag(train, "--only-faces12k", "with --all-sources: ablation, use only faces12k")
    licence = "with --all-sources: only data published for commercial use too"
    train.add_argument("--licence", choices=("open",), default="", help=licence)
    _flag(train, "--no-equaliser", "ablation: no random resolution")
    thresholds = "do not train: choose new offsets, temperature and unsure rule for --from on the development faces"
    _flag(train, "--only-thresholds", thresholds)
    train.add_argument("--epochs", type=count, help="number of epochs (default 10 for fine-tuning, 75 from scratch)")
    train.add_argument("--steps", type=count, help="steps of 128 faces per epoch")
    seed = whole(0, 2**32 - 1)  # the range that numpy and Keras accept
    train.add_argument("--seed", type=seed, default=42, help="random seed of the weights and the data (default 42)")
    _threads(train, 2)
    train.set_defaults(run=_train)

    evaluate = subparsers.add_parser("evaluate", help="evaluate a mask classifier on labelled faces")
    evaluate.add_argument("data", type=Path, nargs="+", help=f"{LAYOUTS}; several data sets are evaluated in turn")
    _file(evaluate, "--model", ".tflite or .keras file (default: a bundled one)")
    models = "bundled models to evaluate, unless --model is given (default: default)"
    evaluate.add_argument("--models", choices=("default", "open"), default="default", help=models)
    _flag(evaluate, "--open-tests", "DATA holds faces12k/, frames/, crops/: run all open tests")
    split = "split to evaluate (default: test if there is one, otherwise all)"
    evaluate.add_argument("--split", default="", help=split)
    evaluate.add_argument("--min-face-px", type=number(0), default=0.0, help="ignore smaller faces")
    equal = f"also evaluate all faces at this resolution (default {EQUAL_PX}; 0: off)"
    evaluate.add_argument("--equal-px", type=whole(0, 1024), default=EQUAL_PX, metavar="PX", help=equal)
    _flag(evaluate, "--without-siblings", "leave out images named Augmented_...")
    probe = "shortcut probe: classify by size, sharpness and colour alone (default: on if scikit-learn is installed)"
    evaluate.add_argument("--probe", action=argparse.BooleanOptionalAction, help=probe)
    _flag(evaluate, "--time", "measure the time per face")
    _file(evaluate, "--json", "write the results to this file")
    _file(evaluate, "--markdown", "write the table to this file")
    _file(evaluate, "--html", "write a self-contained report to this file (needs matplotlib)")
    _threads(evaluate, 2)
    evaluate.set_defaults(run=_evaluate)

    paper = subparsers.add_parser("paper", help="train and evaluate the seven networks of the study; resumable")
    paper.add_argument("data", type=Path, help="folder with faces12k/ (and frames/ for the unseen test)")
    _run_folder(paper, "run folder; finished networks in it are skipped")
    paper.add_argument("--networks", nargs="+", help="only these (default: all seven)")
    paper.add_argument("--table", choices=("I", "II"), nargs="+", default=["I", "II"], help="only this table")
    paper.add_argument("--epochs", type=count, help="epochs instead of the study's 9 and 40, to try the command")
    paper.add_argument("--minutes", type=positive, help="time limit; stops the current epoch early")
    _flag(paper, "--bfloat16", "mixed precision: faster on CPUs that support it")
    _flag(paper, "--audit", "only measure the faults of the study's evaluation")
    _file(paper, "--report", "write the Markdown report to this file")
    _threads(paper, 2)
    paper.set_defaults(run=_paper)
    _register_detector(subparsers)


def _register_detector(subparsers: Any) -> None:
    train = subparsers.add_parser("train-detector", help="train the face detector on annotated scenes")
    layouts = "COCO files, or folders with a COCO file, VOC or YOLO files"
    train.add_argument("--data", type=Path, nargs="+", required=True, help=layouts)
    faces = "folder with faces12k/ and crops/: face images to paste into scenes"
    train.add_argument("--faces", type=Path, metavar="DIR", help=faces)
    lists = "JSON file with lists of image names: 'development' is for evaluation, the others are ignored"
    _file(train, "--held-back", lists)
    _run_folder(train, "run folder; an interrupted run in it is resumed")
    weights = "initial weights: .keras, YuNet's .onnx or checkpoint.npz of a run (default: the bundled detector)"
    _file(train, "--begin-with", weights)
    train.add_argument("--epochs", type=count, default=60, help="number of epochs (default 60)")
    train.add_argument(
        "--hours", type=positive, default=math.inf, help="time limit; the learning rate decays within it"
    )
    sizes = "image sizes, used in turn (default 256,320)"
    train.add_argument("--sizes-px", type=_sizes, default=(256, 320), help=sizes)
    train.add_argument("--learning-rate", type=positive, default=3e-4, help="highest learning rate (default 0.0003)")
    _threads(train, 1)
    _file(train, "--out", "where to write NAME.keras and NAME.tflite (default: in --run)")
    train.set_defaults(run=_train_detector)

    evaluate = subparsers.add_parser("evaluate-detector", help="compare all face detectors on annotated images")
    evaluate.add_argument("--data", type=Path, required=True, help="COCO file, or folder with COCO, VOC or YOLO files")
    _file(evaluate, "--model", "detector file (default: the bundled one)")
    haar = "more Haar rows, comma-separated: equalize, profile, min24 (smallest face, px); join them with '+'"
    evaluate.add_argument("--haar-options", type=_haar_options, default=(), metavar="LIST", help=haar)
    _file(evaluate, "--classifier", "LiteRT classifier for the end-to-end score")
    evaluate.add_argument("--width-px", type=count, default=576, help="working width of every detector")
    _threads(evaluate, 1)
    evaluate.add_argument("--limit", type=count, help="use only the first N images")
    _file(evaluate, "--json", "write the results to this file")
    evaluate.set_defaults(run=_evaluate_detector)


def _run_folder(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("--run", dest="folder", metavar="DIR", type=Path, required=True, help=text)


def _file(parser: argparse.ArgumentParser, name: str, text: str, dest: str | None = None) -> None:
    dest = dest or name[2:].replace("-", "_")
    parser.add_argument(name, metavar="FILE", type=Path, help=text, dest=dest)


def _flag(parser: argparse.ArgumentParser, name: str, text: str) -> None:
    parser.add_argument(name, action="store_true", help=text)


def _threads(parser: argparse.ArgumentParser, default: int) -> None:
    threads = whole(1, 64)  # what the networks accept
    parser.add_argument("--threads", type=threads, default=default, help=f"CPU threads (default {default})")


def _sizes(text: str) -> tuple[int, ...]:
    sizes = tuple(count(part) for part in text.split(","))
    if any(size % 32 for size in sizes):
        raise argparse.ArgumentTypeError(f"sizes must be multiples of 32, not {text}")
    return sizes


def _haar_options(text: str) -> "tuple[HaarOptions, ...]":
    from app.training.detector.comparison import haar_options

    try:
        return tuple(haar_options(part) for part in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _need(package: str, use: str) -> None:
    """Raises SettingsError if an optional package is not installed."""
    if find_spec(package) is None:
        raise SettingsError(f"{use} needs {package}: pip install 'maskwatch[train]'")


def _train(args: argparse.Namespace) -> int:
    if args.licence and not args.all_sources:
        raise SettingsError("--licence needs --all-sources: the licences of your own data are not known")
    _need("tensorflow", "training")
    from app.cli.train import run

    return run(args)


def _evaluate(args: argparse.Namespace) -> int:
    if args.probe:
        _need("sklearn", "--probe")
    for package in ("jinja2", "matplotlib") if args.html else ():
        _need(package, "--html")
    from app.cli.evaluate import run

    return run(args)


def _paper(args: argparse.Namespace) -> int:
    if not args.audit:
        _need("tensorflow", "training")
    from app.cli.paper import run

    return run(args)


def _train_detector(args: argparse.Namespace) -> int:
    _need("tensorflow", "training")
    from app.cli.train_detector import run

    return run(args)


def _evaluate_detector(args: argparse.Namespace) -> int:
    from app.cli.evaluate_detector import run

    return run(args)
