"""``maskwatch dataset``: the faces that ``[collect]`` has kept."""

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.cli.event_file import add_event_file_options, before_of, folder_of, is_confirmed, make_console
from app.core.text import counted, local_time

if TYPE_CHECKING:
    from app.review.collected import CollectedFaces

FORMATS = ("coco", "yolo", "voc", "labelstudio", "class-folders")


def register(commands: Any) -> None:
    actions = commands.add_parser("dataset", help="show, export or delete collected faces").add_subparsers(
        dest="action", metavar="ACTION", required=True
    )
    status = actions.add_parser("status", help="show how many faces are collected", description=_status.__doc__)
    export = actions.add_parser("export", help="write collected faces as a data set", description=_export.__doc__)
    purge = actions.add_parser("purge", help="delete collected faces", description=_purge.__doc__)
    for parser, run in ((status, _status), (export, _export), (purge, _purge)):
        add_event_file_options(parser)
        parser.set_defaults(run=run)
    export.add_argument("output", type=Path, metavar="FOLDER", help="a new folder")
    export.add_argument("--format", choices=FORMATS, default="coco", help="format of the data set (default coco)")
    export.add_argument(
        "--model-labels", action="store_true", help="give faces without a verdict the label of the model"
    )
    purge.add_argument("--before", metavar="TIME", help="delete only what is older (7d, 2026-11-23)")
    purge.add_argument("--yes", action="store_true", help="do not ask for confirmation")


def _collected(args: argparse.Namespace) -> "CollectedFaces":
    from app.review.collected import CollectedFaces
    from app.review.picture_folder import PictureFolder

    return CollectedFaces(PictureFolder(folder_of(args, "collect")))


def _status(args: argparse.Namespace) -> int:
    """Shows the collected faces by the reason for which they were kept, and by what a person said about them."""
    from rich.table import Table

    from app.review.collected import REASONS
    from app.review.dataset_export import LABELS

    collected = _collected(args)
    faces = list(collected.faces())
    counts = collected.counts()
    table = Table("reason", *LABELS, "no verdict", box=None)
    for reason in REASONS:
        table.add_row(reason, *(str(counts[reason, label]) for label in (*LABELS, "")))
    console = make_console()
    console.print(table)
    size_mb = collected.folder.usage()[1] / 1e6
    advice = "; collect.enabled = true keeps those of live cameras, and with --store also those of files and the demo"
    since = f" since {local_time(faces[0].wall_s)}" if faces else advice
    console.print(f"{counted(len(faces), 'face')}, {size_mb:.1f} MB in {collected.folder.path}{since}")
    return 0


def _export(args: argparse.Namespace) -> int:
    """Writes the collected faces as a data set for 'maskwatch train' or another program. Each scene has one face with
    a label; all other faces are blurred."""
    from app.review.dataset_export import export

    done = export(_collected(args), args.output, args.format, args.model_labels)
    print(f"{counted(done.written, 'face')} written to {args.output}")
    if done.undecided:
        who, or_else = "nobody said", ", or add --model-labels"
        if args.model_labels:
            who, or_else = "nobody said, and the model is unsure,", ""
        print(
            f"{counted(done.undecided, 'face')} left out, because {who} what they show: give verdicts on the review "
            f"page, or label them with --format labelstudio{or_else}",
            file=sys.stderr,
        )
    return 0


def _purge(args: argparse.Namespace) -> int:
    """Deletes collected faces with their pictures and records."""
    before_s, folder = before_of(args, time.time()), _collected(args).folder
    if not is_confirmed(args, "collected faces", folder.path):
        return 1
    print(f"deleted {counted(folder.delete(before_s), 'face')}")
    return 0
