"""``maskwatch paper``: train the missing cells of the study's tables, then report all results as Markdown."""

import argparse
import math
import time
from pathlib import Path

from rich.console import Console

from app.cli.training_progress import TrainingProgress
from app.training.networks import paper_network
from app.training.paper.audit import audit, audit_lines
from app.training.paper.page import known_records, report_text, write_page
from app.training.paper.results import evaluate_cell, run_records
from app.training.paper.training import TABLE_I, TABLE_II, PaperData, PaperRun, paper_splits, train_paper
from app.training.trainer import OUT_OF_TIME, limit_threads
from app.vision.preprocess import limit_opencv_threads


def run(args: argparse.Namespace) -> int:
    limit_opencv_threads(args.threads)
    if args.audit:
        return print_audit(args.data)
    limit_threads(args.threads)

    console, ends_s = Console(), time.monotonic() + 60 * (args.minutes or math.inf)
    data = PaperData(paper_splits(args.data / "faces12k"))
    wanted = [paper_network(name).name for name in args.networks] if args.networks else list(TABLE_I)
    cells = [(table, name) for table, names in (("I", TABLE_I), ("II", TABLE_II)) for name in names]
    cells = [(table, name) for table, name in cells if name in wanted and table in args.table]
    done = known_records(args.folder, args.report).keys()
    cells.sort(key=lambda cell: paper_network(cell[1]).input_px)  # images of one size are read once
    for table, name in cells:
        if f"{table}-{name}" in done:
            continue
        if time.monotonic() > ends_s:
            console.print(f"time limit reached before table {table}, {name}; run the command again to continue")
            continue
        plan = PaperRun(
            paper_network(name),
            "I" if table == "I" else "II",
            args.folder / f"{table}-{name}",
            epochs=args.epochs or 0,
            precision="mixed_bfloat16" if args.bfloat16 else "float32",
            deadline_s=ends_s,
        )
        with TrainingProgress(console, f"table {table}, {name}") as progress:
            fitted = train_paper(plan, data, progress.on_step, progress.on_epoch)
        if fitted.stopped == OUT_OF_TIME:
            console.print(
                f"time limit reached after {len(fitted.history)} epochs of table {table}, {name}; "
                "run the command again to continue"
            )
            continue
        evaluate_cell(plan, fitted, data, args.data)
    text = write_page(args.report, args.folder) if args.report is not None else report_text(run_records(args.folder))
    console.print(text, markup=False)
    return 0


def print_audit(data: Path) -> int:

    console = Console()
    with console.status("reading all images"):
        found = audit(paper_splits(data / "faces12k"), data / "crops" / "vijaykumar")
    for line in audit_lines(found):
        console.print(line, highlight=False)
    return 0
