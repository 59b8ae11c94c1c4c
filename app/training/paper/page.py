"""The study's report in a Markdown page: tables, curves, confusion matrices and labelled demo frames. It is written
between two markers, and the text around them is kept. ``results/paper`` beside the page has a record of each network,
``paper`` its images."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2

from app.core import resources
from app.core.errors import OutputError
from app.core.files import output_errors, write_text
from app.core.types import Label
from app.settings.vision import DetectorSettings
from app.training.metrics import Rate, wilson
from app.training.paper.figures import demo_frames, figure, labelled_strip
from app.training.paper.results import PAPER, PER_CLASS, Cell, Record, keep_record, read_records, run_records
from app.training.reports.tables import markdown, percent
from app.vision.classifier import LiteRtClassifier
from app.vision.detector import FaceDetector
from app.vision.detector_loader import load_detector

BEGIN, END = (
    "<!-- written by 'maskwatch paper --report': begin -->",
    "<!-- written by 'maskwatch paper --report': end -->",
)
NOT_RUN = "not run yet"
RULES = {"I": "9 epochs", "II": "at most 40 epochs, early stopping"}
HEADINGS = (
    "network", "epochs (kept)", "study: acc / mask / no_mask / avg", "ours, its protocol",
    "whole test: right %", "mask %", "no_mask %", "within the study's interval: mask, no_mask",
    "no siblings: mask %", "unseen: mask %", "no_mask %", "balanced %",
)  # fmt: skip
MASK, BARE = Label.MASK.value, Label.NO_MASK.value


def known_records(run: Path, page: Path | None) -> dict[str, Record]:
    """Records by stem: those of the run folder, and else those stored beside ``page``."""
    kept = read_records(_results(page).glob("*.json")) if page is not None else {}
    return {**kept, **run_records(run)}


def write_page(page: Path, run: Path) -> str:
    """Writes the report into ``page`` and returns its text. Raises OutputError if it cannot be written, or if the page
    exists and has no markers."""
    records = known_records(run, page)
    with output_errors(page, "choose another --report"):
        around = _text_around(page)
        images = page.parent / page.stem
        for folder in (_results(page), images):
            folder.mkdir(parents=True, exist_ok=True)
        for record in records.values():
            keep_record(_results(page) / f"{record.cell.stem}.json", record)
            _draw(record, run, images)
        text = report_text(records, page)
        write_text(page, f"{around[0]}{BEGIN}\n\n{text}\n{END}{around[1]}")
    return text


def _results(page: Path) -> Path:
    return page.parent / "results" / page.stem


def _text_around(page: Path) -> tuple[str, str]:
    """The text before and after the markers of ``page``, or the start of a new page."""
    if not page.is_file():
        return "# The study reproduced\n\n", "\n"
    text = page.read_text("utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise OutputError(
            f"{page} has no markers for the report; add the lines {BEGIN} and {END}, or choose another file"
        )
    return text[: text.index(BEGIN)], text[text.index(END) + len(END) :]


def _draw(record: Record, run: Path, images: Path) -> None:
    """Draws the charts of a record, and demo frames with its labels if the trained network is available."""
    cell = record.cell
    sets = [("whole test split", cell.whole)]
    if cell.unseen:
        sets.append(("unseen: frames/test", cell.unseen))
    drawing = figure(f"Table {cell.table}, {cell.network}", record.history, cell.best_epoch, sets)
    write_text(images / f"{cell.stem}.svg", drawing)
    network = network_file(run, cell)
    frames = demo_frames() if network.is_file() else []
    if frames:
        strip = labelled_strip(frames, _detector(), LiteRtClassifier(network))
        coded = cv2.imencode(".jpg", strip, [cv2.IMWRITE_JPEG_QUALITY, 82])[1]
        (images / f"{cell.stem}.jpg").write_bytes(coded.tobytes())


def _detector() -> FaceDetector:
    return load_detector(DetectorSettings(precision="int8"))


def network_file(run: Path, cell: Cell) -> Path:
    """The trained network in its run folder, or the bundled file of model_6 in table II."""
    own = run / cell.stem / f"{cell.network}.tflite"
    bundled = resources.model(f"paper/{cell.network}.tflite")
    return bundled if not own.is_file() and cell.table == "II" else own


def report_text(records: Mapping[str, Record], page: Path | None = None) -> str:
    """Both tables with all results so far. With ``page``, also the images beside it."""
    parts = []
    for table, networks in PAPER.items():
        parts.append(f"## Table {table} ({RULES[table]})\n")
        rows = [_row(name, figures, records.get(f"{table}-{name}")) for name, figures in networks.items()]
        parts.append(markdown(HEADINGS, rows) + "\n")
    available = [
        records[f"{table}-{name}"]
        for table, networks in PAPER.items()
        for name in networks
        if f"{table}-{name}" in records
    ]
    parts.append("## Curves, confusion matrices and the demo, network by network\n")
    if not available:
        parts.append("None was run yet.\n")
    parts += [_section(record, page) for record in available]
    return "\n".join(parts)


def _row(name: str, study: Sequence[float], record: Record | None) -> tuple[str, ...]:
    printed = " / ".join(f"{value:g}" for value in study)
    if record is None:
        return (name, NOT_RUN, printed, *["-"] * (len(HEADINGS) - 3))
    cell = record.cell
    unseen = [cell.unseen.get(label) for label in (MASK, BARE)]
    balanced = "-"
    if unseen[0] is not None and unseen[1] is not None:
        balanced = f"{50 * (unseen[0].share + unseen[1].share):.1f}"
    return (
        name,
        f"{cell.epochs} ({cell.best_epoch})",
        printed,
        " / ".join(f"{value:.4g}" for value in cell.protocol),
        percent(_together(cell.whole)),
        percent(cell.whole[MASK]),
        percent(cell.whole[BARE]),
        ", ".join(_agrees(cell.whole[label], share) for label, share in ((MASK, study[1]), (BARE, study[2]))),
        percent(cell.no_siblings[MASK]),
        *("-" if rate is None else percent(rate) for rate in unseen),
        balanced,
    )


def _together(rates: Mapping[str, Rate]) -> Rate:
    return wilson(sum(rate.right for rate in rates.values()), sum(rate.total for rate in rates.values()))


def _agrees(ours: Rate, printed_percent: float) -> str:
    """Whether our share is in the interval of the study's result on 32 images of the class."""
    theirs = wilson(round(printed_percent * PER_CLASS / 100), PER_CLASS)
    return "yes" if theirs.low <= ours.share <= theirs.high else "no"


def _section(record: Record, page: Path | None) -> str:
    cell = record.cell
    seconds = sum(epoch.seconds for epoch in record.history)
    trained = f"{cell.epochs} epochs ({cell.stopped}) in {seconds / 60:.0f} minutes; kept: epoch {cell.best_epoch}."
    lines = [f"### Table {cell.table}, {cell.network}\n", trained]
    losses = " ".join(f"{epoch.development['loss']:.3f}" for epoch in record.history)
    lines.append(f"Validation loss by epoch: {losses}.\n")
    if page is not None:
        folder = page.parent / page.stem
        for suffix, what in ((".svg", "accuracy and loss by epoch, confusion matrices"), (".jpg", "demo frames")):
            if (folder / f"{cell.stem}{suffix}").is_file():
                lines.append(f"![Table {cell.table}, {cell.network}: {what}]({page.stem}/{cell.stem}{suffix})\n")
        lines.append(f"Its record: [{cell.stem}.json](results/{page.stem}/{cell.stem}.json).\n")
    return "\n".join(lines)
