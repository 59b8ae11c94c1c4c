"""``maskwatch train``, ``evaluate`` and ``paper``. Heavy imports wait until a command runs."""

import argparse
from pathlib import Path
from typing import Any

from app.cli.training_options import need
from app.training.types import EQUAL_PX

LAYOUTS = "class folders (Kaggle's too), a COCO file or folder, a VOC folder, a YOLO folder or data.yaml"


def register(subparsers: Any) -> None:
    """Adds the three commands to the program's ``subparsers``."""
    train = subparsers.add_parser("train", help="train or fine-tune a mask classifier on your own pictures")
    train.add_argument("data", type=Path, help=LAYOUTS)
    train.add_argument(
        "--run",
        dest="folder",
        metavar="DIR",
        type=Path,
        required=True,
        help="run folder; an interrupted run there is continued",
    )
    train.add_argument("--from", dest="begin_with", type=Path, help="fine-tune this .keras file (default: the shipped)")
    train.add_argument("--from-scratch", action="store_true", help="begin with random weights")
    train.add_argument(
        "--all-sources",
        action="store_true",
        help="DATA holds faces12k/, frames/, crops/: the shipped recipe (with --from: more of it)",
    )
    train.add_argument("--only-faces12k", action="store_true", help="with --all-sources: an ablation on faces12k alone")
    train.add_argument("--no-equaliser", action="store_true", help="an ablation: no random resolution")
    train.add_argument(
        "--only-thresholds",
        action="store_true",
        help="train nothing: choose offsets, temperature and the unsure rule of --from anew on the development faces",
    )
    train.add_argument("--epochs", type=_count, help="epochs (default 10 for fine-tuning, 75 from scratch)")
    train.add_argument("--steps", type=_count, help="steps of 128 faces an epoch")
    train.add_argument(
        "--seed", type=_seed, default=42, help="of the first weights and every random choice (default 42)"
    )
    _common(train)
    train.set_defaults(run=_train)

    evaluate = subparsers.add_parser("evaluate", help="judge a mask classifier on whole sets of labelled faces")
    evaluate.add_argument("data", type=Path, nargs="+", help=f"{LAYOUTS}; several are judged in turn")
    evaluate.add_argument("--model", type=Path, help=".tflite or .keras file (default: the shipped one)")
    evaluate.add_argument(
        "--open-tests", action="store_true", help="DATA holds faces12k/, frames/, crops/: all open tests"
    )
    evaluate.add_argument("--split", default="", help="which split of the data (default: test, else all)")
    evaluate.add_argument("--min-face-px", type=float, default=0.0, help="leave smaller faces out")
    evaluate.add_argument(
        "--equal-px",
        type=_size_px,
        default=EQUAL_PX,
        metavar="PX",
        help=f"besides, show every face at this one resolution (default {EQUAL_PX}; 0: do not)",
    )
    evaluate.add_argument("--without-siblings", action="store_true", help="leave out pictures called Augmented_...")
    evaluate.add_argument(
        "--probe",
        action=argparse.BooleanOptionalAction,
        help="how well size, sharpness and colour alone tell the classes (default: told where scikit-learn is there)",
    )
    evaluate.add_argument("--time", action="store_true", help="measure the time a face")
    evaluate.add_argument("--json", type=Path, help="write the figures here")
    evaluate.add_argument("--markdown", type=Path, help="write the table here")
    evaluate.add_argument("--html", type=Path, help="write a report of one file here")
    _common(evaluate)
    evaluate.set_defaults(run=_evaluate)

    paper = subparsers.add_parser("paper", help="train and judge the study's seven networks, resumably")
    paper.add_argument("data", type=Path, help="the folder that holds faces12k/ (and frames/ for the unseen test)")
    paper.add_argument(
        "--run",
        dest="folder",
        metavar="DIR",
        type=Path,
        required=True,
        help="run folder; what is done there is not done again",
    )
    paper.add_argument("--networks", nargs="+", help="only these (default: all seven)")
    paper.add_argument("--table", choices=("I", "II"), nargs="+", default=["I", "II"], help="only this table")
    paper.add_argument("--epochs", type=_count, help="other than the study's 9 and 40, to try the command")
    paper.add_argument("--minutes", type=float, help="begin no epoch after so long, and cut the running one short")
    paper.add_argument("--bfloat16", action="store_true", help="mixed precision: faster where the CPU has it")
    paper.add_argument("--audit", action="store_true", help="only measure what is wrong with the study's evaluation")
    paper.add_argument("--report", type=Path, help="write the Markdown report here")
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
    if not 0 <= value < 2**32:  # numpy and Keras take no other
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
